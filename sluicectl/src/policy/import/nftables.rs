//! What `nft --json list ruleset` writes: the rules of one chain (libnftables-json(5)).
//!
//! A jump to another chain of the table is replaced by the rules of that chain, each with the conditions of the jump; a
//! named set that does not change by itself, by its elements.

use serde_json::Value;

use super::rule::{BEHIND_RETURN, Imported, MAX_JUMPS, RETURNS, Rule, Seen};

pub(super) fn import(text: &str, chain: &str) -> Result<Imported, String> {
    let ruleset: Value = serde_json::from_str(text)
        .map_err(|error| format!("expected the output of nft --json list ruleset: {error}"))?;
    let objects = ruleset["nftables"].as_array().ok_or("expected an object with the member nftables")?;
    let mut bases = objects.iter().filter_map(|object| object.get("chain"));
    let is_wanted = |base: &&Value| base["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(chain));
    let base = bases.find(is_wanted).ok_or_else(|| format!("there is no chain {chain}"))?;
    if bases.any(|other| is_wanted(&other)) {
        return Err(format!("there are several chains of the name {chain}; list one table alone"));
    }
    let seen = match base["family"].as_str() {
        Some("ip") => Seen::Ipv4,
        Some("ip6") => Seen::Ipv6,
        Some("inet") => Seen::Ip,
        other => return Err(format!("expected a table of the family ip, ip6 or inet, found {other:?}")),
    };
    let direction = match base["hook"].as_str() {
        Some("input") => Some("inbound"),
        Some("output") => Some("outbound"),
        _ => None,
    };
    let is_of_table = |object: &&Value| object["family"] == base["family"] && object["table"] == base["table"];
    let of_kind = |kind: &'static str| objects.iter().filter_map(move |object| object.get(kind)).filter(is_of_table);
    let table = Table {
        direction,
        seen,
        chains: of_kind("chain").collect(),
        sets: of_kind("set").collect(),
        rules: of_kind("rule").collect(),
    };
    let mut imported = Imported::default();
    table.add(&base["name"], &Jump::default(), &mut imported)?;
    if base["policy"] == "drop" {
        imported.block_rest(direction, seen);
    }
    Ok(imported)
}

/// The table of the chain, and which packets that sees.
struct Table<'a> {
    direction: Option<&'static str>,
    seen: Seen,
    chains: Vec<&'a Value>,
    sets: Vec<&'a Value>,
    rules: Vec<&'a Value>,
}

/// A jump: its conditions, and its rule for people. `depth` counts the jumps that led there, and `is_behind_return`
/// says that it is not for all packets that meet the conditions.
#[derive(Default)]
struct Jump {
    conditions: Vec<Value>,
    text: String,
    depth: usize,
    is_behind_return: bool,
}

