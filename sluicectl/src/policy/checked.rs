//! A policy file, checked: what it says, what is wrong with it, and the table that it compiles to.

use std::fs;
use std::path::Path;

use anstream::eprintln;
use sluice_core::compile::{Rule, compile};

use super::diagnostic::{Diagnostic, Severity};
use super::file::{self, File};
use super::shadow;
use crate::failure::Failure;

/// A policy file that has been read, and what was found in it.
pub(super) struct Checked {
    pub(super) path: String,
    pub(super) source: String,
    pub(super) file: File,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// `None` if there is an error among the diagnostics.
    pub(super) table: Option<Vec<u8>>,
}

/// Reads, checks and compiles the policy in a file, and shows what is wrong with it on standard error. Returns the
/// table.
pub(crate) fn load(path: &Path) -> Result<Vec<u8>, Failure> {
    check(path)?.require().map(|(_, table)| table)
}

pub(super) fn check(path: &Path) -> Result<Checked, Failure> {
    let bytes = fs::read(path).map_err(|error| Failure::unreadable(path, &error))?;
    let path = path.display().to_string();
    let source = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        Failure::Input(format!("{path}: expected UTF-8 text, found other bytes in line {line}"))
    })?;
    let (file, mut diagnostics) = file::read(&source);
    let mut table = None;
    if !has_errors(&diagnostics) {
        let rules: Vec<Rule> = file.rules.iter().map(|entry| entry.rule.clone()).collect();
        match compile(&rules, file.default) {
            Ok(compiled) => table = Some(compiled),
            Err(error) => {
                let diagnostic = match error.rule.and_then(|index| file.rules.get(index)) {
                    Some(entry) => {
                        Diagnostic::error(entry.span.clone(), format!("rule {}: {}", entry.rule.id, error.kind))
                    }
                    None => Diagnostic::error(0..0, error.kind.to_string()),
                };
                diagnostics.push(diagnostic);
            }
        }
        diagnostics.extend(shadowed(&file));
        diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
    }
    Ok(Checked { path, source, file, diagnostics, table })
}

impl Checked {
    /// Shows the diagnostics; succeeds only if none of them is an error.
    pub(super) fn require(self) -> Result<(File, Vec<u8>), Failure> {
        self.show();
        self.table.map(|table| (self.file, table)).ok_or(Failure::Reported)
    }

    pub(super) fn show(&self) {
        for diagnostic in &self.diagnostics {
            eprintln!("{}\n", diagnostic.render(&self.source, &self.path));
        }
        let count = |severity: Severity| self.diagnostics.iter().filter(|found| found.severity == severity).count();
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        if errors > 0 {
            eprintln!("{}: {}, {}", self.path, plural(errors, "error"), plural(warnings, "warning"));
        }
    }
}

fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

pub(super) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A warning for each rule that never decides, because an earlier rule covers it.
pub(super) fn shadowed(file: &File) -> Vec<Diagnostic> {
    let found = shadow::find(file.rules.iter().map(|entry| &entry.rule.conditions));
    let mut diagnostics = Vec::new();
    for (hidden, by) in found.pairs {
        let (hidden, by) = (&file.rules[hidden], &file.rules[by]);
        let message = format!(
            "rule {} never decides: rule {} comes first and matches all of its packets",
            hidden.rule.id, by.rule.id
        );
        diagnostics.push(
            Diagnostic::warning(hidden.span.clone(), message)
                .key("id")
                .value(&hidden.rule.id.to_string())
                .related(by.span.clone(), "the rule that comes first"),
        );
    }
    if let Some(entry) = file.rules.get(found.checked) {
        diagnostics.push(Diagnostic::warning(
            entry.span.clone(),
            format!(
                "rule {} and those after it were not checked for rules that never decide: there are too many",
                entry.rule.id
            ),
        ));
    }
    diagnostics
}
