//! The client part of clients/probe-c keeps the rules of NMR: `clients/probe-c/tests/client_test.c`, compiled for this
//! host with the registrar as NMR. Needs a C compiler, `CC` or `cc` or `clang`; without one these tests do nothing but
//! say so.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::{env, fs};

/// Runs a command, which must succeed.
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The C compiler, if there is one.
static COMPILER: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let named = env::var_os("CC").map(PathBuf::from);
    let known = ["cc", "clang"].map(PathBuf::from);
    named.into_iter().chain(known).find(|program| succeeds(Command::new(program).arg("--version")))
});

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where programs are built, with the registrar's static library in debug/.
static TARGET: LazyLock<PathBuf> = LazyLock::new(|| {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-client");
    run(Command::new(env!("CARGO"))
        .args(["build", "--offline", "--package", "nmr-registrar-capi", "--target-dir"])
        .arg(&target)
        .current_dir(root()));
    target
});

/// What `compiler` needs to find the headers, and the warnings that matter.
fn with_headers(compiler: &Path) -> Command {
    let mut command = Command::new(compiler);
    command.args(["-std=c11", "-D_GNU_SOURCE", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-multichar"]);
    for folder in
        ["clients/probe-c/tests", "crates/nmr-registrar/include", "crates/sluice-npi/include", "clients/probe-c"]
    {
        command.arg(format!("-I{}", root().join(folder).display()));
    }
    command
}

/// A program of `clients/probe-c/tests/SOURCE.c`, built; `None`, and a word about it, if that cannot be done here.
fn build(source: &str, name: &str, options: &[&str]) -> Option<PathBuf> {
    let Some(compiler) = COMPILER.as_deref() else {
        eprintln!("not tested: no C compiler (set CC to its path)");
        return None;
    };
    let program = TARGET.join(name);
    let empty = TARGET.join(format!("{name}-empty.c"));
    fs::write(&empty, "int main(void) { return 0; }\n").unwrap();
    // A compiler without the runtime of a sanitizer takes the option, and fails when it links.
    if !succeeds(Command::new(compiler).args(options).arg(empty).arg("-o").arg(&program)) {
        eprintln!("not tested: {} has nothing for {options:?}", compiler.display());
        return None;
    }
    run(with_headers(compiler)
        .args(options)
        .arg(root().join("clients/probe-c/tests").join(source).with_extension("c"))
        .arg(TARGET.join("debug/libnmr_registrar_c.a"))
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&program));
    Some(program)
}

/// The test program, built.
fn plain() -> Option<&'static Path> {
    static PROGRAM: LazyLock<Option<PathBuf>> = LazyLock::new(|| build("client_test", "client-test", &[]));
    PROGRAM.as_deref()
}

/// The same, with AddressSanitizer and UndefinedBehaviorSanitizer.
fn sanitized() -> Option<&'static Path> {
    static PROGRAM: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let options = ["-DPOOL_IS_FREED", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
        build("client_test", "client-test-sanitized", &options)
    });
    PROGRAM.as_deref()
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                for program in [plain(), sanitized()].into_iter().flatten() {
                    run(Command::new(program).arg(stringify!($name)));
                }
            }
        )*
    };
}

tests! {
    attaches_detaches_and_attaches_again
    r45_the_last_call_completes_a_pending_detach
    r51_the_provider_may_call_until_cleanup
    r28_a_policy_may_change_before_the_attach_returns
    r23_a_refused_client_frees_its_context
    an_attach_without_memory_fails
    m21_a_provider_that_is_no_sluice_of_version_1_is_declined
    providers_come_and_go_under_load
}

#[test]
fn the_guard_keeps_calls_and_the_end_of_their_binding_apart() {
    // Rounds that race, and the same under ThreadSanitizer, whose shadow memory wants addresses that are not random.
    if let Some(program) = build("guard_test", "guard-test", &[]) {
        run(&mut Command::new(program));
    }
    let options = ["-fsanitize=thread", "--param=tsan-distinguish-volatile=1"];
    if let Some(program) = build("guard_test", "guard-test-thread", &options) {
        run(Command::new("setarch").arg("-R").arg(program).env("TSAN_OPTIONS", "halt_on_error=1"));
    }
}

#[test]
fn an_analyzer_finds_nothing_in_the_client() {
    if !succeeds(Command::new("clang").arg("--version")) {
        eprintln!("not tested: clang is not installed");
        return;
    }
    let sources = ["client_test", "guard_test"];
    for source in sources.map(|source| root().join("clients/probe-c/tests").join(source).with_extension("c")) {
        let mut clang = with_headers(Path::new("clang"));
        run(clang.args(["--analyze", "--analyzer-output", "text", "-Xclang", "-analyzer-werror"]).arg(source));
    }
}
