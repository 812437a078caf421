//! What a driver's author does, in a folder outside of the repository and without a network.
//!
//! It takes what `cargo xtask setup` installs; `cargo xtask test` runs it. What cargo compiles stays under target/tmp,
//! so that the first run takes minutes and the next does not.
#![cfg(unix)]

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::{env, fs};

/// What is kept from one run to the next.
const KEPT: &str = env!("CARGO_TARGET_TMPDIR");

/// A folder of its own with the program in it, as cargo finds subcommands. It stays if the test fails.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        // The same in every run: paths are part of what cargo compares. Another one for another checkout.
        let mut hasher = DefaultHasher::new();
        KEPT.hash(&mut hasher);
        // A space and a letter beyond ASCII, as in the names of people.
        let below = format!("wdk-linux-{:016x}/{name} für Treiber", hasher.finish());
        let folder = Self(env::temp_dir().join(below));
        let _ = fs::remove_dir_all(&folder.0);
        fs::create_dir_all(folder.0.join("bin")).unwrap();
        symlink(env!("CARGO_BIN_EXE_cargo-wdk-linux"), folder.0.join("bin/cargo-wdk-linux")).unwrap();
        static KIT: Once = Once::new();
        // It fetches what a new driver needs, if that is not on this machine. All that follows takes no network.
        KIT.call_once(|| drop(folder.succeeds("", "CARGO_NET_OFFLINE=false cargo wdk-linux setup")));
        folder
    }

    /// Lets cargo find what the last run has compiled of a workspace.
    fn keep(&self, workspace: &str) {
        for made in ["cargo", "tests/cargo"] {
            let kept = Path::new(KEPT).join("tool").join(made);
            let link = self.0.join(workspace).join("target/wdk-linux").join(made);
            fs::create_dir_all(&kept).unwrap();
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(kept, link).unwrap();
        }
    }

    /// Types a line in a folder below this one; returns whether it succeeded and all that it printed.
    fn types(&self, below: &str, line: &str) -> (bool, String) {
        let path = env::join_paths(
            [self.0.join("bin")].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec 2>&1; {line}")]).current_dir(self.0.join(below)).stdin(Stdio::null());
        shell.env("WDK_LINUX_HOME", home());
        // `check` finds the folders of this user in symbols. The kit and what cargo makes lie in one of them, as a
        // person's do.
        shell.env("USERPROFILE", KEPT);
        shell.env("PATH", path.unwrap()).env("CARGO_NET_OFFLINE", "true");
        // Nothing else of this repository's cargo is seen.
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

    /// Changes a file, in which `from` stands once.
    #[track_caller]
    fn edits(&self, file: &str, from: &str, to: &str) {
        let file = self.0.join(file);
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from:?} in {}", file.display());
        fs::write(file, text.replace(from, to)).unwrap();
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
    Path::new(KEPT).join("wdk-linux")
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
    assert_eq!(lines[0], "cargo install --locked --path cargo-wdk-linux");
    let folder = Folder::new("page");
    let (mut below, mut printed) = ("", String::new());
    for line in &lines[1..] {
        match line.strip_prefix("cd ") {
            Some(into) => {
                below = into;
                folder.keep(below);
            }
            None => printed += &folder.succeeds(below, line),
        }
    }
    says(&printed, &["prints: hello: started", "hello has left: 0 allocations", "hello.sys: nothing found"]);
    says(&printed, &["hello.sys is signed"]);
    says(&printed, &["the_driver_starts_and_leaves_nothing_behind ... ok"]);

    // A person who types `sc create` leaves out the group.
    wdk_rig::use_folders(home().join("kit/target"), folder.0.join("hello/target/wdk-linux"));
    let rig = wdk_rig::Rig::boot("group").unwrap();
    rig.copy_driver(&rig.product("hello.sys"), "hello").unwrap();
    let path = "C:\\windows\\system32\\drivers\\hello.sys";
    rig.sc(&["create", "hello", "type=", "kernel", "start=", "demand", "binPath=", path]).unwrap();
    let error = rig.start("hello").expect_err("nobody would see what it does");
    says(&error.to_string(), &["hello.sys runs, but netio.sys has not seen it", "group= NDIS"]);
}

/// The drivers of others: one of one package, one of three with C code, two of an NPI, and some that do wrong.
#[test]
fn a_workspace_of_others_runs_and_mistakes_are_shown_with_whose_they_are() {
    let folder = Folder::new("foreign");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
    assert!(Command::new("cp").arg("-r").arg(from).arg(folder.0.join("w")).status().unwrap().success());
    folder.keep("w");
    for role in ["provider", "client"] {
        folder.succeeds("w", &format!("cargo wdk-linux new my_{role} --nmr {role}"));
        // Profiles and workspace are those of the root.
        let manifest = folder.0.join(format!("w/my_{role}/Cargo.toml"));
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(manifest, text.split("\n# A kernel has no unwinder").next().unwrap()).unwrap();
        folder.edits("w/Cargo.toml", "\"leaker\"", &format!("\"leaker\", \"my_{role}\""));
    }

    let text = folder.succeeds("w", "cargo wdk-linux run --package sample-driver --package three");
    says(&text, &["prints: sample: hello", "by DbgPrint", "the service is three", "the sum of 3 bytes is 6"]);
    says(&text, &["prints: three: 6", "three: goodbye", "sample: goodbye", "sample_driver has left: 0 allocations"]);
    // As a cargo that knows nothing of stand-ins has written it.
    let lock = fs::read_to_string(folder.0.join("w/target/wdk-linux/workspace/Cargo.lock")).unwrap();
    let stand_in = "name = \"wdk-build\"\nversion = \"0.6.0\"\n";
    assert!(lock.contains(stand_in), "{lock}");
    let registry = format!("{stand_in}source = \"registry+https://github.com/rust-lang/crates.io-index\"\n");
    fs::write(folder.0.join("w/Cargo.lock"), lock.replace(stand_in, &registry)).unwrap();
    let text = folder.succeeds("w", "cargo wdk-linux run --package my_provider --package my_client");
    says(&text, &["ProviderAttachClient", "ProviderCleanupBindingContext"]);
    says(&text, &["my_client has left: 0 allocations", "my_provider has left: 0 allocations"]);
    let check = "cargo wdk-linux check --allow version target/wdk-linux/x64";
    folder.succeeds("w", &format!("{check}/sample_driver.sys"));
    // It allocates by `String`, which panics where there is no memory.
    says(&folder.fails("w", &format!("{check}/three.sys")), &["three.sys: alloc::", "stops the machine [panics"]);
    // clang's command line is among the symbols of its C code, and may hold paths of this machine.
    folder.succeeds("w", &format!("{check}/three.sys --allow panics --allow paths"));
    folder.succeeds("w", "cargo wdk-linux check target/wdk-linux/x64/my_provider.sys");

    let text = folder.fails("w", "cargo wdk-linux run --package crasher");
    says(&text, &["crasher.sys caused bug check 0x1e: read of address 0x0", "crasher::read_nothing at"]);
    says(&text, &["crasher/src/lib.rs:"]);
    // Each of its tests reads a report.
    let text = folder.succeeds("w", "cargo wdk-linux test");
    says(&text, &["test result: ok. 4 passed"]);
    let text = folder.fails("w", "cargo wdk-linux run --package importer");
    says(&text, &["importer.sys imports ExFetchLicenseData, which the ntoskrnl.exe of this Wine does not export"]);
    says(&text, &["rig/netio/src/hooks.rs"]);
    let text = folder.fails("w", "cargo wdk-linux run --package leaker");
    says(&text, &["leaks 1 blocks of 64 bytes", "error: something is left behind by leaker"]);
    let text = folder.fails("w", "cargo wdk-linux run --package hanger");
    says(&text, &["DriverUnload of hanger.sys has not returned"]);
    // A client that never gives up its hold on the provider.
    let attached = "    fn attached(&self, provider: AttachedProvider<'_, Self>) {\n        \
                    core::mem::forget(provider.hold());\n    }\n\n    fn attach(";
    folder.edits("w/my_client/src/client.rs", "    fn attach(", attached);
    let text = folder.fails("w", "cargo wdk-linux run --package my_provider --package my_client");
    says(&text, &["an unload does not end: waiting for", "for the end of provider", "on the other side: my_client"]);
    let text = folder.fails("w", "cargo wdk-linux run --package four");
    says(&text, &["expected one of the drivers three, sample-driver, crasher", "found four"]);
}

#[test]
fn what_cannot_be_built_is_refused_with_what_can_be_done() {
    let folder = Folder::new("refused");
    says(&folder.fails("bin", "cargo wdk-linux build"), &["expected a package or workspace of cargo"]);
    folder.succeeds("", "cargo wdk-linux new framework");
    says(&folder.fails("", "cargo wdk-linux new framework"), &["expected a name that is not taken"]);
    let manifest = "framework/Cargo.toml";
    folder.edits(manifest, "\"WDM\"", "\"KMDF\"");
    let text = folder.fails("framework", "cargo wdk-linux build");
    says(&text, &["expected a WDM driver, found KMDF", "WdfVersionBind", "cargo wdk-linux check FILE.sys"]);
    folder.edits(manifest, "\"KMDF\"", "\"WDM\"");
    folder.edits(manifest, "[dependencies]\n", "[dependencies]\nthere-is-no-such-crate = \"99\"\n");
    let text = folder.fails("framework", "cargo wdk-linux build");
    says(
        &text,
        &["there-is-no-such-crate", "expected every crate that the workspace names on this machine, or a network"],
    );
}
