//! The section `[Strings]`, and the %tokens% that stand for what is in it.

use super::parse::without_comment;
use super::{Check, Checker};

impl Checker {
    /// `value` with its %strings% replaced.
    pub(super) fn expand(&self, value: &str) -> String {
        let mut expanded = value.to_owned();
        for (key, values) in self.lines("Strings") {
            expanded = expanded.replace(&format!("%{key}%"), values.first().map_or("", String::as_str));
        }
        expanded
    }

    pub(super) fn strings(&mut self, text: &str) {
        let defined: Vec<String> = self.lines("Strings").into_iter().map(|(key, _)| key.to_lowercase()).collect();
        let used = tokens(text);
        for token in &used {
            if !defined.contains(&token.to_lowercase()) {
                self.report_number(Check::Strings, 1235, format!("%{token}% is not defined in [Strings]"));
            }
        }
        for token in &defined {
            if !used.iter().any(|used| used.eq_ignore_ascii_case(token)) {
                self.report_number(Check::Strings, 2083, format!("%{token}% is defined in [Strings] and not used"));
            }
        }
    }
}

/// The tokens of a text. Numbers stand for folders, and %% for the character itself.
fn tokens(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines().map(without_comment) {
        let mut parts = line.split('%');
        while let (Some(_), Some(token)) = (parts.next(), parts.next()) {
            if !token.chars().all(|character| character.is_ascii_digit()) {
                found.push(token.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::{finds, found_after};

    #[test]
    fn strings_are_checked() {
        finds("%Description%", "%Descriptoin%", "1235: %Descriptoin%");
        finds("%Description%", "\"text\"", "2083: %description% is defined");
        assert_eq!(found_after("= %Description%", "= %Description% 100%% of it"), Vec::<String>::new());
    }
}
