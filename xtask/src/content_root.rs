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

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::layout::{self, Arch};
use crate::run::{link, output, run, write_if_changed};
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
    write_if_changed(&libraries(arch).join("rpcrt4.lib"), EMPTY_LIBRARY)?;
    make_ntoskrnl_lib(tools, arch)
}

/// An archive without members.
const EMPTY_LIBRARY: &str = "!<arch>\n";

/// Makes ntoskrnl.lib from the names that mingw-w64 knows and those of rig/wdk/lib/ntoskrnl.def.
fn make_ntoskrnl_lib(tools: &Tools, arch: Arch) -> Result<()> {
    let folder = libraries(arch);
    let (def, lib) = (folder.join("ntoskrnl.def"), folder.join("ntoskrnl.lib"));
    let ours = layout::root().join("rig/wdk/lib/ntoskrnl.def");
    let ours = fs::read_to_string(&ours).with_context(|| format!("cannot read {}", ours.display()))?;

    let symbols = output(Command::new(&tools.nm).arg("-A").arg(tools.mingw_libraries.join("libntoskrnl.a")))?;
    let changed = write_if_changed(&def, merge(&ours, &exports(&symbols)))?;
    if changed || !lib.is_file() {
        let machine = match arch {
            Arch::X64 => "i386:x86-64",
            Arch::Arm64 => "arm64",
        };
        run(Command::new(&tools.dlltool).args(["-m", machine, "-d"]).arg(&def).arg("-l").arg(&lib))?;
    }
    Ok(())
}

/// What an export is: whether a program may call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Export {
    Function,
    Data,
}

/// The exports of an import library, read from what `nm -A` says about it.
///
/// Everything has a pointer in the import table (`__imp_X`); a function has code (`X`) that jumps through it as well.
fn exports(nm: &str) -> BTreeMap<&str, Export> {
    let symbols: BTreeSet<&str> = nm.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let kind = |name| if symbols.contains(name) { Export::Function } else { Export::Data };
    symbols.iter().filter_map(|symbol| symbol.strip_prefix("__imp_")).map(|name| (name, kind(name))).collect()
}

/// A module definition file: `ours`, and what it does not name yet.
fn merge(ours: &str, exports: &BTreeMap<&str, Export>) -> String {
    let named: BTreeSet<&str> = ours.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let mut text = ours.to_owned();
    for (name, kind) in exports.iter().filter(|(name, _)| !named.contains(*name)) {
        text.push_str(name);
        text.push_str(match kind {
            Export::Function => "\n",
            Export::Data => " DATA\n",
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NM: &str = "lib.a:lib1.o: 00000000 T ExFreePool\n\
                      lib.a:lib1.o: 00000000 I __imp_ExFreePool\n\
                      lib.a:lib2.o: 00000000 I __imp_IoFileObjectType\n\
                      lib.a:lib3.o:          U _head_lib\n";

    #[test]
    fn an_export_without_code_is_data() {
        let exports = exports(NM);
        assert_eq!(exports.len(), 2);
        assert_eq!(exports["ExFreePool"], Export::Function);
        assert_eq!(exports["IoFileObjectType"], Export::Data);
    }

    #[test]
    fn a_name_is_listed_once() {
        let ours = "LIBRARY ntoskrnl.exe\nEXPORTS\nExAllocatePool2\nExFreePool\n";
        let text = merge(ours, &exports(NM));
        assert_eq!(text, format!("{ours}IoFileObjectType DATA\n"));
    }
}
