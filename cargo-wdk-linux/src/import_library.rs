//! Import libraries, made from the names in those of mingw-w64, which are for x64.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::kit::Arch;
use crate::run::{output, run, write_if_changed};
use crate::setup::Tools;

/// A library without members, for a name that is asked for and not used.
pub const EMPTY: &str = "!<arch>\n";

/// Makes `folder/<name>.lib` for `arch` of the names in mingw-w64's `lib<name>.a` and those of `ours`, the start of a
/// module definition file.
///
/// # Errors
/// mingw-w64 has no such library, a file cannot be written, or a tool fails.
pub fn make(tools: &Tools, arch: Arch, folder: &Path, name: &str, ours: &str) -> Result<()> {
    let (def, lib) = (folder.join(format!("{name}.def")), folder.join(format!("{name}.lib")));
    let archive = tools.mingw_libraries.join(format!("lib{name}.a"));
    let symbols = output(Command::new(&tools.nm).arg("-A").arg(archive))?;
    let changed = write_if_changed(&def, merge(ours, &exports(&symbols)))?;
    if changed || !lib.is_file() {
        // A library that was made halfway must not count as made.
        let _ = fs::remove_file(&lib);
        run(&mut dlltool(tools, arch, &def, &lib))?;
    }
    Ok(())
}

/// The command that makes an import library of a module definition file.
#[must_use]
pub fn dlltool(tools: &Tools, arch: Arch, definitions: &Path, library: &Path) -> Command {
    let machine = match arch {
        Arch::X64 => "i386:x86-64",
        Arch::Arm64 => "arm64",
    };
    let mut dlltool = Command::new(&tools.dlltool);
    dlltool.args(["-m", machine, "-d"]).arg(definitions).arg("-l").arg(library);
    dlltool
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
