//! The C ABI, the headers and the examples in C and C++: compiled, linked with the static library, and run. `CC` and
//! `CXX` name the compilers, else they are `cc` and `c++`. Without a C++ compiler what needs one does nothing but say
//! so.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::{env, fs};

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command, which must succeed.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let text = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "{command:?} failed:\n{text}");
    output
}

#[derive(Clone, Copy)]
enum Language {
    C,
    Cpp,
}

/// What compiles `language`, unless it is C++ and there is nothing.
fn compiler(language: Language) -> Option<Command> {
    let (variable, usual, standard) = match language {
        Language::C => ("CC", "cc", "-std=gnu11"),
        Language::Cpp => ("CXX", "c++", "-std=gnu++14"),
    };
    let program = env::var_os(variable).unwrap_or_else(|| usual.into());
    let works = Command::new(&program).arg("--version").output().is_ok_and(|output| output.status.success());
    if matches!(language, Language::Cpp) && !works {
        eprintln!("not tested: there is no C++ compiler (set CXX to its path)");
        return None;
    }
    let mut command = Command::new(program);
    command.args([standard, "-g", "-Wall", "-Wextra", "-Werror", "-Wno-multichar"]);
    for folder in ["include/km", "include", "examples/c", "examples/cpp"] {
        command.arg("-I").arg(package().join(folder));
    }
    Some(command)
}

/// The folder for what is built, with the static library in it.
static TARGET: LazyLock<PathBuf> = LazyLock::new(|| {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-abi");
    run(Command::new(env!("CARGO"))
        .args(["build", "--offline", "--package", "nmr-registrar-capi", "--target-dir"])
        .arg(&target)
        .current_dir(package()));
    target
});

/// Compiles a test, with the example driver if it is about that, and links it with the static library.
fn build(language: Language, name: &str, test: &Path, with_driver: bool) -> Option<PathBuf> {
    link(language, name, test, with_driver, &[])
}

/// As [`build`], with further libraries.
fn link(language: Language, name: &str, test: &Path, with_driver: bool, libraries: &[&str]) -> Option<PathBuf> {
    let mut compile = compiler(language)?;
    let executable = TARGET.join(name);
    if with_driver {
        let driver = executable.with_extension("o");
        let source = package().join("examples/c/driver.c");
        run(compiler(Language::C)?.arg("-c").arg(source).arg("-o").arg(&driver));
        compile.arg(driver);
    }
    match language {
        Language::C => compile.arg(test),
        // A test in C is one in C++ too.
        Language::Cpp => compile.arg("-xc++").arg(test).arg("-xnone"),
    };
    compile.arg(TARGET.join("debug/libnmr_registrar_c.a")).args(libraries);
    compile.args(["-lpthread", "-ldl", "-lm", "-o"]).arg(&executable);
    run(&mut compile);
    Some(executable)
}

fn build_c(name: &str, test: &Path) -> PathBuf {
    build(Language::C, name, test, true).expect("a C compiler")
}

/// Compiles and runs C under AddressSanitizer and UndefinedBehaviorSanitizer, with an argument or none. `None` if the
/// compiler has not the libraries that they need.
fn sanitized(name: &str, sources: &[&str], argument: Option<&str>) -> Option<Output> {
    const FLAGS: [&str; 3] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];
    let probe = TARGET.join(name).with_extension("probe.c");
    fs::write(&probe, "int main(void) { return 0; }\n").expect("the probe can be written");
    let mut links = compiler(Language::C)?;
    let output = links.args(FLAGS).arg(&probe).arg("-o").arg(probe.with_extension("")).output();
    if !output.is_ok_and(|output| output.status.success()) {
        eprintln!("not tested: the C compiler has no libraries for -fsanitize=address,undefined");
        return None;
    }
    let executable = TARGET.join(name);
    let mut compile = compiler(Language::C)?;
    compile.args(FLAGS).args(sources.iter().map(|source| package().join(source)));
    compile.arg(TARGET.join("debug/libnmr_registrar_c.a")).args(["-lpthread", "-ldl", "-lm", "-o"]).arg(&executable);
    run(&mut compile);
    let mut test = Command::new(executable);
    // What controls.c asks for.
    test.args(argument).env("NMR_REGISTRAR_SEED", "17");
    Some(test.output().expect("what was built runs"))
}

/// The example, built.
fn example() -> &'static Path {
    static EXAMPLE: LazyLock<PathBuf> = LazyLock::new(|| build_c("driver-test", &package().join("examples/c/test.c")));
    &EXAMPLE
}

#[test]
fn c_code_is_tested_by_linking_it() {
    let output = run(&mut Command::new(example()));
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(report.contains("client pending, provider done"), "{report}");
}

#[test]
fn the_first_test_of_the_manual_runs() {
    run(&mut Command::new(build_c("first", &package().join("examples/c/first.c"))));
}

