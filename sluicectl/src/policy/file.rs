//! From the TOML text of a policy to its rules. The format is described in docs/policy.md.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use sluice_core::compile::{Conditions, Prefix, Rule, TcpFlags};
use sluice_core::{Action, protocol};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::value::{
    ACTION, ADDRESS, BOOLEAN, DIRECTION, ETHER_TYPE, FRAGMENT, ICMP, IP_VERSION, Kind, LINK_TYPE, NAME, PORT, PROTOCOL,
    RULE_ID, TCP_FLAG, TEXT, VLAN,
};

pub(super) const POLICY_KEYS: [&str; 3] = ["default", "rule", "sets"];
pub(super) const SET_KEYS: [&str; 3] = ["addresses", "names", "ports"];
pub(super) const RULE_KEYS: [&str; 19] = [
    "id",
    "action",
    "description",
    "direction",
    "link_type",
    "vlan",
    "ether_type",
    "ip_version",
    "source",
    "destination",
    "protocol",
    "source_port",
    "destination_port",
    "icmp",
    "tcp_flags",
    "name",
    "fragment",
    "malformed",
    "truncated",
];

/// The rules of a policy, and where they stand in its source.
#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    /// What happens to a packet that no rule matches.
    pub(crate) default: Action,
    pub(crate) rules: Vec<Entry>,
}

/// One rule of a policy.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) rule: Rule,
    pub(crate) description: Option<String>,
    /// Where its id stands.
    pub(crate) span: Range<usize>,
    /// Where the value of each key stands.
    pub(crate) keys: HashMap<String, Range<usize>>,
}

/// Reads a policy: as much of it as is right, and what is wrong with the rest.
pub(crate) fn read(source: &str) -> (File, Vec<Diagnostic>) {
    let (document, syntax_errors) = DeTable::parse_recoverable(source);
    if !syntax_errors.is_empty() {
        let diagnostic = |error: toml::de::Error| {
            Diagnostic::error(error.span().unwrap_or(0..0), format!("the file is not valid TOML: {}", error.message()))
        };
        return (File::default(), syntax_errors.into_iter().map(diagnostic).collect());
    }
    let mut reader = Reader { source, diagnostics: Vec::new() };
    let file = reader.file(document.get_ref());
    reader.diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
    (file, reader.diagnostics)
}

/// A named set, and whether a rule has used it.
struct Set<T> {
    items: Vec<T>,
    span: Range<usize>,
    used: Cell<bool>,
}

type NamedSets<T> = BTreeMap<String, Set<T>>;

#[derive(Default)]
struct Sets {
    addresses: NamedSets<Prefix>,
    ports: NamedSets<std::ops::RangeInclusive<u16>>,
    names: NamedSets<String>,
}

