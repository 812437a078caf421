//! Makes a WDK content root from the headers and import libraries of mingw-w64.
//!
//! The layout is that of an installed WDK, as far as the build scripts of the drivers look at it:
//!
//! ```text
//! Include/<version>/km/        what mingw-w64 lacks (rig/wdk/include/km), found before the original
//! Include/<version>/km/crt     the headers of clang, those for Intel AMX emptied
//! Include/<version>/shared     the DDK headers of mingw-w64
//! Include/<version>/um         its other headers
//! Lib/<version>/km/<arch>/     import libraries
//! ```
//!
//! Nothing is written that is there already, so that cargo sees no change where there is none.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};

use crate::import_library;
use crate::kit::{Arch, Kit};
use crate::run::{link, write_if_changed};
use crate::setup::Tools;

/// The WDK that the content root passes for: that of Windows 11 version 24H2.
pub const VERSION: &str = "10.0.26100.0";

/// The folder of the import libraries.
#[must_use]
pub fn libraries(kit: &Kit, arch: Arch) -> PathBuf {
    kit.content_root().join("Lib").join(VERSION).join("km").join(arch.to_string())
}

/// Makes the content root, or brings it up to date.
///
/// # Errors
/// A file cannot be written, or a tool fails.
pub fn make(tools: &Tools, arch: Arch) -> Result<()> {
    let include = tools.kit.content_root().join("Include").join(VERSION);
    let additions = tools.kit.sources.join("rig/wdk/include/km");
    for entry in fs::read_dir(&additions).with_context(|| format!("cannot read {}", additions.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        write_if_changed(&include.join("km").join(name), fs::read(&path)?)?;
    }
    link_headers(&tools.clang_headers, &include.join("km/crt"))?;
    link(&tools.mingw_headers.join("ddk"), &include.join("shared"))?;
    link(&tools.mingw_headers, &include.join("um"))?;
    // The crate tracelogging asks the linker for it, for a function that no driver calls. With nothing in it, one that
    // does is not linked.
    write_if_changed(&libraries(&tools.kit, arch).join("rpcrt4.lib"), import_library::EMPTY)?;
    let ours = tools.kit.sources.join("rig/wdk/lib/ntoskrnl.def");
    let ours = fs::read_to_string(&ours).with_context(|| format!("cannot read {}", ours.display()))?;
    import_library::make(tools, arch, &libraries(&tools.kit, arch), "ntoskrnl", &ours)
}

/// Lets `folder` have the headers of clang, without what those for Intel AMX declare: a type that is aligned, which the
/// packing that the DDK's headers set around includes makes impossible. Which versions of clang have which of these
/// headers does not matter.
fn link_headers(headers: &Path, folder: &Path) -> Result<()> {
    if folder.is_symlink() {
        fs::remove_file(folder).with_context(|| format!("cannot replace {}", folder.display()))?;
    }
    let names = |folder: &Path| -> Result<BTreeSet<OsString>> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        Ok(entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?)
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let present = names(headers)?;
    for name in names(folder)?.difference(&present) {
        // From another version of clang.
        let path = folder.join(name);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    for name in &present {
        if name.to_string_lossy().starts_with("amx") {
            write_if_changed(&folder.join(name), "")?;
        } else {
            link(&headers.join(name), &folder.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clang_s_headers_are_there_but_for_those_of_amx() {
        let folder = std::env::temp_dir().join(format!("wdk-linux-headers-{}", std::process::id()));
        let (clang, crt) = (folder.join("clang"), folder.join("crt"));
        fs::create_dir_all(clang.join("cuda_wrappers")).unwrap();
        for (name, text) in [("stddef.h", "size_t"), ("amxintrin.h", "tile"), ("amxfp8intrin.h", "tile")] {
            fs::write(clang.join(name), text).unwrap();
        }
        link_headers(&clang, &crt).unwrap();
        // A newer clang has another header, and one less.
        fs::remove_file(clang.join("amxfp8intrin.h")).unwrap();
        fs::write(clang.join("amxtf32intrin.h"), "tile").unwrap();
        link_headers(&clang, &crt).unwrap();
        let text = |name: &str| fs::read_to_string(crt.join(name)).ok();
        let found = ["stddef.h", "amxintrin.h", "amxtf32intrin.h", "amxfp8intrin.h"].map(text);
        let is_folder = crt.join("cuda_wrappers").is_dir();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found.each_ref().map(Option::as_deref), [Some("size_t"), Some(""), Some(""), None]);
        assert!(is_folder);
    }
}
