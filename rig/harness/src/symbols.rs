//! Names for places in an image, from its .pdb.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The offset in the text of a bug check: `.. at offset 0x1014 of the image ..`.
#[must_use]
pub fn image_offset(why: &str) -> Option<&str> {
    let (_, rest) = why.split_once("at offset ")?;
    rest.split_once(" of the image").map(|(offset, _)| offset)
}

/// The functions and lines at an offset in an image, innermost first, inlined ones too. None without llvm-symbolizer or
/// without symbols beside the image.
#[must_use]
pub fn symbolized(image: &Path, offset: &str) -> Option<String> {
    let mut symbolizer = Command::new(symbolizer()?);
    symbolizer.arg(format!("--obj={}", image.display())).args(["--relative-address", "--pretty-print", offset]);
    let output = symbolizer.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let text = text.trim();
    // What it does not know it shows as question marks.
    (output.status.success() && !text.is_empty() && !text.starts_with("??")).then(|| text.to_owned())
}

/// What the compiler calls the folder of Rust's own library, which is not where an author looks.
const LIBRARY: &str = "/rustc/";

/// `file:line` of the instruction at an offset in an image. None without llvm-symbolizer or without symbols beside the
/// image.
pub(crate) fn line(image: &Path, offset: u64) -> Option<String> {
    let mut symbolizer = Command::new(symbolizer()?);
    symbolizer.arg(format!("--obj={}", image.display()));
    symbolizer.args(["--relative-address", "--functions=none", "--inlines", &format!("{offset:#x}")]);
    let output = symbolizer.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // The innermost function comes first.
    let mut places = text.lines().map(str::trim).filter(|line| !line.starts_with("??") && !line.starts_with(LIBRARY));
    places.find_map(without_column)
}

/// `file:line` of `file:line:column`.
fn without_column(place: &str) -> Option<String> {
    let (place, _column) = place.rsplit_once(':')?;
    let (_, line) = place.rsplit_once(':')?;
    line.parse::<u32>().ok().filter(|line| *line != 0).map(|_| place.to_string())
}

/// Debian's has the version of LLVM in its folder, and in PATH only with the package without one.
fn symbolizer() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join("llvm-symbolizer")).find(|file| file.is_file());
    in_path.or_else(|| {
        let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
        let programs =
            folders.filter(|folder| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("llvm-")));
        programs.map(|folder| folder.join("bin/llvm-symbolizer")).filter(|file| file.is_file()).max()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_what_stands_before_the_column() {
        assert_eq!(without_column("C:\\a\\b.c:120:9").as_deref(), Some("C:\\a\\b.c:120"));
        assert_eq!(without_column("/a/b.rs:7:0").as_deref(), Some("/a/b.rs:7"));
        assert_eq!(without_column("/a/b.rs:0:0"), None);
        assert_eq!(without_column("nothing"), None);
    }

    #[test]
    fn the_offset_of_a_crash_is_found_in_its_bug_check() {
        let why = "read of address 0x0 at offset 0x1014 of the image, at IRQL 0";
        assert_eq!(image_offset(why), Some("0x1014"));
        assert_eq!(image_offset("jump to address 0x0 at 0x7ff, at IRQL 0"), None);
    }
}
