//! What is common to all imports: rules in the words of a policy, and what could not be said in them.

use std::fmt::Write;
use std::path::PathBuf;

use sluice_core::MAX_RULES;

use super::super::diagnostic::{Diagnostic, Severity};
use super::super::file;
use super::super::source::Source;

/// How many jumps from chain to chain are followed: more than people write, and few enough for any stack.
pub(super) const MAX_JUMPS: usize = 16;

/// Why a rule that ends a chain for some packets cannot be expressed.
pub(super) const RETURNS: &str = "what it takes out of the rules behind it cannot be expressed";

/// Why the rules behind it cannot be, either: they would match the packets that it takes out.
pub(super) const BEHIND_RETURN: &str = "it is behind a rule of its chain that takes packets out of it";

/// What came of a set of rules, in their order.
#[derive(Debug, Default)]
pub(super) struct Imported {
    entries: Vec<Entry>,
}

#[derive(Debug)]
enum Entry {
    Rule(Rule),
    LeftOut { rule: String, why: String },
}

/// Which packets the rules of a firewall see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Ipv4,
    Ipv6,
    /// Both, and nothing that is not IP.
    Ip,
}

/// A rule of a policy.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) action: &'static str,
    pub(super) description: String,
    /// Keys and values, as they are written in a policy.
    conditions: Vec<(&'static str, String)>,
}

impl Rule {
    pub(super) fn new(action: &'static str, description: &str) -> Self {
        Self { action, description: description.to_owned(), conditions: Vec::new() }
    }

    /// The same with another action.
    pub(super) fn with_action(self, action: &'static str) -> Self {
        Self { action, ..self }
    }

    /// Adds a condition of one number.
    pub(super) fn number(&mut self, key: &'static str, value: impl ToString) {
        self.conditions.push((key, value.to_string()));
    }

    /// Restricts the rule to one version of IP.
    pub(super) fn version(&mut self, version: u8) -> Result<(), String> {
        let version = version.to_string();
        match self.conditions.iter().find(|(key, _)| *key == "ip_version") {
            Some((_, there)) if *there == version => {}
            Some(_) => return Err("conditions on IPv4 and on IPv6 cannot be met together".to_owned()),
            None => self.conditions.push(("ip_version", version)),
        }
        Ok(())
    }

    /// Restricts the rule to the packets that the other firewall sees.
    pub(super) fn restrict(&mut self, seen: Seen) -> Result<(), String> {
        const OF_IP: [&str; 8] =
            ["ip_version", "source", "destination", "protocol", "source_port", "destination_port", "icmp", "tcp_flags"];
        match seen {
            Seen::Ipv4 => self.version(4),
            Seen::Ipv6 => self.version(6),
            Seen::Ip if OF_IP.iter().any(|key| self.has(key)) => Ok(()),
            Seen::Ip => {
                // Only IP has addresses.
                self.strings("source", ["0.0.0.0/0", "::/0"]);
                Ok(())
            }
        }
    }

    /// Adds a condition of one or several strings, unless the same is there: a jump may have said it.
    pub(super) fn strings<T: AsRef<str>>(&mut self, key: &'static str, values: impl IntoIterator<Item = T>) {
        let quoted: Vec<_> = values.into_iter().map(|value| quoted(value.as_ref())).collect();
        let value = if quoted.len() == 1 { quoted.concat() } else { format!("[{}]", quoted.join(", ")) };
        if !self.conditions.contains(&(key, value.clone())) {
            self.conditions.push((key, value));
        }
    }

