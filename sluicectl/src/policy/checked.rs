//! A policy file, checked: what it says, what is wrong with it, and the table that it compiles to.

use std::path::Path;

use anstream::eprintln;
use sluice_core::RuleAction;
use sluice_core::compile::{Rule, compile};

use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::file::{self, File};
use super::shadow;
use super::source::Source;
use crate::failure::Failure;

/// A policy file that has been read, and what was found in it.
pub(super) struct Checked {
    pub(super) source: Source,
    pub(super) file: File,
    pub(super) diagnostics: Diagnostics,
    /// `None` if there is an error among the diagnostics.
    pub(super) table: Option<Vec<u8>>,
}

/// Reads, checks and compiles the policy in a file, and shows its errors on standard error. Returns the table.
pub(crate) fn load(path: &Path) -> Result<Vec<u8>, Failure> {
    check(path)?.require().map(|(_, table)| table)
}

/// Reads, checks and compiles the policy in a file; `-` is standard input.
pub(super) fn check(path: &Path) -> Result<Checked, Failure> {
    let source = Source::read(path)?;
    let (file, mut diagnostics) = file::read(&source);
    let mut table = None;
    if diagnostics.errors() == 0 {
        let rules: Vec<Rule> = file.rules.iter().map(|entry| entry.rule.clone()).collect();
        match compile(&rules, file.default) {
            Ok(compiled) => table = Some(compiled),
            Err(error) => {
                diagnostics.push(match error.rule.and_then(|index| file.rules.get(index)) {
                    Some(entry) => {
                        Diagnostic::error(entry.span.clone(), format!("rule {}: {}", entry.rule.id, error.kind))
                    }
                    None => Diagnostic::error(0..0, error.kind.to_string()),
                });
            }
        }
    }
    Ok(Checked { source, file, diagnostics, table })
}

impl Checked {
    /// Shows the errors; succeeds only if there are none.
    pub(super) fn require(self) -> Result<(File, Vec<u8>), Failure> {
        self.show_errors();
        self.table.map(|table| (self.file, table)).ok_or(Failure::Reported)
    }

    /// Shows the errors alone: warnings are for `policy check`.
    pub(super) fn show_errors(&self) {
        if self.diagnostics.errors() > 0 {
            self.show(&[Severity::Error]);
            eprintln!("{}: {}", self.source.name, plural(self.diagnostics.errors(), "error"));
        }
    }

    /// Shows errors and warnings.
    pub(super) fn show_all(&self) {
        self.show(&[Severity::Error, Severity::Warning]);
        let (errors, warnings) = (self.diagnostics.errors(), self.diagnostics.warnings());
        if errors > 0 {
            eprintln!("{}: {}, {}", self.source.name, plural(errors, "error"), plural(warnings, "warning"));
        }
    }

    fn show(&self, severities: &[Severity]) {
        let shown: Vec<_> =
            self.diagnostics.shown().into_iter().filter(|found| severities.contains(&found.severity)).collect();
        for diagnostic in &shown {
            eprintln!("{}\n", diagnostic.render(&self.source));
        }
        for (severity, noun, count) in [
            (Severity::Error, "error", self.diagnostics.errors()),
            (Severity::Warning, "warning", self.diagnostics.warnings()),
        ] {
            let shown = shown.iter().filter(|found| found.severity == severity).count();
            if count > shown && severities.contains(&severity) {
                eprintln!("{} not shown\n", plural(count - shown, &format!("more {noun}")));
            }
        }
    }

    /// Adds a warning for each rule that never decides, because an earlier rule covers it.
    pub(super) fn warn_of_shadowed(&mut self) {
        warn_of_shadowed(&self.file, &mut self.diagnostics);
    }
}

pub(super) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

pub(super) fn warn_of_shadowed(file: &File, diagnostics: &mut Diagnostics) {
    let decides = |rule: &Rule| rule.action.decision().is_some();
    let found = shadow::find(file.rules.iter().map(|entry| (&entry.rule.conditions, decides(&entry.rule))));
    for (hidden, by) in found.pairs {
        let (hidden, by) = (&file.rules[hidden], &file.rules[by]);
        let message = format!(
            "rule {} never {}: rule {} comes first and matches all of its packets",
            hidden.rule.id,
            match hidden.rule.action {
                RuleAction::Permit | RuleAction::Block => "decides",
                RuleAction::Count => "counts",
                RuleAction::Log => "logs",
            },
            by.rule.id
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
}
