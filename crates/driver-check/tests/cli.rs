//! The program, as a person calls it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use driver_check::{Check, image, inf};

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_driver-check")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    (status.code(), text(&stdout), text(&stderr))
}

/// A file of that name with `contents`, gone when it is dropped.
struct File(PathBuf);

impl File {
    fn new(name: &str, contents: impl AsRef<[u8]>) -> Self {
        let file = std::env::temp_dir().join(format!("driver-check-{}-{name}", std::process::id()));
        fs::write(&file, contents).unwrap();
        Self(file)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_finding_is_a_line_and_an_exit_code() {
    let file = File::new("line.sys", "MZ but nothing else");
    let (code, stdout, stderr) = run(&["image", file.path()]);
    assert_eq!((code, stderr.as_str()), (Some(1), "1 finding\n"));
    assert!(stdout.starts_with(&format!("{}: expected a 64-bit PE image, found", file.path())), "{stdout}");
    assert!(stdout.ends_with("[format: PE Format, Optional Header (Image Only)]\n"), "{stdout}");
}

#[test]
fn a_check_that_is_allowed_is_left_out() {
    let file = File::new("allowed.sys", "MZ but nothing else");
    let (code, stdout, _) = run(&["image", "--allow", "format", file.path()]);
    assert_eq!((code, stdout), (Some(0), format!("{}: nothing found\n", file.path())));
}

#[test]
fn an_inf_file_is_read_in_the_encoding_of_windows() {
    let text: Vec<u8> =
        "\u{feff}[Version]\r\nCatalogFile = x.cat\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let file = File::new("wide.inf", text);
    let (code, stdout, _) = run(&["inf", file.path()]);
    assert_eq!(code, Some(1));
    assert!(stdout.contains("PnpLockdown is not 1") && !stdout.contains("CatalogFile"), "{stdout}");
}

#[test]
fn bad_arguments_say_what_was_expected() {
    let list = File::new("list.txt", "hal.dll X 1\nhal.dll Y\n");
    for (arguments, expected) in [
        (&["image", "missing.sys"][..], "error: cannot read missing.sys"),
        (&["inf", "missing.inf"], "error: cannot read missing.inf"),
        (&["image", "--imports", list.path(), "x.sys"], "line 2: expected a module, a function and a build"),
        (&["image", "--allow", "speling", "x.sys"], "[possible values: format, machine"),
        (&["image", "--may-panic", "wdk::print", "x.sys"], "expected FUNCTION=CALLER"),
        (&["image", "--may-panic", "=DriverEntry", "x.sys"], "expected FUNCTION=CALLER"),
        (&["image", "--may-panic", "wdk::print=", "x.sys"], "expected FUNCTION=CALLER"),
        (&["image", "--may-panic", "wdk::print=DriverEntry", "missing.sys"], "error: cannot read missing.sys"),
        (&["image", "--stack-limit", "=4096", "x.sys"], "expected FUNCTION=BYTES"),
        (&["image", "--stack-limit", "classify=many", "x.sys"], "expected FUNCTION=BYTES"),
        (&["image", "--stack-limit", "classify=4096", "missing.sys"], "error: cannot read missing.sys"),
        (&["image", "--oldest-build", "22621", "x.sys"], "--imports <FILE>"),
        (&["image"], "<FILE>..."),
    ] {
        let (code, _, stderr) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn the_manual_lists_every_check_in_order() {
    let rows = |names: Vec<&'static str>| names.iter().map(|name| format!("| `{name}` |")).collect::<Vec<_>>();
    let expected = [
        rows(image::Check::ALL.iter().map(|check| check.name()).collect()),
        rows(inf::Check::ALL.iter().map(|check| check.name()).collect()),
    ]
    .concat();
    let manual = include_str!("../README.md").lines().filter(|line| line.starts_with("| `"));
    let listed: Vec<String> = manual.map(|line| line.split_inclusive('|').take(2).collect()).collect();
    assert_eq!(listed, expected);
}
