//! The C ABI: the example in `examples/c` is compiled, linked with the static library, and run. Needs a C compiler; `CC`
//! names one, else `cc` is taken.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

/// Runs a command, which must succeed.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    assert!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The example, built.
fn example() -> &'static Path {
    static EXAMPLE: LazyLock<PathBuf> = LazyLock::new(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-abi");
        run(Command::new(env!("CARGO"))
            .args(["build", "--offline", "--package", "nmr-registrar-capi", "--target-dir"])
            .arg(&target)
            .current_dir(root));
        let executable = target.join("driver-test");
        run(Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"])
            .arg(root.join("include"))
            .args(["test.c", "driver.c"].map(|file| root.join("examples/c").join(file)))
            .arg(target.join("debug/libnmr_registrar_c.a"))
            .args(["-lpthread", "-ldl", "-lm", "-o"])
            .arg(&executable));
        executable
    });
    &EXAMPLE
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
