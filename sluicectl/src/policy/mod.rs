//! Policies: from a TOML file to the table that the driver takes.

pub(crate) mod commands;
mod diagnostic;
mod explain;
mod file;
mod shadow;
#[cfg(test)]
mod tests;
mod value;

use std::fs;
use std::path::Path;

use anstream::eprintln;
use sluice_core::compile::{Rule, compile};

use self::diagnostic::{Diagnostic, Severity};
use self::file::File;
pub(crate) use self::value::host_name;
use crate::failure::Failure;

/// A policy file that has been read, and what was found in it.
struct Checked {
    path: String,
    source: String,
    file: File,
    diagnostics: Vec<Diagnostic>,
    /// `None` if there is an error among the diagnostics.
    table: Option<Vec<u8>>,
}

/// Reads, checks and compiles the policy in a file, shows what is wrong with it on the standard error, and returns its
/// table.
pub(crate) fn load(path: &Path) -> Result<Vec<u8>, Failure> {
    check(path)?.require().map(|(_, table)| table)
}

fn check(path: &Path) -> Result<Checked, Failure> {
    let bytes = fs::read(path).map_err(|error| Failure::unreadable(path, &error))?;
    let path = path.display().to_string();
    let source = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        Failure::Input(format!("{path} is not a policy: line {line} is not UTF-8 text"))
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
    /// Shows what was found, and goes on only if none of it is an error.
    fn require(self) -> Result<(File, Vec<u8>), Failure> {
        self.show();
        self.table.map(|table| (self.file, table)).ok_or(Failure::Reported)
    }

    fn show(&self) {
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

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Warnings of rules that an earlier one leaves nothing to.
fn shadowed(file: &File) -> Vec<Diagnostic> {
    let found = shadow::find(file.rules.iter().map(|entry| &entry.rule.conditions));
    let mut diagnostics = Vec::new();
    for (hidden, by) in found.pairs {
        let (hidden, by) = (&file.rules[hidden], &file.rules[by]);
        let message = format!(
            "rule {} never decides: rule {} comes first and matches every packet that it matches",
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
            format!("rule {} and all behind it were not checked for rules that never decide: too many", entry.rule.id),
        ));
    }
    diagnostics
}