impl Table<'_> {
    /// Adds the rules of the chain `name`, to which `jump` leads.
    fn add(&self, name: &Value, jump: &Jump, imported: &mut Imported) -> Result<(), String> {
        let mut is_behind_return = jump.is_behind_return;
        for value in self.rules.iter().filter(|rule| rule["chain"] == *name) {
            imported.has_room()?;
            let mut text = format!("handle {}: {}", value["handle"], value["expr"]);
            if jump.depth > 0 {
                text = format!("{text} (reached by {})", jump.text);
            }
            let mut statements = value["expr"].as_array().cloned().unwrap_or_default();
            if statements.last().is_some_and(|last| last.get("return").is_some()) {
                if statements.len() == 1 {
                    break;
                }
                is_behind_return = true;
                imported.add(&text, Err(RETURNS.to_owned()));
                continue;
            }
            let target = statements.last().and_then(|last| last.pointer("/jump/target")).cloned();
            let is_known = |target: &Value| self.chains.iter().any(|chain| chain["name"] == *target);
            if let Some(target) = target.filter(|target| is_known(target) && jump.depth < MAX_JUMPS) {
                statements.pop();
                let conditions = [&jump.conditions[..], &statements].concat();
                let depth = jump.depth + 1;
                self.add(&target, &Jump { conditions, text, depth, is_behind_return }, imported)?;
                continue;
            }
            if is_behind_return {
                imported.add(&text, Err(BEHIND_RETURN.to_owned()));
                continue;
            }
            let comment = value["comment"].as_str().unwrap_or_default();
            match self.rule(comment, &[&jump.conditions[..], &statements].concat()) {
                // A rule has one action: one that logs and decides becomes two.
                Ok((rule, true)) if !rule.action.is_empty() => {
                    imported.add(&text, Ok(rule.clone().with_action("log")));
                    imported.add(&text, Ok(rule));
                }
                Ok((rule, logs)) if rule.action.is_empty() => {
                    imported.add(&text, Ok(rule.with_action(if logs { "log" } else { "count" })));
                }
                other => imported.add(&text, other.map(|(rule, _)| rule)),
            }
        }
        Ok(())
    }

    /// The rule of these statements, which has no action if they have no verdict; and whether it logs.
    fn rule(&self, comment: &str, statements: &[Value]) -> Result<(Rule, bool), String> {
        let mut rule = Rule::new("", comment);
        rule.strings_if("direction", self.direction);
        let mut logs = false;
        for statement in statements {
            let Some((name, body)) = statement.as_object().and_then(|object| object.iter().next()) else {
                return Err(format!("{statement} cannot be expressed"));
            };
            match name.as_str() {
                "match" => self.condition(body, &mut rule)?,
                "accept" => rule.action = "permit",
                // What answer is sent belongs to a client.
                "drop" | "reject" => rule.action = "block",
                "counter" | "comment" => {}
                "log" => logs = true,
                other => return Err(format!("the statement {other} cannot be expressed")),
            }
        }
        rule.restrict(self.seen)?;
        Ok((rule, logs))
    }

    fn condition(&self, body: &Value, rule: &mut Rule) -> Result<(), String> {
        let (left, right) = (&body["left"], &body["right"]);
        let bang = match body["op"].as_str() {
            Some("==" | "in") | None => "",
            Some("!=") => "!",
            Some(other) => return Err(format!("the operator {other} cannot be expressed")),
        };
        if let Some(key) = left.pointer("/meta/key").and_then(Value::as_str) {
            return match key {
                "l4proto" => self.add_condition(rule, "protocol", bang, right),
                "nfproto" | "protocol" if bang.is_empty() && (right == "ipv4" || right == "ip") => rule.version(4),
                "nfproto" | "protocol" if bang.is_empty() && (right == "ipv6" || right == "ip6") => rule.version(6),
                other => Err(format!("meta {other} is nothing that a packet shows")),
            };
        }
        let (Some(protocol), Some(field)) = (
            left.pointer("/payload/protocol").and_then(Value::as_str),
            left.pointer("/payload/field").and_then(Value::as_str),
        ) else {
            return Err(format!("{left} cannot be expressed"));
        };
        match protocol {
            "ip" | "icmp" => rule.version(4)?,
            "ip6" | "icmpv6" => rule.version(6)?,
            _ => {}
        }
        match (protocol, field) {
            ("ip" | "ip6", "saddr") => self.add_condition(rule, "source", bang, right),
            ("ip" | "ip6", "daddr") => self.add_condition(rule, "destination", bang, right),
            ("ip", "protocol") | ("ip6", "nexthdr") => self.add_condition(rule, "protocol", bang, right),
            ("tcp" | "udp" | "udplite" | "sctp" | "dccp" | "th", "sport" | "dport") => {
                if protocol != "th" {
                    rule.require("protocol", protocol)?;
                }
                self.add_condition(rule, if field == "sport" { "source_port" } else { "destination_port" }, bang, right)
            }
            ("icmp", "type") if bang.is_empty() => {
                rule.require("protocol", "icmp")?;
                self.add_condition(rule, "icmp", bang, right)
            }
            ("icmpv6", "type") if bang.is_empty() => {
                rule.require("protocol", "ipv6-icmp")?;
                self.add_condition(rule, "icmp", bang, right)
            }
            ("vlan", "id") => self.add_condition(rule, "vlan", bang, right),
            _ => Err(format!("{protocol} {field} cannot be expressed")),
        }
    }

    /// Adds a condition of one value or of an anonymous set.
    fn add_condition(&self, rule: &mut Rule, key: &'static str, bang: &str, right: &Value) -> Result<(), String> {
        if rule.has(key) {
            return Err(format!("two conditions on {key} cannot be expressed in one rule"));
        }
        let items = match right.as_str().and_then(|text| text.strip_prefix('@')) {
            Some(name) => self.elements(name)?,
            None => right.get("set").and_then(Value::as_array).map_or(std::slice::from_ref(right), Vec::as_slice),
        };
        let values = items
            .iter()
            .map(|item| value(item).map(|value| format!("{bang}{value}")))
            .collect::<Result<Vec<_>, _>>()?;
        rule.strings(key, values);
        Ok(())
    }

    /// The elements of a named set.
    fn elements(&self, name: &str) -> Result<&[Value], String> {
        let set = self.sets.iter().find(|set| set["name"] == name);
        let set = set.ok_or_else(|| format!("there is no set {name} in the table"))?;
        if set.get("timeout").is_some()
            || set["flags"]
                .as_array()
                .is_some_and(|flags| flags.iter().any(|flag| flag == "dynamic" || flag == "timeout"))
        {
            return Err(format!("the set {name} changes by itself"));
        }
        match set["elem"].as_array() {
            Some(elements) if !elements.is_empty() => Ok(elements),
            _ => Err(format!("the set {name} is empty: no packet matches")),
        }
    }
}

fn value(item: &Value) -> Result<String, String> {
    match item {
        Value::Number(number) => Ok(number.to_string()),
        // nft has names of its own for a few types.
        Value::String(name) => Ok(match name.as_str() {
            "nd-neighbor-solicit" => "neighbor-solicitation".to_owned(),
            "nd-neighbor-advert" => "neighbor-advertisement".to_owned(),
            "nd-router-solicit" => "router-solicitation".to_owned(),
            "nd-router-advert" => "router-advertisement".to_owned(),
            "nd-redirect" => "137".to_owned(),
            "mld-listener-query" => "130".to_owned(),
            "mld-listener-report" => "131".to_owned(),
            "mld-listener-done" | "mld-listener-reduction" => "132".to_owned(),
            "mld2-listener-report" => "143".to_owned(),
            "icmpv6" => "ipv6-icmp".to_owned(),
            other => other.to_owned(),
        }),
        Value::Object(_) => {
            if let (Some(address), Some(length)) = (item.pointer("/prefix/addr"), item.pointer("/prefix/len")) {
                return Ok(format!("{}/{length}", value(address)?));
            }
            if let Some(element) = item.pointer("/elem/val") {
                return value(element);
            }
            match item.get("range").and_then(Value::as_array).map(Vec::as_slice) {
                Some([first, last]) => Ok(format!("{}-{}", value(first)?, value(last)?)),
                _ => Err(format!("{item} cannot be expressed")),
            }
        }
        other => Err(format!("{other} cannot be expressed")),
    }
}
