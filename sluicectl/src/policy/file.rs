//! From the TOML text of a policy to its rules. The format is described in docs/policy.md.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::ops::{Range, RangeInclusive};
use std::rc::Rc;

use sluice_core::compile::{Icmp, Prefix, Rule, TcpFlags};
use sluice_core::{Action, protocol};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::{Diagnostic, Diagnostics};
use super::source::Source;
use super::value::{
    ACTION, ADDRESS, BOOLEAN, CONTENT, DEFAULT, DIRECTION, ETHER_TYPE, FRAGMENT, ICMP, IP_VERSION, IcmpValue, Kind,
    LINK_TYPE, ListKind, NAME, PORT, PROTOCOL, QUIC_VERSION, RULE_ID, TCP_FLAG, TEXT, VLAN,
};
use super::{hint, impossible, list_file};

pub(super) const POLICY_KEYS: [&str; 3] = ["default", "rule", "sets"];
pub(super) const SET_KEYS: [&str; 3] = ["addresses", "names", "ports"];
pub(super) const RULE_KEYS: [&str; 27] = [
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
    "answer_name",
    "answer",
    "fragment",
    "name_missing",
    "name_pending",
    "ech",
    "quic",
    "tunnel",
    "inner",
    "malformed",
    "truncated",
];

/// The rules of a policy, and where they stand in its source.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    /// What happens to a packet that no rule matches.
    pub(super) default: Action,
    pub(super) rules: Vec<Entry>,
    /// The files of lists that it names.
    pub(super) lists: Vec<ListRecord>,
}

/// One rule of a policy.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) rule: Rule,
    pub(super) description: Option<String>,
    /// Where its id stands.
    pub(super) span: Range<usize>,
    /// Where the value of each key stands.
    pub(super) keys: HashMap<String, Range<usize>>,
}

/// What was taken from a file of names or addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListRecord {
    /// As the policy names it.
    pub(super) path: String,
    /// What its items are.
    pub(super) noun: &'static str,
    pub(super) taken: usize,
    /// How many lines were left out, by reason.
    pub(super) left_out: BTreeMap<&'static str, usize>,
    /// How many items stand for more than was written, by reason.
    pub(super) widened: BTreeMap<&'static str, usize>,
}

impl ListRecord {
    /// In words, such as "ads.txt: 3 names; left out 2 URLs".
    pub(super) fn text(&self) -> String {
        let counted = |reasons: &BTreeMap<&str, usize>| {
            reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect::<Vec<_>>().join(", ")
        };
        let noun = if self.taken == 1 { self.noun.to_owned() } else { plural_of(self.noun) };
        let mut text = format!("{}: {} {noun}", self.path, self.taken);
        if !self.widened.is_empty() {
            text += &format!("; among them {}", counted(&self.widened));
        }
        if !self.left_out.is_empty() {
            text += &format!("; left out: {}", counted(&self.left_out));
        }
        text
    }
}

fn plural_of(noun: &str) -> String {
    if noun.ends_with('x') { format!("{noun}es") } else { format!("{noun}s") }
}

/// Reads a policy: as much of it as is right, and what is wrong with the rest.
pub(super) fn read(source: &Source) -> (File, Diagnostics) {
    let (document, syntax_errors) = DeTable::parse_recoverable(&source.text);
    let mut reader = Reader { source, diagnostics: Diagnostics::default(), lists: Vec::new(), files: HashMap::new() };
    if !syntax_errors.is_empty() {
        for error in syntax_errors {
            let span = error.span().unwrap_or(0..0);
            let message = format!("the file is not valid TOML: {}", error.message());
            reader.diagnostics.push(Diagnostic::error(span, message));
        }
        return (File::default(), reader.diagnostics);
    }
    let file = reader.file(document.get_ref());
    (file, reader.diagnostics)
}

/// A named set: where it stands, and what it has once that is known.
struct Set<'v, T> {
    value: &'v Spanned<DeValue<'v>>,
    span: Range<usize>,
    state: RefCell<State<T>>,
    used: Cell<bool>,
}

enum State<T> {
    Unread,
    /// A set that it names is being read.
    Reading,
    Read(Rc<Vec<T>>),
}

type NamedSets<'v, T> = BTreeMap<String, Set<'v, T>>;

#[derive(Default)]
struct Sets<'v> {
    addresses: NamedSets<'v, Prefix>,
    ports: NamedSets<'v, RangeInclusive<u16>>,
    names: NamedSets<'v, String>,
}

