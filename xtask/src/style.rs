//! `cargo xtask style`: what neither rustfmt nor clippy looks at, in the files that people read.
//!
//! - Lines have at most 120 columns, those of comments and prose included. What cannot be broken may be longer: the row
//!   of a table, a line with a URL, and in TOML a key with one string.
//! - A `use` has at most one pair of braces.
//!
//! Data (tests/data, fuzz/corpus, sources that must not compile) is left out.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::layout;
use crate::run::output;

const COLUMNS: usize = 120;

/// The files that people read, by their extensions.
const EXTENSIONS: [&str; 6] = ["c", "h", "md", "rs", "toml", "yml"];

/// Folders of data. The sources that must not compile are data, too: what rustc says of them quotes them.
const DATA: [&str; 3] = ["crates/wdk-nmr/tests/compile_fail", "fuzz/corpus", "tests/data"];

/// The arguments of `cargo xtask style`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Files of the repository, by their paths from its root [default: all]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// `cargo xtask style`.
///
/// # Errors
/// A file cannot be read, or a line is not as it should be; those are printed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.files.is_empty() { check(&all_files()?) } else { check(&arguments.files) }
}

/// Checks those of `files`, given from the root of the repository, that people read.
///
/// # Errors
/// A file cannot be read, or a line is not as it should be; those are printed.
pub(crate) fn check(files: &[PathBuf]) -> Result<()> {
    let mut count = 0;
    for file in files.iter().filter(|file| is_read_by_people(file)) {
        let path = layout::root().join(file);
        // A file that git knows may have been removed.
        if !path.is_file() {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", file.display()))?;
        for fault in faults(file, &text) {
            println!("{}:{fault}", file.display());
            count += 1;
        }
    }
    match count {
        0 => Ok(()),
        1 => bail!("1 line is not in the style of this repository"),
        _ => bail!("{count} lines are not in the style of this repository"),
    }
}

/// The files that git knows, and those that it would take.
fn all_files() -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(layout::root());
    Ok(output(&mut git)?.split_terminator('\0').map(PathBuf::from).collect())
}

fn is_read_by_people(file: &Path) -> bool {
    let extension = file.extension().unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension == *known) && !DATA.iter().any(|folder| file.starts_with(folder))
}

/// A line that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    /// Counted from 1.
    line: usize,
    text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.text)
    }
}

fn faults(file: &Path, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let is_toml = file.extension().is_some_and(|extension| extension == "toml");
    for (line, content) in (1..).zip(text.lines()) {
        let columns = content.chars().count();
        if columns > COLUMNS && !may_be_long(content, is_toml) {
            faults.push(Fault { line, text: format!("expected at most {COLUMNS} columns, found {columns}") });
        }
    }
    if file.extension().is_some_and(|extension| extension == "rs") {
        faults.extend(nested_imports(text));
    }
    faults.sort_by_key(|fault| fault.line);
    faults
}

/// Whether a line is of a kind that cannot be broken.
fn may_be_long(line: &str, is_toml: bool) -> bool {
    let content = line.trim_start().trim_start_matches(['/', '!', '*', '#']).trim_start();
    let is_one_string = || {
        let value = line.split_once(" = \"").map(|(_, value)| value.trim_end());
        value.is_some_and(|value| value.strip_suffix('"').is_some_and(|value| !value.contains('"')))
    };
    content.starts_with('|') || line.contains("://") || (is_toml && is_one_string())
}

/// The imports with braces inside or beside braces.
fn nested_imports(text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((line, content)) = lines.next() {
        if !is_import(content) {
            continue;
        }
        let mut braces = content.matches('{').count();
        let mut content = content;
        while !content.trim_end().ends_with(';') {
            let Some((_, next)) = lines.next() else { break };
            content = next;
            braces += content.matches('{').count();
        }
        if braces > 1 {
            faults.push(Fault { line, text: format!("expected a `use` with one pair of braces, found {braces}") });
        }
    }
    faults
}

fn is_import(line: &str) -> bool {
    let line = line.trim_start();
    let line = match line.strip_prefix("pub") {
        Some(rest) => rest.trim_start_matches(|character| character != ' ').trim_start(),
        None => line,
    };
    line.starts_with("use ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_at_fault(file: &str, text: &str) -> Vec<usize> {
        faults(Path::new(file), text).iter().map(|fault| fault.line).collect()
    }

    #[test]
    fn a_line_that_is_too_long_is_found_by_its_columns() {
        let long = "é".repeat(121);
        assert_eq!(lines_at_fault("a.md", &format!("{}\n{long}\n", &long[..240])), [2]);
        assert_eq!(lines_at_fault("a.rs", &format!("fn f() {{}} // {long}")), [1]);
        let fault = &faults(Path::new("a.yml"), &long)[0];
        assert_eq!(fault.to_string(), "1: expected at most 120 columns, found 121");
    }

    #[test]
    fn what_cannot_be_broken_may_be_long() {
        let word = "word ".repeat(30);
        for line in [format!("| {word} |"), format!("//! | {word} |"), format!("[page](https://example.org) {word}")] {
            assert_eq!(lines_at_fault("a.md", &line), [0; 0], "{line}");
        }
        assert_eq!(lines_at_fault("a.toml", &format!("description = \"{word}\"")), [0; 0]);
        assert_eq!(lines_at_fault("a.toml", &format!("args = [\"{word}\", \"{word}\"]")), [1]);
        assert_eq!(lines_at_fault("a.rs", &format!("const A: &str = \"{word}\";")), [1]);
    }

    #[test]
    fn data_and_files_for_machines_are_left_out() {
        for (file, expected) in [
            ("src/lib.rs", true),
            (".github/workflows/linux.yml", true),
            ("README.md", true),
            ("tests/data/README.md", false),
            ("Cargo.lock", false),
            ("inf/sluice.inx", false),
        ] {
            assert_eq!(is_read_by_people(Path::new(file)), expected, "{file}");
        }
    }

    #[test]
    fn an_import_with_braces_in_braces_is_found() {
        let text =
            "use a::{b, c};\nuse a::{b::{c, d}, e};\npub(crate) use a::{\n    b,\n    c::{d, e},\n};\nfn f() { {} }\n";
        assert_eq!(lines_at_fault("a.rs", text), [2, 3]);
        assert_eq!(lines_at_fault("a.md", text), [0; 0]);
    }
}