#[test]
fn c_code_that_breaks_a_rule_fails_and_says_which() {
    let output = Command::new(example()).arg("wrong-handle").output().expect("the example runs");
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("R52 broken in NmrClientDetachProviderComplete"), "{errors}");
    assert!(errors.contains("see docs/nmr-rules.md#r52"), "{errors}");
    assert!(errors.contains("still alive"), "{errors}");
}

#[test]
fn every_control_function_can_be_used_from_c() {
    let test = package().join("tests/c/controls.c");
    run(Command::new(build_c("controls", &test)).env("NMR_REGISTRAR_SEED", "17"));
}

#[test]
fn cpp_code_tests_a_driver_with_objects_that_end_with_their_scope() {
    let Some(test) = build(Language::Cpp, "cpp-test", &package().join("examples/cpp/test.cpp"), true) else { return };
    run(&mut Command::new(&test));
    let output = Command::new(&test).arg("unfinished").output().expect("the example runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("ended without finish()"), "{errors}");
}

/// Whether a header of C++ is installed. CPLUS_INCLUDE_PATH and LIBRARY_PATH name folders that a compiler does not know
/// by itself.
fn has_header(header: &str) -> bool {
    let probe = TARGET.join(header.replace('/', "-")).with_extension("cpp");
    fs::write(&probe, format!("#include <{header}>\n")).expect("the probe can be written");
    let compiler = compiler(Language::Cpp);
    compiler.is_some_and(|mut c| c.arg("-E").arg(&probe).output().is_ok_and(|output| output.status.success()))
}

/// Runs a test of the example driver that is written with a framework, if that is there. Every test in it has to pass,
/// and `says` is what it then prints.
fn runs_with(framework: &str, header: &str, file: &str, libraries: &[&str], says: &str) {
    if !has_header(header) {
        eprintln!("not tested: {framework} is not installed ({header}); CPLUS_INCLUDE_PATH and LIBRARY_PATH name it");
        return;
    }
    let test = package().join("examples/cpp").join(file).with_extension("cpp");
    let test = link(Language::Cpp, file, &test, true, libraries).expect("there is a compiler");
    let output = run(&mut Command::new(test));
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains(says), "{printed}");
}

#[test]
fn the_test_with_googletest_runs() {
    let libraries = ["-lgtest_main", "-lgtest"];
    runs_with("GoogleTest", "gtest/gtest.h", "googletest", &libraries, "[  PASSED  ] 3 tests.");
}

#[test]
fn the_test_with_catch2_runs() {
    if has_header("catch2/catch_test_macros.hpp") {
        let libraries = ["-lCatch2Main", "-lCatch2"];
        runs_with("Catch2", "catch2/catch_test_macros.hpp", "catch2", &libraries, "in 3 test cases");
    } else {
        runs_with("Catch2", "catch2/catch.hpp", "catch2", &[], "in 3 test cases");
    }
}

#[test]
fn the_kernel_functions_for_hosts_do_what_drivers_expect_in_c_and_cpp() {
    for (language, name) in [(Language::C, "kernel-c"), (Language::Cpp, "kernel-cpp")] {
        let Some(test) = build(language, name, &package().join("tests/c/kernel.c"), false) else { continue };
        run(&mut Command::new(&test));
        for (mistake, says) in [
            ("other-tag", "ExFreePoolWithTag: the block was allocated with another tag"),
            ("paged-at-dispatch", "ExAllocatePool*: called at DISPATCH_LEVEL or above"),
            ("wait-at-dispatch", "KeWaitForSingleObject: called at DISPATCH_LEVEL or above"),
            ("free-lock", "KeReleaseSpinLock: nobody holds that lock"),
            ("free-rundown", "ExReleaseRundownProtection: nobody has acquired that protection"),
            ("assertion", "Spin == 7 does not hold"),
        ] {
            let output = Command::new(&test).arg(mistake).output().expect("the test runs");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && errors.contains(says), "{mistake}: {errors}");
        }
    }
}

#[test]
fn drivers_in_the_shapes_of_others_run_in_c_and_cpp() {
    for (language, name) in [(Language::C, "shapes-c"), (Language::Cpp, "shapes-cpp")] {
        let Some(test) = build(language, name, &package().join("tests/c/shapes.c"), false) else { continue };
        run(&mut Command::new(test));
    }
}

#[test]
fn the_examples_are_clean_under_sanitizers() {
    for (name, sources) in [
        ("first-sanitized", &["examples/c/first.c", "examples/c/driver.c"][..]),
        ("driver-test-sanitized", &["examples/c/test.c", "examples/c/driver.c"]),
        ("controls-sanitized", &["tests/c/controls.c", "examples/c/driver.c"]),
        ("kernel-sanitized", &["tests/c/kernel.c"]),
        ("shapes-sanitized", &["tests/c/shapes.c"]),
    ] {
        let Some(output) = sanitized(name, sources, None) else { return };
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn memory_that_is_used_after_its_cleanup_is_found() {
    let Some(output) = sanitized("shapes-freed", &["tests/c/shapes.c"], Some("freed")) else { return };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("heap-use-after-free"), "{errors}");
    assert!(errors.contains("in CleanupBinding"), "and who freed it: {errors}");
}