struct Reader<'a> {
    source: &'a str,
    diagnostics: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn file(&mut self, table: &DeTable<'_>) -> File {
        self.refuse_unknown_keys(table, &POLICY_KEYS, "a policy");
        let sets = table.get("sets").map_or_else(Sets::default, |value| self.sets(value));
        let default = table.get("default").and_then(|value| self.one("the policy", "default", value, &ACTION));
        let rules = table.get("rule").map_or_else(Vec::new, |value| self.rules(value, &sets));
        self.warn_of_unused(&sets.addresses);
        self.warn_of_unused(&sets.ports);
        self.warn_of_unused(&sets.names);
        File { default: default.unwrap_or_default(), rules }
    }

    fn sets(&mut self, value: &Spanned<DeValue<'_>>) -> Sets {
        let Some(table) = self.table(value, "sets", "[sets.addresses], [sets.ports] and [sets.names]") else {
            return Sets::default();
        };
        self.refuse_unknown_keys(table, &SET_KEYS, "[sets]");
        Sets {
            addresses: self.sets_of(table, "addresses", &ADDRESS),
            ports: self.sets_of(table, "ports", &PORT),
            names: self.sets_of(table, "names", &NAME),
        }
    }

    fn sets_of<T: Clone>(&mut self, sets: &DeTable<'_>, key: &str, kind: &Kind<T>) -> NamedSets<T> {
        let Some(value) = sets.get(key) else { return NamedSets::new() };
        let Some(table) = self.table(value, key, "names and lists, such as office = [..]") else {
            return NamedSets::new();
        };
        let mut named = NamedSets::new();
        for (name, value) in table {
            let items = self.list(&format!("set {}", name.get_ref()), name.get_ref(), value, kind, None);
            named.insert(name.get_ref().to_string(), Set { items, span: name.span(), used: Cell::new(false) });
        }
        named
    }

    fn rules(&mut self, value: &Spanned<DeValue<'_>>, sets: &Sets) -> Vec<Entry> {
        let Some(array) = value.get_ref().as_array() else {
            self.diagnostics.push(
                Diagnostic::error(value.span(), "`rule`: expected a list of rules")
                    .key("rule")
                    .value(self.text(&value.span()))
                    .allowed("[[rule]] before each rule"),
            );
            return Vec::new();
        };
        let mut rules: Vec<Entry> = Vec::new();
        let mut lines: HashMap<u32, Range<usize>> = HashMap::new();
        for (index, value) in array.iter().enumerate() {
            let Some(table) = self.table(value, "rule", "[[rule]] before each rule") else { continue };
            let entry = self.rule(index, value.span(), table, sets);
            let id = entry.rule.id;
            if let Some(first) = lines.get(&id).filter(|_| id != 0) {
                self.diagnostics.push(
                    Diagnostic::error(entry.span.clone(), format!("two rules have the id {id}"))
                        .key("id")
                        .value(&id.to_string())
                        .allowed((RULE_ID.allowed)())
                        .related(first.clone(), "the first of them"),
                );
            } else {
                lines.insert(id, entry.span.clone());
            }
            rules.push(entry);
        }
        rules
    }

    /// A rule whose id is missing or wrong gets the id 0, and an error.
    fn rule(&mut self, index: usize, span: Range<usize>, table: &DeTable<'_>, sets: &Sets) -> Entry {
        let id = table.get("id");
        let subject = match id.map(|value| (RULE_ID.parse)(value.get_ref())) {
            Some(Ok(id)) => format!("rule {id}"),
            _ => format!("the {} rule", ordinal(index + 1)),
        };
        let subject = subject.as_str();
        self.refuse_unknown_keys(table, &RULE_KEYS, subject);
        for key in ["id", "action"] {
            if table.get(key).is_none() {
                let allowed = if key == "id" { (RULE_ID.allowed)() } else { (ACTION.allowed)() };
                self.diagnostics.push(
                    Diagnostic::error(span.clone(), format!("{subject} has no `{key}`")).key(key).allowed(allowed),
                );
            }
        }
        let mut rule = Rule::default();
        let mut description = None;
        let conditions = &mut rule.conditions;
        for (key, value) in table {
            let key = key.get_ref().as_ref();
            match key {
                "id" => rule.id = self.one(subject, key, value, &RULE_ID).unwrap_or_default(),
                "action" => rule.action = self.one(subject, key, value, &ACTION).unwrap_or_default(),
                "description" => description = self.one(subject, key, value, &TEXT),
                "direction" => conditions.direction = self.one(subject, key, value, &DIRECTION),
                "link_type" => conditions.link_types = self.list(subject, key, value, &LINK_TYPE, None),
                "vlan" => match value.get_ref() {
                    DeValue::Boolean(tagged) => conditions.tagged = Some(*tagged),
                    _ => conditions.vlans = self.list(subject, key, value, &VLAN, None),
                },
                "ether_type" => conditions.ether_types = self.list(subject, key, value, &ETHER_TYPE, None),
                "ip_version" => conditions.ip_version = self.one(subject, key, value, &IP_VERSION),
                "source" => conditions.sources = self.list(subject, key, value, &ADDRESS, Some(&sets.addresses)),
                "destination" => {
                    conditions.destinations = self.list(subject, key, value, &ADDRESS, Some(&sets.addresses));
                }
                "protocol" => conditions.protocols = self.list(subject, key, value, &PROTOCOL, None),
                "source_port" => conditions.source_ports = self.list(subject, key, value, &PORT, Some(&sets.ports)),
                "destination_port" => {
                    conditions.destination_ports = self.list(subject, key, value, &PORT, Some(&sets.ports));
                }
                "icmp" => conditions.icmp = self.list(subject, key, value, &ICMP, None),
                "tcp_flags" => conditions.tcp_flags = self.tcp_flags(subject, key, value),
                "name" => conditions.names = self.list(subject, key, value, &NAME, Some(&sets.names)),
                "fragment" => conditions.fragment = self.one(subject, key, value, &FRAGMENT),
                "malformed" => conditions.malformed = self.one(subject, key, value, &BOOLEAN),
                "truncated" => conditions.truncated = self.one(subject, key, value, &BOOLEAN),
                // Already reported.
                _ => {}
            }
        }
        self.warn_of_contradictions(subject, table, &rule.conditions);
        Entry {
            rule,
            description,
            span: id.map_or(span, Spanned::span),
            keys: table.iter().map(|(key, value)| (key.get_ref().to_string(), value.span())).collect(),
        }
    }

    fn tcp_flags(&mut self, subject: &str, key: &str, value: &Spanned<DeValue<'_>>) -> Option<TcpFlags> {
        let mut flags = TcpFlags { mask: 0, value: 0 };
        for (bit, set) in self.list(subject, key, value, &TCP_FLAG, None) {
            let wanted = if set { bit } else { 0 };
            if flags.mask & bit != 0 && flags.value & bit != wanted {
                let message = format!("{subject}: `{key}` demands that a flag be both set and not set");
                self.wrong(message, key, &value.span(), (TCP_FLAG.allowed)());
            }
            flags.mask |= bit;
            flags.value |= wanted;
        }
        Some(flags).filter(|flags| flags.mask != 0)
    }

    /// A single value.
    fn one<T>(&mut self, subject: &str, key: &str, value: &Spanned<DeValue<'_>>, kind: &Kind<T>) -> Option<T> {
        match (kind.parse)(value.get_ref()) {
            Ok(parsed) => Some(parsed),
            Err(why) => {
                self.cannot_be(subject, key, value, &why, kind);
                None
            }
        }
    }

    /// A single value or a list of them, in which `@name` stands for the values of a set.
    fn list<T: Clone>(
        &mut self,
        subject: &str,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        kind: &Kind<T>,
        sets: Option<&NamedSets<T>>,
    ) -> Vec<T> {
        let single = std::slice::from_ref(value);
        let values = value.get_ref().as_array().map_or(single, |array| array);
        if values.is_empty() {
            self.cannot_be(subject, key, value, "the list is empty", kind);
        }
        let mut items = Vec::new();
        for value in values {
            if let (Some(sets), Some(name)) = (sets, value.get_ref().as_str().and_then(|text| text.strip_prefix('@'))) {
                match sets.get(name) {
                    Some(set) => {
                        set.used.set(true);
                        items.extend_from_slice(&set.items);
                    }
                    None => {
                        let defined: Vec<_> = sets.keys().map(|name| format!("@{name}")).collect();
                        let why = match &defined[..] {
                            [] => "no set of this kind is defined".to_owned(),
                            names => format!("unknown set; the sets of this kind are {}", names.join(", ")),
                        };
                        self.cannot_be(subject, key, value, &why, kind);
                    }
                }
            } else {
                items.extend(self.one(subject, key, value, kind));
            }
        }
        items
    }

    fn table<'v>(&mut self, value: &'v Spanned<DeValue<'_>>, key: &str, allowed: &str) -> Option<&'v DeTable<'v>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong(format!("`{key}`: expected a table"), key, &value.span(), allowed.to_owned());
        }
        table
    }

    fn cannot_be<T>(&mut self, subject: &str, key: &str, value: &Spanned<DeValue<'_>>, why: &str, kind: &Kind<T>) {
        let message = format!("{subject}: `{key}` cannot be {}: {why}", self.text(&value.span()));
        self.wrong(message, key, &value.span(), (kind.allowed)());
    }

    fn wrong(&mut self, message: String, key: &str, span: &Range<usize>, allowed: String) {
        let value = self.text(span).to_owned();
        self.diagnostics.push(Diagnostic::error(span.clone(), message).key(key).value(&value).allowed(allowed));
    }

    fn refuse_unknown_keys(&mut self, table: &DeTable<'_>, known: &[&str], subject: &str) {
        for (key, value) in table {
            if !known.contains(&key.get_ref().as_ref()) {
                let value = self.text(&value.span()).to_owned();
                self.diagnostics.push(
                    Diagnostic::error(key.span(), format!("{subject} has no key `{}`", key.get_ref()))
                        .key(key.get_ref())
                        .value(&value)
                        .allowed(format!("the keys {}", known.join(", "))),
                );
            }
        }
    }

    fn warn_of_unused<T>(&mut self, sets: &NamedSets<T>) {
        for (name, set) in sets {
            if !set.used.get() {
                self.diagnostics
                    .push(Diagnostic::warning(set.span.clone(), format!("no rule uses the set @{name}")).key(name));
            }
        }
    }

    /// Warns of conditions that no packet can meet together.
    fn warn_of_contradictions(&mut self, subject: &str, table: &DeTable<'_>, conditions: &Conditions) {
        let mut warn = |key: &str, why: String| {
            if let Some(value) = table.get(key) {
                self.diagnostics
                    .push(Diagnostic::warning(value.span(), format!("{subject} matches no packet: {why}")).key(key));
            }
        };
        let versions = |prefixes: &[Prefix]| {
            let is_v4 = |prefix: &Prefix| prefix.address.is_ipv4();
            // Without a condition, either version matches.
            (prefixes.is_empty() || prefixes.iter().any(is_v4), prefixes.is_empty() || !prefixes.iter().all(is_v4))
        };
        let (source_v4, source_v6) = versions(&conditions.sources);
        let (destination_v4, destination_v6) = versions(&conditions.destinations);
        let (v4, v6) = (conditions.ip_version != Some(6), conditions.ip_version != Some(4));
        if !(source_v4 && destination_v4 || source_v6 && destination_v6) {
            warn("destination", "its source and destination are of different versions of IP".into());
        } else if !(source_v4 && destination_v4 && v4 || source_v6 && destination_v6 && v6) {
            warn("ip_version", "its addresses are of the other version of IP".into());
        }
        let protocols = &conditions.protocols;
        let none_of = |with: &[u8]| !protocols.is_empty() && !protocols.iter().any(|number| with.contains(number));
        for (key, ports) in
            [("source_port", &conditions.source_ports), ("destination_port", &conditions.destination_ports)]
        {
            if !ports.is_empty() && none_of(&protocol::WITH_PORTS) {
                warn(key, "no protocol that it names has ports".into());
            }
        }
        if conditions.tcp_flags.is_some() && none_of(&[protocol::TCP]) {
            warn("tcp_flags", "it does not name the protocol tcp".into());
        }
        if !conditions.icmp.is_empty() && none_of(&[protocol::ICMP, protocol::ICMPV6]) {
            warn("icmp", "it names neither the protocol icmp nor ipv6-icmp".into());
        }
    }

    /// The text of this part of the source, shortened if it is long.
    fn text(&self, span: &Range<usize>) -> &str {
        const LONGEST: usize = 60;
        let text = self.source.get(span.clone()).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        line.char_indices().nth(LONGEST).map_or(line, |(end, _)| &line[..end])
    }
}

fn ordinal(number: usize) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}
