//! The client part of clients/probe-c keeps the rules of NMR: `clients/probe-c/tests/client_test.c`, compiled for this
//! host with the registrar as NMR. Needs a C compiler, `CC` or `cc` or `clang`; without one these tests do nothing but
//! say so.
#![cfg(unix)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

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

/// The test program, built; `None` without a C compiler.
fn program() -> Option<&'static Path> {
    static PROGRAM: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let named = env::var_os("CC").map(PathBuf::from);
        let known = ["cc", "clang"].map(PathBuf::from);
        let compiler = named.into_iter().chain(known).find(|program| {
            Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
        })?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-client");
        run(Command::new(env!("CARGO"))
            .args(["build", "--offline", "--package", "nmr-registrar-capi", "--target-dir"])
            .arg(&target)
            .current_dir(&root));
        let program = target.join("client-test");
        run(Command::new(compiler)
            .args(["-std=c11", "-D_GNU_SOURCE", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-multichar"])
            .args(
                [
                    "clients/probe-c/tests",
                    "crates/nmr-registrar/include",
                    "crates/sluice-npi/include",
                    "clients/probe-c",
                ]
                .map(|folder| format!("-I{}", root.join(folder).display())),
            )
            .arg(root.join("clients/probe-c/tests/client_test.c"))
            .arg(target.join("debug/libnmr_registrar_c.a"))
            .args(["-lpthread", "-ldl", "-lm", "-o"])
            .arg(&program));
        Some(program)
    });
    PROGRAM.as_deref()
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                match program() {
                    Some(program) => run(Command::new(program).arg(stringify!($name))),
                    None => eprintln!("skipped: no C compiler (set CC to its path)"),
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
