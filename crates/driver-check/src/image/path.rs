//! Paths of the machine that built the image: they tell strangers about it, and no two machines build the same image.

use std::env;

use super::pdb::Symbols;
use super::{Check, Finding, Image};

/// How paths begin that only some machines have.
const LOCAL: &[&str] = &["/home/", "/root/", "/Users/", "\\Users\\", "/tmp/", "/var/", "/usr/", "\\Program Files"];

/// The folders of this machine's user that a build could leave in an image: the home folder and those of cargo and
/// rustup.
#[must_use]
pub fn of_this_machine() -> Vec<String> {
    let folders = ["HOME", "USERPROFILE", "CARGO_HOME", "RUSTUP_HOME"].into_iter().filter_map(env::var_os);
    folders.map(|folder| folder.to_string_lossy().into_owned()).filter(|folder| is_telling(folder)).collect()
}

/// Whether a path is long enough to be one when it is seen in an image: `/` or `C:\` is everywhere.
fn is_telling(path: &str) -> bool {
    path.len() > 3
}

const SOURCE: &str = "The rustc book, --remap-path-prefix; /PDBALTPATH";

/// In symbols, only the folders of this machine matter: where tools are installed is the same on many.
pub(super) fn check(image: &Image<'_>, symbols: Option<&Symbols>, local_paths: &[String], findings: &mut Vec<Finding>) {
    let mut seen = Vec::new();
    for path in LOCAL.iter().copied().chain(local_paths.iter().map(String::as_str).filter(|path| is_telling(path))) {
        let narrow = path.as_bytes().to_vec();
        let wide = path.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (needle, width) in [(narrow, 1), (wide, 2)] {
            let Some(at) = find(image.bytes, &needle) else { continue };
            let text = printable(image.bytes, at, width);
            if !seen.contains(&text) {
                let finding = format!("the image holds {text:?}, a path of the machine that built it");
                findings.push(Finding::new(Check::Paths, finding, SOURCE));
                seen.push(text);
            }
        }
    }
    let Some(symbols) = symbols else { return };
    let telling = local_paths.iter().filter(|path| is_telling(path));
    let mut held = telling.filter_map(|path| find(&symbols.contents, path.as_bytes()));
    if let Some(at) = held.next() {
        let path = printable(&symbols.contents, at, 1);
        let finding = format!("the PDB holds {path:?}, so the same source built in another folder makes another image");
        findings.push(Finding::new(Check::Paths, finding, SOURCE));
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// The path at `at`, characters of `width` bytes, with the letter of its drive if it has one.
fn printable(bytes: &[u8], at: usize, width: usize) -> String {
    const MOST: usize = 120;
    let drive = at
        .checked_sub(2 * width)
        .filter(|start| bytes[*start].is_ascii_alphabetic() && bytes.get(start + width) == Some(&b':'));
    let text = bytes[drive.unwrap_or(at)..].chunks(width).map(|unit| unit[0]);
    text.take_while(|byte| byte.is_ascii_graphic()).take(MOST).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Driver, findings, one_finding};
    use super::of_this_machine;

    #[test]
    fn a_path_of_some_machine_is_found_in_bytes_and_in_utf_16() {
        let trailer = b"\0C:\\Users\\jane\\sluice\\src\\lib.rs\0".to_vec();
        let driver = Driver { trailer, ..Driver::new() };
        assert!(one_finding(&driver).starts_with(r#"the image holds "C:\\Users\\jane\\sluice\\src\\lib.rs", a path"#));

        for (text, printed) in [("/home/jane/x.rs", "/home/jane/x.rs"), (r"D:\Users\jane", r"D:\\Users\\jane")] {
            let trailer = format!("{text}\0").encode_utf16().flat_map(u16::to_le_bytes).collect();
            let driver = Driver { trailer, ..Driver::new() };
            let found = one_finding(&driver);
            assert!(found.starts_with(&format!(r#"the image holds "{printed}", a path"#)), "{found}");
        }
    }

    #[test]
    fn folders_of_this_machine_are_those_of_its_user() {
        let mut expected = Vec::new();
        for name in ["HOME", "USERPROFILE", "CARGO_HOME", "RUSTUP_HOME"] {
            expected.extend(std::env::var(name).ok().filter(|folder| folder.len() >= 4));
        }
        assert_eq!(of_this_machine(), expected);
    }

    #[test]
    fn a_path_that_is_everywhere_is_not_looked_for() {
        let trailer = br"D:\x d:\y".to_vec();
        let driver = Driver { trailer, ..Driver::new() };
        assert_eq!(findings(&driver.expecting_no(r"D:\")), Vec::<String>::new());
    }

    #[test]
    fn a_path_of_this_machine_is_found_wherever_it_lies() {
        let trailer = b"/opt/build/sluice/src/lib.rs".to_vec();
        let driver = Driver { trailer, ..Driver::new() };
        assert_eq!(findings(&driver), Vec::<String>::new());
        let driver = driver.expecting_no("/opt/build");
        assert!(one_finding(&driver).starts_with(r#"the image holds "/opt/build/sluice/src/lib.rs""#));
    }

    #[test]
    fn a_path_of_this_machine_in_the_symbols_is_found() {
        let mut driver = Driver::new().expecting_no("/opt/build");
        if let Ok(symbols) = &mut driver.symbols {
            symbols.contents = b"/sluice/src/lib.rs\0/opt/build/x.obj\0/usr/lib/clang".to_vec();
        }
        assert!(one_finding(&driver).starts_with(r#"the PDB holds "/opt/build/x.obj", so the same source"#));
    }

    #[test]
    fn remapped_paths_are_not_found() {
        let trailer =
            b"/sluice/src/lib.rs /cargo/registry/src/index/wdk/lib.rs /rustc/abc/library/core/src/num.rs".to_vec();
        assert_eq!(findings(&Driver { trailer, ..Driver::new() }), Vec::<String>::new());
    }
}
