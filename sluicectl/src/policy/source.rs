//! The text of a policy, and where things stand in it.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::{fs, str};

use crate::failure::Failure;

/// The text of a policy.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    /// What it is called in messages.
    pub(super) name: String,
    /// The folder that files named in the policy are relative to.
    pub(super) folder: PathBuf,
    pub(super) text: String,
    /// Where each line starts.
    lines: Vec<usize>,
}

impl Source {
    /// Reads the policy in `path`; `-` is standard input.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let is_stdin = path.as_os_str() == "-";
        let name = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
        let unreadable = |error: io::Error| Failure::Input(format!("cannot read {name}: {error}"));
        let mut bytes = Vec::new();
        if is_stdin {
            io::stdin().read_to_end(&mut bytes).map_err(unreadable)?;
        } else {
            bytes = fs::read(path).map_err(unreadable)?;
        }
        if is_utf16(&bytes) {
            return Err(Failure::Input(format!(
                "{name}: expected UTF-8 text, found UTF-16, which `>` writes in Windows PowerShell 5.1; write the \
                 file with `| Set-Content -Encoding utf8`"
            )));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            Failure::Input(format!("{name}: expected UTF-8 text, found other bytes in line {line}"))
        })?;
        let folder = if is_stdin { PathBuf::new() } else { path.parent().map(Path::to_path_buf).unwrap_or_default() };
        Ok(Self::new(name, folder, text))
    }

    pub(super) fn new(name: String, folder: PathBuf, text: String) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = [0].into_iter().chain(after_newlines).collect();
        Self { name, folder, text, lines }
    }

    /// The line of a byte, counted from 0, and where that line starts.
    pub(super) fn line(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset).saturating_sub(1);
        (line, self.lines.get(line).copied().unwrap_or(0))
    }

    /// Line and column (in characters) of a byte, both counted from 1.
    pub(super) fn place(&self, offset: usize) -> (usize, usize) {
        let (line, start) = self.line(offset);
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or_default();
        (line + 1, before.chars().count() + 1)
    }

    /// The text of the line that starts at `start`, without its end.
    pub(super) fn line_at(&self, start: usize) -> &str {
        self.text.get(start..).unwrap_or_default().lines().next().unwrap_or_default()
    }
}

/// Whether a text is in UTF-16: it starts with a byte order mark, or with a character of ASCII and a zero.
pub(super) fn is_utf16(bytes: &[u8]) -> bool {
    matches!(bytes, [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [1..=0x7F, 0, ..] | [0, 1..=0x7F, ..])
}
