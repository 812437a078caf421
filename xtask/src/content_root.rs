//! Makes a WDK content root under target/ from the headers and import libraries of mingw-w64.
//!
//! The layout is that of an installed WDK, as far as the build scripts of the drivers look at it:
//!
//! ```text
//! Include/<version>/km/        what mingw-w64 lacks (rig/wdk/include/km), found before the original
//! Include/<version>/km/crt     the headers of clang
//! Include/<version>/shared     the DDK headers of mingw-w64
//! Include/<version>/um         its other headers
//! Lib/<version>/km/<arch>/     import libraries
//! ```
//!
//! Nothing is written that is there already, so that cargo sees no change where there is none.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::import_library;
use crate::layout::{self, Arch};
use crate::run::{link, write_if_changed};
use crate::setup::Tools;

/// The WDK that the content root passes for: that of Windows 11 version 24H2.
pub(crate) const VERSION: &str = "10.0.26100.0";

/// The folder of the import libraries.
pub(crate) fn libraries(arch: Arch) -> PathBuf {
    layout::content_root().join("Lib").join(VERSION).join("km").join(arch.to_string())
}

/// Makes the content root, or brings it up to date.
///
/// # Errors
/// A file cannot be written, or a tool fails.
pub(crate) fn make(tools: &Tools, arch: Arch) -> Result<()> {
    let include = layout::content_root().join("Include").join(VERSION);
    let additions = layout::root().join("rig/wdk/include/km");
    for entry in fs::read_dir(&additions).with_context(|| format!("cannot read {}", additions.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        write_if_changed(&include.join("km").join(name), fs::read(&path)?)?;
    }
    link(&tools.clang_headers, &include.join("km/crt"))?;
    link(&tools.mingw_headers.join("ddk"), &include.join("shared"))?;
    link(&tools.mingw_headers, &include.join("um"))?;
    // The crate tracelogging asks the linker for it, for a function that no driver calls. With nothing in it, one that
    // does is not linked.
    write_if_changed(&libraries(arch).join("rpcrt4.lib"), import_library::EMPTY)?;
    let ours = layout::root().join("rig/wdk/lib/ntoskrnl.def");
    let ours = fs::read_to_string(&ours).with_context(|| format!("cannot read {}", ours.display()))?;
    import_library::make(tools, arch, &libraries(arch), "ntoskrnl", &ours)
}
