//! What a driver's author does, in a folder outside of the repository and without a network.
//!
//! It takes what `cargo xtask setup` installs; `cargo xtask test` runs it.
#![cfg(unix)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use cargo_wdk_linux::packed::FINGERPRINT;

/// A folder of its own with the program in it, as cargo finds subcommands. It stays if the test fails.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        // A space and a letter beyond ASCII, as in the names of people.
        let folder = env::temp_dir().join(format!("wdk-linux-{}/{name} für Treiber", std::process::id()));
        fs::create_dir_all(folder.join("bin")).unwrap();
        symlink(env!("CARGO_BIN_EXE_cargo-wdk-linux"), folder.join("bin/cargo-wdk-linux")).unwrap();
        Self(folder)
    }

    /// Types a line in a folder below this one; returns whether it succeeded and all that it printed.
    fn types(&self, below: &str, line: &str) -> (bool, String) {
        let path = env::join_paths(
            [self.0.join("bin")].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec 2>&1; {line}")]).current_dir(self.0.join(below)).stdin(Stdio::null());
        // Nothing else of this repository's cargo is seen.
        shell.env("WDK_LINUX_HOME", home());
        shell.env("PATH", path.unwrap()).env("CARGO_NET_OFFLINE", "true");
        for set_by_cargo in ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_TARGET_DIR", "RUSTFLAGS"] {
            shell.env_remove(set_by_cargo);
        }
        let output = shell.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("$ {line}\n{text}");
        (output.status.success(), text)
    }

    #[track_caller]
    fn succeeds(&self, below: &str, line: &str) -> String {
        let (succeeded, text) = self.types(below, line);
        assert!(succeeded, "{line}\n{text}");
        text
    }

    #[track_caller]
    fn fails(&self, below: &str, line: &str) -> String {
        let (succeeded, text) = self.types(below, line);
        assert!(!succeeded, "{line}\n{text}");
        text
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Where the kit is built: once for all tests, and again when it changes.
fn home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("wdk-linux")
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "expected {part:?} in:\n{text}");
    }
}

/// The lines of the page, typed one after the other.
#[test]
fn the_page_shows_a_driver_from_nothing_to_its_test() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/driver-on-linux.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert_eq!(lines[0], "cargo install --path cargo-wdk-linux");
    let folder = Folder::new("page");
    let (mut below, mut printed) = ("", String::new());
    for line in &lines[1..] {
        match line.strip_prefix("cd ") {
            Some(into) => below = into,
            None => printed += &folder.succeeds(below, line),
        }
    }
    says(&printed, &["prints: hello: started", "hello has left: 0 allocations", "hello.sys: nothing found"]);
    says(&printed, &["hello.sys is signed"]);
    says(&printed, &["the_driver_starts_and_leaves_nothing_behind ... ok"]);

    // A person who types `sc create` leaves out the group.
    wdk_rig::use_folders(home().join(FINGERPRINT).join("target"), folder.0.join("hello/target/wdk-linux"));
    let rig = wdk_rig::Rig::boot("group").unwrap();
    rig.copy_driver(&rig.product("hello.sys"), "hello").unwrap();
    let path = "C:\\windows\\system32\\drivers\\hello.sys";
    rig.sc(&["create", "hello", "type=", "kernel", "start=", "demand", "binPath=", path]).unwrap();
    let error = rig.start("hello").expect_err("nobody would see what it does");
    says(&error.to_string(), &["hello.sys runs, but netio.sys has not seen it", "group= NDIS"]);
}

#[test]
fn a_provider_and_a_client_bind() {
    let folder = Folder::new("nmr");
    // In one workspace, so that what they share is built once.
    for role in ["provider", "client"] {
        folder.succeeds("", &format!("cargo wdk-linux new my_{role} --nmr {role}"));
        let manifest = folder.0.join(format!("my_{role}/Cargo.toml"));
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(manifest, text.split("[profile.dev]").next().unwrap()).unwrap();
    }
    let workspace = "[workspace]\nresolver = \"3\"\nmembers = [\"my_provider\", \"my_client\"]\n";
    fs::write(folder.0.join("Cargo.toml"), workspace).unwrap();
    let text = folder.succeeds("", "cargo wdk-linux run");
    says(&text, &["ProviderAttachClient", "ProviderCleanupBindingContext"]);
    says(&text, &["my_client has left: 0 allocations", "my_provider has left: 0 allocations"]);
}

#[test]
fn a_workspace_with_c_runs_and_mistakes_are_shown_with_whose_they_are() {
    let folder = Folder::new("foreign");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
    assert!(Command::new("cp").arg("-r").arg(from).arg(folder.0.join("w")).status().unwrap().success());

    let text = folder.succeeds("w", "cargo wdk-linux run --package three");
    says(&text, &["by DbgPrint", "the service is three", "the sum of 3 bytes is 6", "three: 6", "three: goodbye"]);
    let text = folder.fails("w", "cargo wdk-linux run --package crasher");
    says(&text, &["crasher.sys caused bug check 0x1e: read of address 0x0", "at crasher::read_nothing"]);
    says(&text, &["crasher/src/lib.rs:"]);
    let text = folder.fails("w", "cargo wdk-linux run --package importer");
    says(&text, &["importer.sys imports ExFetchLicenseData, which the ntoskrnl.exe of this Wine does not export"]);
    says(&text, &["rig/netio/src/hooks.rs"]);
    let text = folder.fails("w", "cargo wdk-linux run --package leaker");
    says(&text, &["leaks 1 blocks of 64 bytes", "error: something is left behind by leaker"]);
    says(&folder.fails("w", "cargo wdk-linux run --package four"), &["three, crasher, importer, leaker, found four"]);
    for package in ["three", "leaker"] {
        folder.succeeds("w", &format!("cargo wdk-linux check target/wdk-linux/x64/{package}.sys --allow version"));
    }
}

#[test]
fn a_driver_of_a_framework_is_refused_with_what_can_be_done() {
    let folder = Folder::new("kmdf");
    folder.succeeds("", "cargo wdk-linux new framework");
    let manifest = folder.0.join("framework/Cargo.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(manifest, text.replace("\"WDM\"", "\"KMDF\"")).unwrap();
    let text = folder.fails("framework", "cargo wdk-linux build");
    says(&text, &["expected a WDM driver, found KMDF", "WdfVersionBind", "cargo wdk-linux check FILE.sys"]);
    says(&folder.fails("", "cargo wdk-linux new framework"), &["expected a name that is not taken"]);
    says(&folder.fails("bin", "cargo wdk-linux build"), &["expected a package or workspace of cargo"]);
}
