//! How C code of a driver is compiled with clang.

use std::ffi::OsString;
use std::path::Path;

use crate::content_root;
use crate::kit::Arch;

/// As the kernel wants it, and as the headers of mingw-w64 do.
const FLAGS: &[&str] = &[
    "-gcodeview",
    "-ffreestanding",
    // The kernel unwinds through every function, for stack traces and exceptions.
    "-funwind-tables",
    // Windows 10.
    "-D_WIN32_WINNT=0x0A00",
    "-DNTDDI_VERSION=0x0A000000",
    "-D_KERNEL_MODE",
    // Headers of mingw-w64 clash with clang's own for Microsoft's dialect.
    "-fno-ms-compatibility",
];

/// The arguments of clang, target apart, with the headers of a content root.
///
/// The kernel headers of mingw-w64 know no ARM64: for that they are read as those of x64, by their own name for it.
/// clang's is not defined, so that they leave its instructions alone.
#[must_use]
pub fn arguments(arch: Arch, content_root: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = FLAGS.iter().map(OsString::from).collect();
    if arch == Arch::Arm64 {
        arguments.push("-D_M_AMD64".into());
    }
    let include = content_root.join("Include").join(content_root::VERSION);
    for folder in ["km", "km/crt", "shared", "um"] {
        arguments.push("-isystem".into());
        arguments.push(include.join(folder).into());
    }
    arguments
}
