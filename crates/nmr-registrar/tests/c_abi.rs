//! The C ABI: the example in `examples/c` is compiled, linked with the static library, and run. Needs a C compiler; `CC`
//! names one, else `cc` is taken.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

/// Runs a command, which must succeed.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    assert!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Compiles a test of the example driver and links it with the static library.
fn build(name: &str, test: &Path) -> PathBuf {
    static TARGET: LazyLock<PathBuf> = LazyLock::new(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-abi");
        run(Command::new(env!("CARGO"))
            .args(["build", "--offline", "--package", "nmr-registrar-capi", "--target-dir"])
            .arg(&target)
            .current_dir(env!("CARGO_MANIFEST_DIR")));
        target
    });
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let executable = TARGET.join(name);
    run(Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(root.join("include"))
        .arg("-I")
        .arg(root.join("examples/c"))
        .arg(test)
        .arg(root.join("examples/c/driver.c"))
        .arg(TARGET.join("debug/libnmr_registrar_c.a"))
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&executable));
    executable
}

/// The example, built.
fn example() -> &'static Path {
    static EXAMPLE: LazyLock<PathBuf> =
        LazyLock::new(|| build("driver-test", &Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/c/test.c")));
    &EXAMPLE
}

#[test]
fn the_c_example_of_the_documentation_runs() {
    let documentation = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/registrar.md");
    let text = std::fs::read_to_string(documentation).expect("the documentation is there");
    let (_, rest) = text.split_once("```c\n").expect("it has an example in C");
    let (code, _) = rest.split_once("```").expect("the example ends");
    let test = Path::new(env!("CARGO_TARGET_TMPDIR")).join("documentation.c");
    std::fs::write(&test, code).expect("the target directory can be written to");
    run(&mut Command::new(build("documentation-test", &test)));
}

#[test]
fn c_code_is_tested_by_linking_it() {
    let output = run(&mut Command::new(example()));
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(report.contains("client pending, provider done"), "{report}");
}

#[test]
fn c_code_that_breaks_a_rule_fails_and_says_which() {
    let output = Command::new(example()).arg("wrong-handle").output().expect("the example runs");
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("R52 broken in NmrClientDetachProviderComplete"), "{errors}");
    assert!(errors.contains("still alive"), "{errors}");
}

#[test]
fn every_control_function_can_be_used_from_c() {
    let test = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/controls.c");
    let output = Command::new(build("controls", &test)).env("NMR_REGISTRAR_SEED", "17").output().expect("it runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
}
