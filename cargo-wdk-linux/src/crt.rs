//! Makes what a program for ARM64 is linked with: import libraries, and a C run-time library (rig/crt).
//!
//! Debian's mingw-w64 has no ARM64. rustc's msvc target needs nothing but lld, and libraries of these names.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::import_library;
use crate::kit::Arch;
use crate::run::{run, write_if_changed};
use crate::setup::Tools;

/// What the standard library and the programs import from, beside ntdll.dll.
const LIBRARIES: [&str; 5] = ["advapi32", "dbghelp", "kernel32", "userenv", "ws2_32"];

/// What the crate winapi asks the linker for, for functions that no program calls. With nothing in them, one that does
/// is not linked.
const UNUSED: [&str; 6] = ["cfgmgr32", "gdi32", "msimg32", "synchronization", "user32", "winspool"];

/// Makes the libraries, or brings them up to date, and returns their folder.
///
/// # Errors
/// A file cannot be read or written, or a tool fails.
pub fn make(tools: &Tools) -> Result<PathBuf> {
    let folder = tools.kit.rig(Arch::Arm64).join("crt");
    let read = |file: &str| {
        let path = tools.kit.sources.join("rig/crt").join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    for name in LIBRARIES {
        import_library::make(tools, Arch::Arm64, &folder, name, &format!("LIBRARY {name}.dll\nEXPORTS\n"))?;
    }
    for name in UNUSED {
        write_if_changed(&folder.join(format!("{name}.lib")), import_library::EMPTY)?;
    }
    import_library::make(tools, Arch::Arm64, &folder, "ntdll", &read("ntdll.def")?)?;

    let source = folder.join("crt.c");
    let library = folder.join("libcmt.lib");
    if write_if_changed(&source, read("crt.c")?)? || !library.is_file() {
        let bin = tools.libclang.with_file_name("bin");
        let object = folder.join("crt.obj");
        let mut clang = Command::new(bin.join("clang"));
        clang.args([
            "--target=aarch64-pc-windows-msvc",
            "-std=c11",
            "-O2",
            "-ffreestanding",
            "-Wall",
            "-Wextra",
            "-Werror",
        ]);
        run(clang.arg("-c").arg(&source).arg("-o").arg(&object))?;
        run(Command::new(bin.join("llvm-ar")).arg("rcs").arg(&library).arg(&object))?;
    }
    Ok(folder)
}
