//! The proof that nothing here panics: the objects that the crate is compiled to, with a caller for everything that it
//! offers to a kernel, refer to nothing of `core::panicking`.
//!
//! It takes the release profile, in which the compiler removes the checks that cannot fail. For the host it needs `nm`;
//! for Windows also a core library, installed or as source (see `cargo xtask setup`). What is not there is skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MANIFEST: &str = r#"
[package]
name = "caller"
edition = "2024"
[dependencies]
sluice-core = { path = "SLUICE_CORE" }
sluice-npi = { path = "SLUICE_CORE/../sluice-npi" }
[workspace]
[profile.release]
panic = "abort"
lto = "off"
codegen-units = 1
"#;

/// Instances of what is generic or inlined, so that there is code of it.
const CALLER: &str = r"
#![no_std]
use sluice_core::{Decision, Direction, ParsedPacket, CapturedPacket, Policy, TableError, UnknownLinkType};
use sluice_npi::{Flow, Verdict};

#[inline(never)]
pub fn parse(link_type: u16, packet: &[u8], wire_length: u32) -> Result<Flow, UnknownLinkType> {
    sluice_core::parse(link_type, packet, wire_length)
}

#[inline(never)]
pub fn check(table: &'static [u8]) -> Result<Policy<&'static [u8]>, TableError> {
    Policy::new(table)
}

#[inline(never)]
pub fn decide(
    policy: &Policy<&'static [u8]>,
    direction: Direction,
    link_type: u16,
    packet: &[u8],
    flow: &Flow,
) -> Decision {
    policy.classify(direction, link_type, packet, flow)
}

#[inline(never)]
pub fn decide_batch(policy: &Policy<&'static [u8]>, packets: &[ParsedPacket<'_>], decisions: &mut [Decision]) {
    policy.classify_batch(packets, decisions);
}

#[inline(never)]
pub fn classify(
    policy: &Policy<&'static [u8]>,
    packets: &[CapturedPacket<'_>],
    verdicts: &mut [Verdict],
) -> Result<(), UnknownLinkType> {
    sluice_core::classify(policy, 1, packets.iter().copied(), verdicts)
}
";

fn has(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Compiles the caller and gives the libraries that came out: its own and that of sluice-core.
fn build(cargo: &mut Command, name: &str, target: Option<&str>) -> [PathBuf; 2] {
    let project = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("no-panic-{name}"));
    fs::create_dir_all(project.join("src")).expect("a folder for the caller");
    let manifest = MANIFEST.replace("SLUICE_CORE", env!("CARGO_MANIFEST_DIR"));
    fs::write(project.join("Cargo.toml"), manifest).expect("the caller's manifest");
    fs::write(project.join("src/lib.rs"), CALLER).expect("the caller's source");
    cargo.args(["build", "--release", "--quiet"]).current_dir(&project).env("CARGO_TARGET_DIR", project.join("target"));
    if let Some(target) = target {
        cargo.args(["--target", target]);
    }
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let release = project.join("target").join(target.unwrap_or("")).join("release");
    let of_core = fs::read_dir(release.join("deps"))
        .expect("the build has dependencies")
        .map(|file| file.unwrap().path())
        .filter(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with("libsluice_core-") && name.ends_with(".rlib")
        })
        .max_by_key(|file| fs::metadata(file).and_then(|data| data.modified()).ok())
        .expect("sluice-core was built");
    [release.join("libcaller.rlib"), of_core]
}

/// What the libraries refer to and do not define.
fn references(libraries: &[PathBuf]) -> Vec<String> {
    let mut references = Vec::new();
    for library in libraries {
        let output =
            Command::new("nm").args(["--undefined-only", "--format=just-symbols"]).arg(library).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        references.extend(String::from_utf8_lossy(&output.stdout).lines().map(String::from));
    }
    references
}

fn assert_no_panic(libraries: &[PathBuf]) {
    let references = references(libraries);
    assert!(
        references.iter().any(|symbol| symbol.contains("sluice_core")),
        "the caller refers to sluice-core: {references:?}"
    );
    let panics: Vec<&String> =
        references.iter().filter(|symbol| symbol.contains("panic") || symbol.contains("unwrap_failed")).collect();
    assert!(panics.is_empty(), "{panics:#?}");
}

#[test]
fn the_object_for_the_host_refers_to_nothing_that_panics() {
    if !has("nm") {
        eprintln!("nm is not installed: nothing to do");
        return;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    assert_no_panic(&build(&mut Command::new(cargo), "host", None));
}

#[test]
fn the_object_for_windows_refers_to_nothing_that_panics() {
    const TARGET: &str = "x86_64-pc-windows-msvc";
    if !has("nm") {
        eprintln!("nm is not installed: nothing to do");
        return;
    }
    let installed = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).exists());
    let mut cargo = if installed {
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    } else {
        // The distribution's compiler, which has the source of its own core library.
        let source = Command::new("/usr/bin/rustc").args(["--print", "sysroot"]).output().is_ok_and(|output| {
            Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("lib/rustlib/src/rust/library").exists()
        });
        if !source {
            eprintln!("there is no core library for {TARGET}, nor its source: nothing to do");
            return;
        }
        let mut cargo = Command::new("/usr/bin/cargo");
        cargo.arg("-Zbuild-std=core").env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
        cargo.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        cargo
    };
    assert_no_panic(&build(&mut cargo, "windows", Some(TARGET)));
}
