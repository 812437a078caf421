//! A handler is made from nothing, so it must have no size: a closure that captures something does not build. That is
//! found when code is generated, which the tests of `compile_fail` do not do; these build a whole program.

mod declarations;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use declarations::declarations;

fn build(name: &str, handler: &str) -> (bool, String) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("handlers-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for the results");
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let module = fs::read_to_string(source.join("tests/bare/module.rs")).expect("a module");
    assert!(module.contains("add: fn handler }"), "the module has a table");
    let module_with_it = module.replace("add: fn handler }", &format!("add: fn {handler} }}"));
    fs::write(folder.join("module.rs"), module_with_it).expect("written");
    let crates: [(&str, PathBuf); 3] =
        [("wdk_nmr_sys", declarations()), ("wdk_nmr", source.join("src/lib.rs")), ("module", folder.join("module.rs"))];
    let mut output = None;
    let mut built = Vec::new();
    for (name, source) in crates {
        let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        command.args(["--edition", "2024", "--crate-type", "rlib", "--crate-name", name, "-C", "panic=abort"]);
        command.arg("-L").arg(&folder).arg("--out-dir").arg(&folder).arg(source);
        for dependency in &built {
            let library = folder.join(format!("lib{dependency}.rlib"));
            command.arg("--extern").arg(format!("{dependency}={}", library.display()));
        }
        output = Some(command.output().expect("rustc runs"));
        built.push(name);
    }
    let output = output.expect("three crates");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_closure_without_captures_is_a_handler() {
    let (built, errors) = build("without", "|_: ClientCall<'_, Self>, number: u32| number");
    assert!(built, "{errors}");
}

#[test]
fn a_closure_with_captures_is_not() {
    let closure = "{ let start = 7_u32; move |_: ClientCall<'_, Self>, number: u32| number.wrapping_add(start) }";
    let (built, errors) = build("with", closure);
    assert!(!built && errors.contains("expected a function or a closure without captures as a handler"), "{errors}");
}

/// A token of this kind stays on its thread, which the functions of a table do not.
#[test]
fn a_closure_that_captures_a_token_is_not() {
    let closure = "{ let token: Option<Dispatch<'static>> = None; \
                   move |_: ClientCall<'_, Self>, number: u32| number.wrapping_add(token.is_some() as u32) }";
    let (built, errors) = build("token", closure);
    assert!(!built && errors.contains("the handler does not fit the entry"), "{errors}");
}
