//! What the library compiles to: no standard library, no way to a panic, and nothing in the way of a call that comes
//! in.
//!
//! The crates are compiled with optimizations by rustc alone, as assembly, for a bare target if one is installed and
//! for the host otherwise.

mod declarations;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use declarations::declarations;

/// Declarations, library, and a provider and a client that use all of it, in the order in which they are compiled.
fn crates() -> [(&'static str, PathBuf); 3] {
    [("wdk_nmr_sys", declarations()), ("wdk_nmr", "src/lib.rs".into()), ("module", "tests/bare/module.rs".into())]
}

fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// A target without an operating system whose core library is there.
fn bare_target() -> Option<&'static str> {
    ["x86_64-unknown-none", "aarch64-unknown-none", "x86_64-pc-windows-msvc"].into_iter().find(|target| {
        let output = rustc().args(["--print", "target-libdir", "--target", target]).output().expect("rustc runs");
        let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        files.map(|file| file.file_name()).any(|name| name.to_string_lossy().starts_with("libcore-"))
    })
}

/// Compiles one crate and returns its assembly.
fn compile(folder: &Path, target: Option<&str>, kind: &str, name: &str, source: impl AsRef<Path>) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let mut command = rustc();
    command.args(["--edition", "2024", "--crate-type", kind, "--emit", "link,asm", "--crate-name", name]);
    command.args(["-C", "opt-level=3", "-C", "panic=abort", "-C", "codegen-units=1", "-C", "embed-bitcode=no"]);
    command.arg("-L").arg(folder).arg("--out-dir").arg(folder).arg(source);
    if let Some(target) = target {
        command.args(["--target", target]);
    }
    for dependency in ["wdk_nmr_sys", "wdk_nmr", "module"] {
        let library = folder.join(format!("lib{dependency}.rlib"));
        if dependency != name && library.exists() {
            command.arg("--extern").arg(format!("{dependency}={}", library.display()));
        }
    }
    let output = command.output().expect("rustc runs");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    fs::read_to_string(folder.join(format!("{name}.s"))).expect("assembly was asked for")
}

/// The assembly of the whole: declarations, library, and a provider and a client that use all of it.
fn assembly(name: &str, target: Option<&str>) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for the results");
    crates().map(|(name, source)| compile(&folder, target, "rlib", name, source)).concat()
}

#[test]
fn it_needs_no_standard_library() {
    let target = bare_target();
    if target.is_none() {
        eprintln!("for the host alone: no bare target is installed (rustup target add x86_64-unknown-none)");
    }
    assembly("bare", target);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bare");
    compile(&folder, target, "staticlib", "alone", "tests/bare/alone.rs");
}

/// The oldest compiler that Cargo.toml names builds the library and what uses all of it. The tests themselves need a
/// newer one.
#[test]
fn it_builds_with_the_oldest_rust_that_it_names() {
    let oldest = format!("{}.0", env!("CARGO_PKG_RUST_VERSION"));
    let installed = Command::new("rustup").args(["run", &oldest, "rustc", "--version"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        eprintln!("not built: rustup toolchain install {oldest} --profile minimal");
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oldest");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for the results");
    let mut built: Vec<&str> = Vec::new();
    for (name, source) in crates() {
        let mut command = Command::new("rustup");
        command.args(["run", &oldest, "rustc", "--edition", "2024", "--crate-type", "rlib", "--crate-name", name]);
        command.args(["-C", "panic=abort"]).arg("-L").arg(&folder).arg("--out-dir").arg(&folder);
        for dependency in &built {
            let library = folder.join(format!("lib{dependency}.rlib"));
            command.arg("--extern").arg(format!("{dependency}={}", library.display()));
        }
        let output = command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(source)).output().expect("rustc runs");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        built.push(name);
    }
}

#[test]
fn there_is_no_way_to_a_panic() {
    let assembly = assembly("panic", None);
    assert!(assembly.contains("trampoline"), "the modules are there");
    let panics: Vec<_> = assembly.lines().filter(|line| line.contains("panicking")).collect();
    assert_eq!(panics, Vec::<&str>::new());
}

/// The instructions of each function whose name contains `part`.
#[cfg(target_arch = "x86_64")]
fn functions<'a>(assembly: &'a str, part: &str) -> Vec<Vec<&'a str>> {
    let is_instruction = |line: &&str| !line.is_empty() && !line.starts_with(['.', '#']);
    let mut lines = assembly.lines();
    let mut found = Vec::new();
    while let Some(label) = lines.find(|line| line.ends_with(':') && line.contains(part)) {
        if !label.starts_with('.') {
            let body = lines.by_ref().take_while(|line| !line.contains(".cfi_endproc"));
            found.push(body.map(str::trim).filter(is_instruction).collect());
        }
    }
    assert!(!found.is_empty(), "there is a function {part}");
    found
}

/// NMR may free the binding, and the image may go, while the completing call runs: nothing of ours follows it.
#[test]
#[cfg(target_arch = "x86_64")]
fn r53_the_completing_call_is_the_last_instruction() {
    for body in functions(&assembly("complete", None), "8complete") {
        assert!(body.last().is_some_and(|line| line.starts_with("jmpq\t*")), "{body:#?}");
        assert!(!body.iter().any(|line| line.starts_with("call")), "{body:#?}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn m9_detach_and_cleanup_neither_allocate_nor_free() {
    let assembly = assembly("detach", None);
    for name in ["6detach", "7cleanup"] {
        for body in functions(&assembly, name) {
            assert!(!body.iter().any(|line| line.contains("__rust")), "{body:#?}");
        }
    }
}

/// What the documentation of the unlocked guard promises: the count and the state, in this order, and nothing locked.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_call_at_dispatch_level_takes_no_locked_instruction() {
    let assembly = assembly("dispatch", None);
    let instructions = functions(&assembly, "call_at_dispatch").remove(0);
    eprintln!("{}", instructions.join("\n"));
    for forbidden in ["lock", "xchg", "xadd", "mfence", "cmpxchg"] {
        assert!(!instructions.iter().any(|line| line.starts_with(forbidden)), "{forbidden}: {instructions:#?}");
    }
    // What is counted in memory, what is read from there and what is called through a table, in order.
    let steps: Vec<_> = instructions
        .iter()
        .filter_map(|line| match line.split_once('\t')? {
            ("incq", _) => Some("count"),
            ("movq", operands) if operands.starts_with("9") => Some("state"),
            ("callq", operands) if operands.starts_with('*') && !operands.contains("(%rip)") => Some("call"),
            _ => None,
        })
        .take(5)
        .collect();
    assert_eq!(steps, ["count", "state", "call", "count", "state"], "{instructions:#?}");
}

/// The module pays for a peer's call with additions to the context alone: in a function that is written by hand, and in
/// one that the macro generates from a handler.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_call_that_comes_in_costs_no_locked_instruction_and_no_call() {
    let assembly = assembly("trampoline", None);
    for name in ["trampoline", "5entry"] {
        let instructions = functions(&assembly, name).remove(0);
        eprintln!("{}", instructions.join("\n"));
        for forbidden in ["lock", "xchg", "xadd", "call", "mfence", "j"] {
            assert!(!instructions.iter().any(|line| line.starts_with(forbidden)), "{forbidden}: {instructions:#?}");
        }
        assert!(instructions.len() <= 6, "{instructions:#?}");
    }
}
