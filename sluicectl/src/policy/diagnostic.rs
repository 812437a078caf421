//! What is wrong with a policy, and how it is shown.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use super::source::Source;

/// How many errors and how many warnings are shown; more are counted.
pub(super) const MOST_SHOWN: usize = 50;

/// Longer lines are not shown with their errors.
const LONGEST_LINE: usize = 2000;

/// Whether the policy can be used all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// It cannot.
    Error,
    /// It can, but perhaps does not mean what its author meant.
    Warning,
}

/// One thing that is wrong with a policy.
#[derive(Clone, Debug)]
pub(super) struct Diagnostic {
    pub(super) severity: Severity,
    pub(super) message: String,
    /// The bytes of the source that it is about.
    pub(super) span: Range<usize>,
    /// The key concerned.
    pub(super) key: Option<String>,
    /// The value, as it stands in the source.
    pub(super) value: Option<String>,
    /// What may stand there.
    pub(super) allowed: Option<String>,
    /// Another part of the source to show, and what it is.
    pub(super) related: Option<(Range<usize>, String)>,
}

/// All that is wrong with a policy: the first errors and warnings in the order of the file, and how many there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Diagnostics {
    errors: First,
    warnings: First,
}

/// The first diagnostics of one severity.
#[derive(Clone, Debug, Default)]
struct First {
    list: Vec<Diagnostic>,
    count: usize,
}

impl First {
    fn push(&mut self, diagnostic: Diagnostic) {
        self.count += 1;
        self.list.push(diagnostic);
        // Sorted now and then, so that all of them together take time in proportion to their number.
        if self.list.len() >= MOST_SHOWN * 20 {
            self.trim();
        }
    }

    fn trim(&mut self) {
        self.list.sort_by_key(|diagnostic| diagnostic.span.start);
        self.list.truncate(MOST_SHOWN);
    }
}

impl Diagnostics {
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        match diagnostic.severity {
            Severity::Error => self.errors.push(diagnostic),
            Severity::Warning => self.warnings.push(diagnostic),
        }
    }

    pub(super) fn errors(&self) -> usize {
        self.errors.count
    }

    pub(super) fn warnings(&self) -> usize {
        self.warnings.count
    }

    /// The diagnostics to show, in the order of the file.
    pub(super) fn shown(&self) -> Vec<Diagnostic> {
        let Self { mut errors, mut warnings } = self.clone();
        errors.trim();
        warnings.trim();
        let mut shown = errors.list;
        shown.append(&mut warnings.list);
        shown.sort_by_key(|diagnostic| diagnostic.span.start);
        shown
    }
}

impl Diagnostic {
    pub(super) fn new(severity: Severity, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity, message: message.into(), span, key: None, value: None, allowed: None, related: None }
    }

    pub(super) fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, span, message)
    }

    pub(super) fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, span, message)
    }

    pub(super) fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    pub(super) fn value(mut self, value: &str) -> Self {
        self.value = Some(value.to_owned());
        self
    }

    pub(super) fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }

    pub(super) fn related(mut self, span: Range<usize>, why: impl Into<String>) -> Self {
        self.related = Some((span, why.into()));
        self
    }

    /// The message and an excerpt of the source, with ANSI colours.
    pub(super) fn render(&self, source: &Source) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = Group::with_title(level.primary_title(self.message.as_str()));
        let mut group = excerpt(title, source, &self.span, None);
        if let Some((span, why)) = &self.related {
            group = excerpt(group, source, span, Some(why));
        }
        if let Some(allowed) = &self.allowed {
            group = group.element(Level::HELP.message(format!("allowed: {allowed}")));
        }
        Renderer::styled().render(&[group])
    }

    /// The same for a program.
    pub(super) fn record(&self, source: &Source) -> Record<'_> {
        let (line, column) = source.place(self.span.start);
        Record {
            severity: self.severity,
            line,
            column,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            allowed: self.allowed.as_deref(),
            message: &self.message,
        }
    }
}

/// Adds the first line of a span to what is shown, or only its place if the line is very long.
fn excerpt<'a>(group: Group<'a>, source: &'a Source, span: &Range<usize>, label: Option<&'a str>) -> Group<'a> {
    let (number, start) = source.line(span.start);
    let line = source.line_at(start);
    if line.len() > LONGEST_LINE {
        let (line, column) = source.place(span.start);
        return group.element(Origin::path(source.name.as_str()).line(line).char_column(column));
    }
    let in_line = |offset: usize| offset.saturating_sub(start).min(line.len());
    let span = in_line(span.start)..in_line(span.end);
    let annotation = match label {
        None => AnnotationKind::Primary.span(span),
        Some(label) => AnnotationKind::Context.span(span).label(label),
    };
    group.element(Snippet::source(line).line_start(number + 1).path(source.name.as_str()).annotation(annotation))
}

/// A [`Diagnostic`] as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Record<'a> {
    severity: Severity,
    line: usize,
    column: usize,
    key: Option<&'a str>,
    value: Option<&'a str>,
    allowed: Option<&'a str>,
    message: &'a str,
}