    /// Adds a condition of one string, if there is one.
    pub(super) fn strings_if(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.strings(key, [value]);
        }
    }

    /// Adds a condition of one string, unless it is there; another condition on the same key cannot be expressed.
    pub(super) fn require(&mut self, key: &'static str, value: &str) -> Result<(), String> {
        match self.conditions.iter().find(|(other, _)| *other == key) {
            None => self.strings(key, [value]),
            Some((_, there)) if *there == quoted(value) => {}
            Some((_, there)) => return Err(format!("{key} cannot be {there} and {value} in one rule")),
        }
        Ok(())
    }

    /// The rule in TOML.
    fn text(&self, id: u32) -> String {
        let mut text = format!("[[rule]]\nid = {id}\naction = \"{}\"\n", self.action);
        if !self.description.is_empty() {
            let _ = writeln!(text, "description = {}", quoted(&self.description));
        }
        for (key, value) in &self.conditions {
            let _ = writeln!(text, "{key} = {value}");
        }
        text
    }

    /// The first reason why a policy cannot have the rule, or why it would not mean the same: an error, or a warning
    /// that it matches nothing.
    fn check(&self) -> Result<(), String> {
        let twice = |(at, (key, _)): (usize, &(&'static str, String))| {
            self.conditions[..at].iter().any(|(other, _)| other == key).then_some(*key)
        };
        if let Some(key) = self.conditions.iter().enumerate().find_map(twice) {
            return Err(format!("two conditions on {key} cannot be expressed in one rule"));
        }
        let source = Source::new("import".to_owned(), PathBuf::new(), self.text(1));
        let (_, diagnostics) = file::read(&source);
        let first = diagnostics.shown().into_iter().min_by_key(|found| found.severity != Severity::Error);
        let message = |found: Diagnostic| found.message.replacen("rule 1: ", "", 1).replacen("rule 1 ", "it ", 1);
        first.map_or(Ok(()), |found| Err(message(found)))
    }

    /// Whether there is a condition with this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.conditions.iter().any(|(other, _)| *other == key)
    }
}

impl Imported {
    /// Adds a rule, or the reason why it cannot be expressed. `text` is the rule as the other firewall has it.
    pub(super) fn add(&mut self, text: &str, rule: Result<Rule, String>) {
        self.entries.push(match rule.and_then(|rule| rule.check().map(|()| rule)) {
            Ok(rule) => Entry::Rule(rule),
            Err(why) => Entry::LeftOut { rule: text.to_owned(), why },
        });
    }

    /// Adds a rule that blocks what no other rule permits, in one direction perhaps.
    pub(super) fn block_rest(&mut self, direction: Option<&str>, seen: Seen) {
        let mut rest = Rule::new("block", "what nothing permits");
        rest.strings_if("direction", direction);
        let rest = rest.restrict(seen).map(|()| rest);
        self.add("the default", rest);
    }

    /// That a policy has room for one more rule, counting those that are left out: jumps can make any number of them.
    pub(super) fn has_room(&self) -> Result<(), String> {
        if self.entries.len() < MAX_RULES {
            return Ok(());
        }
        Err(format!("with the jumps carried out there are more than {MAX_RULES} rules"))
    }

    pub(super) fn taken(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry, Entry::Rule(_))).count()
    }

    /// The rules that cannot be expressed, each with the reason.
    pub(super) fn left_out(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Rule(_) => None,
            Entry::LeftOut { rule, why } => Some((rule.as_str(), why.as_str())),
        })
    }

    /// The policy, in TOML. Rules are numbered in tens, which leaves room for those that are missing.
    pub(super) fn policy(&self) -> String {
        // What the other firewall does not see stays permitted; what it blocks by default, a last rule blocks.
        let mut text = "default = \"permit\"\n".to_owned();
        for (entry, number) in self.entries.iter().zip(1_u32..) {
            text.push('\n');
            match entry {
                Entry::LeftOut { rule, why } => {
                    for line in [format!("left out: {rule}"), why.clone()].iter().flat_map(|part| part.lines()) {
                        let _ = writeln!(text, "# {}", line.replace(char::is_control, " "));
                    }
                }
                Entry::Rule(rule) => text += &rule.text(number.saturating_mul(10)),
            }
        }
        text
    }
}

/// A basic string of TOML, in which JSON's escapes mean the same.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text.replace(char::is_control, " ")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_rules_are_imported_as_a_policy_has_at_most() {
        let mut imported = Imported::default();
        for _ in 1..MAX_RULES {
            imported.add("a rule", Err("left out".to_owned()));
        }
        assert_eq!(imported.has_room(), Ok(()));
        imported.add("a rule", Ok(Rule::new("block", "")));
        assert_eq!(imported.has_room(), Err("with the jumps carried out there are more than 200000 rules".to_owned()));
    }
}
