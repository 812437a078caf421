//! What is wrong with a policy, and how it is shown.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

/// Whether the policy can be used all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// It cannot.
    Error,
    /// It can, but perhaps does not mean what its author meant.
    Warning,
}

/// One thing that is wrong with a policy.
#[derive(Clone, Debug)]
pub(crate) struct Diagnostic {
    pub(crate) severity: Severity,
    pub(crate) message: String,
    /// The bytes of the source that it is about.
    pub(crate) span: Range<usize>,
    /// The key concerned.
    pub(crate) key: Option<String>,
    /// The value, as it stands in the source.
    pub(crate) value: Option<String>,
    /// What may stand there.
    pub(crate) allowed: Option<String>,
    /// Another part of the source to show, and what it is.
    pub(crate) related: Option<(Range<usize>, String)>,
}

impl Diagnostic {
    pub(crate) fn new(severity: Severity, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity, message: message.into(), span, key: None, value: None, allowed: None, related: None }
    }

    pub(crate) fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, span, message)
    }

    pub(crate) fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, span, message)
    }

    pub(crate) fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    pub(crate) fn value(mut self, value: &str) -> Self {
        self.value = Some(value.to_owned());
        self
    }

    pub(crate) fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }

    pub(crate) fn related(mut self, span: Range<usize>, why: impl Into<String>) -> Self {
        self.related = Some((span, why.into()));
        self
    }

    /// The message and an excerpt of the source, with ANSI colours.
    pub(crate) fn render(&self, source: &str, path: &str) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut snippet =
            Snippet::source(source).path(path).annotation(AnnotationKind::Primary.span(visible(&self.span, source)));
        if let Some((span, why)) = &self.related {
            snippet = snippet.annotation(AnnotationKind::Context.span(visible(span, source)).label(why.as_str()));
        }
        let mut group = level.primary_title(self.message.as_str()).element(snippet);
        if let Some(allowed) = &self.allowed {
            group = group.element(Level::HELP.message(format!("allowed: {allowed}")));
        }
        Renderer::styled().render(&[group])
    }

    /// The same for a program.
    pub(crate) fn record(&self, source: &str) -> Record<'_> {
        let (line, column) = place(self.span.start, source);
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

/// A [`Diagnostic`] as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Record<'a> {
    severity: Severity,
    line: usize,
    column: usize,
    key: Option<&'a str>,
    value: Option<&'a str>,
    allowed: Option<&'a str>,
    message: &'a str,
}

/// Line and column (in characters) of a byte of the source, both counted from 1.
fn place(offset: usize, source: &str) -> (usize, usize) {
    let before = source.get(..offset).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The part of `span` to show: only its first line, so that a long list stays readable.
fn visible(span: &Range<usize>, source: &str) -> Range<usize> {
    let end = span.end.min(source.len());
    let start = span.start.min(end);
    let line_end = source[start..end].find('\n').map_or(end, |newline| start + newline);
    start..line_end
}