/// How a value is called in messages: a rule or a set, and the key.
#[derive(Clone, Copy)]
struct Place<'a> {
    subject: &'a str,
    key: &'a str,
}

struct Reader<'a> {
    source: &'a Source,
    diagnostics: Diagnostics,
    lists: Vec<ListRecord>,
    /// The items of the files that have been read, by path and by what they are: `Vec`s of them. A list of a million
    /// names takes seconds, and several rules may name it.
    files: HashMap<(String, &'static str), Box<dyn Any>>,
}

impl Reader<'_> {
    fn file(&mut self, table: &DeTable<'_>) -> File {
        self.refuse_unknown_keys(table, &POLICY_KEYS, "a policy");
        let sets = table.get("sets").map_or_else(Sets::default, |value| self.sets(value));
        let place = Place { subject: "the policy", key: "default" };
        let default = table.get("default").and_then(|value| self.one(place, value, &DEFAULT));
        let rules = table.get("rule").map_or_else(Vec::new, |value| self.rules(value, &sets));
        self.finish(&sets.addresses, &ADDRESS);
        self.finish(&sets.ports, &PORT);
        self.finish(&sets.names, &NAME);
        let lists = std::mem::take(&mut self.lists);
        File { default: default.unwrap_or_default(), rules, lists }
    }

    fn sets<'v>(&mut self, value: &'v Spanned<DeValue<'v>>) -> Sets<'v> {
        let Some(table) = self.table(value, "sets", "[sets.addresses], [sets.ports] and [sets.names]") else {
            return Sets::default();
        };
        self.refuse_unknown_keys(table, &SET_KEYS, "[sets]");
        Sets {
            addresses: self.sets_of(table, "addresses"),
            ports: self.sets_of(table, "ports"),
            names: self.sets_of(table, "names"),
        }
    }

    fn sets_of<'v, T>(&mut self, sets: &'v DeTable<'v>, key: &str) -> NamedSets<'v, T> {
        let Some(value) = sets.get(key) else { return NamedSets::new() };
        let Some(table) = self.table(value, key, "names and lists, such as office = [..]") else {
            return NamedSets::new();
        };
        let set = |(name, value): (&'v Spanned<DeString<'v>>, &'v Spanned<DeValue<'v>>)| {
            let state = RefCell::new(State::Unread);
            (name.get_ref().to_string(), Set { value, span: name.span(), state, used: Cell::new(false) })
        };
        table.iter().map(set).collect()
    }

    /// Reads the sets that no rule uses, and warns of them.
    fn finish<T: Clone>(&mut self, sets: &NamedSets<'_, T>, kind: &ListKind<T>) {
        for (name, set) in sets {
            self.items_of(name, set, sets, kind);
        }
        for (name, set) in sets.iter().filter(|(_, set)| !set.used.get()) {
            self.diagnostics
                .push(Diagnostic::warning(set.span.clone(), format!("no rule uses the set @{name}")).key(name));
        }
    }

    /// What a set has. `None` if it is being read, because it names itself.
    fn items_of<T: Clone + 'static>(
        &mut self,
        name: &str,
        set: &Set<'_, T>,
        sets: &NamedSets<'_, T>,
        kind: &ListKind<T>,
    ) -> Option<Rc<Vec<T>>> {
        match &*set.state.borrow() {
            State::Read(items) => return Some(Rc::clone(items)),
            State::Reading => return None,
            State::Unread => {}
        }
        set.state.replace(State::Reading);
        let subject = format!("set {name}");
        let items = Rc::new(self.list(Place { subject: &subject, key: name }, set.value, kind, Some(sets)));
        set.state.replace(State::Read(Rc::clone(&items)));
        Some(items)
    }

    fn rules(&mut self, value: &Spanned<DeValue<'_>>, sets: &Sets<'_>) -> Vec<Entry> {
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
    fn rule(&mut self, index: usize, span: Range<usize>, table: &DeTable<'_>, sets: &Sets<'_>) -> Entry {
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
        let errors_before = self.diagnostics.errors();
        let mut rule = Rule::default();
        let mut description = None;
        let mut icmp = Vec::new();
        let conditions = &mut rule.conditions;
        for (key, value) in table {
            let key = key.get_ref().as_ref();
            let place = Place { subject, key };
            match key {
                "id" => rule.id = self.one(place, value, &RULE_ID).unwrap_or_default(),
                "action" => rule.action = self.one(place, value, &ACTION).unwrap_or_default(),
                "description" => description = self.one(place, value, &TEXT),
                "direction" => conditions.direction = self.one(place, value, &DIRECTION),
                "link_type" => conditions.link_types = self.list(place, value, &LINK_TYPE, None),
                "vlan" => match value.get_ref() {
                    DeValue::Boolean(tagged) => conditions.tagged = Some(*tagged),
                    _ => conditions.vlans = self.list(place, value, &VLAN, None),
                },
                "ether_type" => conditions.ether_types = self.list(place, value, &ETHER_TYPE, None),
                "ip_version" => conditions.ip_version = self.one(place, value, &IP_VERSION),
                "source" => conditions.sources = self.list(place, value, &ADDRESS, Some(&sets.addresses)),
                "destination" => conditions.destinations = self.list(place, value, &ADDRESS, Some(&sets.addresses)),
                "protocol" => conditions.protocols = self.list(place, value, &PROTOCOL, None),
                "source_port" => conditions.source_ports = self.list(place, value, &PORT, Some(&sets.ports)),
                "destination_port" => conditions.destination_ports = self.list(place, value, &PORT, Some(&sets.ports)),
                "icmp" => icmp = self.list(place, value, &ICMP, None),
                "tcp_flags" => conditions.tcp_flags = self.tcp_flags(place, value),
                "name" => conditions.names = self.list(place, value, &NAME, Some(&sets.names)),
                "answer_name" => conditions.answer_names = self.list(place, value, &NAME, Some(&sets.names)),
                "answer" => conditions.answer = self.one(place, value, &CONTENT),
                "fragment" => conditions.fragment = self.one(place, value, &FRAGMENT),
                "name_missing" => conditions.name_missing = self.one(place, value, &BOOLEAN),
                "name_pending" => conditions.name_pending = self.one(place, value, &BOOLEAN),
                "ech" => conditions.ech = self.one(place, value, &BOOLEAN),
                "quic" => match value.get_ref() {
                    DeValue::Boolean(quic) => conditions.quic = Some(*quic),
                    _ => conditions.quic_versions = self.list(place, value, &QUIC_VERSION, None),
                },
                "tunnel" => conditions.tunnel = self.one(place, value, &CONTENT),
                "inner" => conditions.inner = self.one(place, value, &BOOLEAN).unwrap_or_default(),
                "malformed" => conditions.malformed = self.one(place, value, &BOOLEAN),
                "truncated" => conditions.truncated = self.one(place, value, &BOOLEAN),
                // Already reported.
                _ => {}
            }
        }
        if let Some(value) = table.get("icmp") {
            let protocols = rule.conditions.protocols.clone();
            rule.conditions.icmp = self.icmp(Place { subject, key: "icmp" }, value, icmp, &protocols);
        }
        if let (Some(_), Some(value)) = (table.get("name"), table.get("answer_name")) {
            let message = format!("{subject} has both `name` and `answer_name`");
            let allowed = "one of the two; each can have a rule of its own".into();
            self.wrong(message, "answer_name", &value.span(), allowed);
        }
        if self.diagnostics.errors() == errors_before {
            self.warn_if_impossible(subject, table, &rule);
        }
        Entry {
            rule,
            description,
            span: id.map_or(span, Spanned::span),
            keys: table.iter().map(|(key, value)| (key.get_ref().to_string(), value.span())).collect(),
        }
    }

    fn tcp_flags(&mut self, place: Place<'_>, value: &Spanned<DeValue<'_>>) -> Option<TcpFlags> {
        let mut flags = TcpFlags { mask: 0, value: 0 };
        for (bit, set) in self.list(place, value, &TCP_FLAG, None) {
            let wanted = if set { bit } else { 0 };
            if flags.mask & bit != 0 && flags.value & bit != wanted {
                let Place { subject, key } = place;
                let message = format!("{subject}: `{key}` demands that a flag be both set and not set");
                self.wrong(message, key, &value.span(), (TCP_FLAG.allowed)());
            }
            flags.mask |= bit;
            flags.value |= wanted;
        }
        Some(flags).filter(|flags| flags.mask != 0)
    }

    /// The numbers of types, as the protocol of the rule has them.
    fn icmp(
        &mut self,
        place: Place<'_>,
        value: &Spanned<DeValue<'_>>,
        items: Vec<IcmpValue>,
        protocols: &[u8],
    ) -> Vec<Icmp> {
        let mut numbers = Vec::new();
        for item in items {
            let (text, kind, code) = match item {
                IcmpValue::Number(icmp) => {
                    numbers.push(icmp);
                    continue;
                }
                IcmpValue::Name { text, icmp, icmpv6, code } => match protocols {
                    [protocol::ICMP] => (text, icmp, code),
                    [protocol::ICMPV6] => (text, icmpv6, code),
                    _ => (text, None, code),
                },
            };
            match kind {
                Some(kind) => numbers.push(Icmp { kind, code }),
                None => {
                    let why = match protocols {
                        [protocol::ICMP] => "ICMP has no such type",
                        [protocol::ICMPV6] => "ICMPv6 has no such type",
                        _ => {
                            "the number depends on the protocol: add `protocol = \"icmp\"` or `protocol = \
                             \"ipv6-icmp\"`"
                        }
                    };
                    let Place { subject, key } = place;
                    let message = format!("{subject}: `{key}` cannot be \"{text}\": {why}");
                    self.wrong(message, key, &value.span(), (ICMP.allowed)());
                }
            }
        }
        numbers
    }

    /// A single value.
    fn one<T>(&mut self, place: Place<'_>, value: &Spanned<DeValue<'_>>, kind: &Kind<T>) -> Option<T> {
        let parsed = (kind.parse)(value.get_ref());
        parsed.map_err(|why| self.cannot_be(place, value, &why, kind.allowed)).ok()
    }

    /// A single value or a list of them, in which `@name` stands for the items of a set, `@file:path` for those of a
    /// file, and `!` before a value excludes its items.
    fn list<T: Clone + 'static>(
        &mut self,
        place: Place<'_>,
        value: &Spanned<DeValue<'_>>,
        kind: &ListKind<T>,
        sets: Option<&NamedSets<'_, T>>,
    ) -> Vec<T> {
        let single = std::slice::from_ref(value);
        let values = value.get_ref().as_array().map_or(single, |array| array);
        if values.is_empty() {
            self.cannot_be(place, value, "the list is empty", kind.allowed);
        }
        let (mut included, mut excluded) = (Vec::new(), Vec::new());
        let mut is_negated = false;
        let mut has_included = false;
        for value in values {
            let excluding = kind.negation.is_some().then(|| value.get_ref().as_str()?.strip_prefix('!')).flatten();
            is_negated |= excluding.is_some();
            has_included |= excluding.is_none();
            let items = match excluding {
                Some(text) => {
                    let text = DeValue::String(text.trim_start().into());
                    self.items(place, value, &text, kind, sets)
                }
                None => self.items(place, value, value.get_ref(), kind, sets),
            };
            if excluding.is_some() { excluded.extend(items) } else { included.extend(items) }
        }
        let Some(negation) = kind.negation.as_ref().filter(|_| is_negated) else { return included };
        if !has_included {
            included = (negation.everything)();
        }
        let left = (negation.without)(&included, &excluded);
        if left.is_empty() && !included.is_empty() {
            self.cannot_be(place, value, "all that it includes is excluded", kind.allowed);
        }
        left
    }

    /// The items that one value of a list stands for. `value` is where it stands, `written` what is left of it without
    /// `!`.
    fn items<T: Clone + 'static>(
        &mut self,
        place: Place<'_>,
        value: &Spanned<DeValue<'_>>,
        written: &DeValue<'_>,
        kind: &ListKind<T>,
        sets: Option<&NamedSets<'_, T>>,
    ) -> Vec<T> {
        let reference = written.as_str().and_then(|text| text.strip_prefix('@'));
        let found = match (reference, sets, kind.file) {
            (Some(reference), _, Some(format)) if reference.starts_with("file:") => {
                self.file_items(&reference["file:".len()..], format)
            }
            (Some(name), Some(sets), _) => self.set_items(name, sets, kind),
            _ => (kind.parse)(written),
        };
        let items = match found {
            Ok(items) => items,
            Err(why) => {
                self.cannot_be(place, value, &why, kind.allowed);
                return Vec::new();
            }
        };
        if reference.is_none() {
            for oddity in items.iter().filter_map(kind.oddity) {
                let message = format!("{}: `{}`: {oddity}", place.subject, place.key);
                self.diagnostics.push(Diagnostic::warning(value.span(), message).key(place.key));
            }
        }
        items
    }

    fn set_items<T: Clone + 'static>(
        &mut self,
        name: &str,
        sets: &NamedSets<'_, T>,
        kind: &ListKind<T>,
    ) -> Result<Vec<T>, String> {
        const MOST_NAMED: usize = 10;
        let Some(set) = sets.get(name) else {
            if sets.is_empty() {
                return Err("no set of this kind is defined".to_owned());
            }
            if let Some(nearest) = hint::nearest(name, sets.keys().map(String::as_str)) {
                return Err(format!("unknown set; did you mean \"@{nearest}\"?"));
            }
            let names: Vec<_> = sets.keys().take(MOST_NAMED).map(|name| format!("@{name}")).collect();
            let more = if sets.len() > MOST_NAMED { " and others" } else { "" };
            return Err(format!("unknown set; the sets of this kind are {}{more}", names.join(", ")));
        };
        set.used.set(true);
        let items = self.items_of(name, set, sets, kind).ok_or("the set names itself")?;
        Ok(items.to_vec())
    }

    fn file_items<T: Clone + 'static>(&mut self, path: &str, format: list_file::Format<T>) -> Result<Vec<T>, String> {
        let file = (path.to_owned(), format.noun);
        if let Some(items) = self.files.get(&file).and_then(|items| items.downcast_ref::<Vec<T>>()) {
            return Ok(items.clone());
        }
        let list = list_file::read(&self.source.folder.join(path), format)?;
        let record = ListRecord {
            path: path.to_owned(),
            noun: format.noun,
            taken: list.items.len(),
            left_out: list.left_out,
            widened: list.widened,
        };
        let is_empty = record.taken == 0;
        if !self.lists.contains(&record) {
            self.lists.push(record);
        }
        if is_empty {
            return Err(format!("the file has no {}", plural_of(format.noun)));
        }
        self.files.insert(file, Box::new(list.items.clone()));
        Ok(list.items)
    }

    fn table<'v>(&mut self, value: &'v Spanned<DeValue<'v>>, key: &str, allowed: &str) -> Option<&'v DeTable<'v>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong(format!("`{key}`: expected a table"), key, &value.span(), allowed.to_owned());
        }
        table
    }

    fn cannot_be(&mut self, place: Place<'_>, value: &Spanned<DeValue<'_>>, why: &str, allowed: fn() -> String) {
        let Place { subject, key } = place;
        let message = format!("{subject}: `{key}` cannot be {}: {why}", self.text(&value.span()));
        self.wrong(message, key, &value.span(), allowed());
    }

    fn wrong(&mut self, message: String, key: &str, span: &Range<usize>, allowed: String) {
        let value = self.text(span).to_owned();
        self.diagnostics.push(Diagnostic::error(span.clone(), message).key(key).value(&value).allowed(allowed));
    }

    fn refuse_unknown_keys(&mut self, table: &DeTable<'_>, known: &[&str], subject: &str) {
        for (key, value) in table {
            if !known.contains(&key.get_ref().as_ref()) {
                let value = self.text(&value.span()).to_owned();
                let message = format!("{subject} has no key `{}`", key.get_ref());
                let message = hint::unknown(&message, key.get_ref(), known.iter().copied());
                self.diagnostics.push(
                    Diagnostic::error(key.span(), message)
                        .key(key.get_ref())
                        .value(&value)
                        .allowed(format!("the keys {}", known.join(", "))),
                );
            }
        }
    }

    /// Warns of conditions that no packet can meet together.
    fn warn_if_impossible(&mut self, subject: &str, table: &DeTable<'_>, rule: &Rule) {
        let Some(keys) = impossible::excluding(&rule.conditions) else { return };
        let spans: Vec<_> = keys.iter().filter_map(|key| Some((*key, table.get(*key)?.span()))).collect();
        let Some((key, span)) = spans.last().cloned() else { return };
        let names = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" and ");
        let message = format!("{subject} matches no packet: {names} exclude each other");
        self.diagnostics.push(Diagnostic::warning(span, message).key(key));
    }

    /// The text of this part of the source, shortened if it is long.
    fn text(&self, span: &Range<usize>) -> &str {
        const LONGEST: usize = 60;
        let text = self.source.text.get(span.clone()).unwrap_or_default();
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
