//! What `nft --json list ruleset` writes: the rules of one chain (libnftables-json(5)).

use serde_json::Value;

use super::rule::{Imported, Rule, Seen};

pub(super) fn import(text: &str, chain: &str) -> Result<Imported, String> {
    let ruleset: Value = serde_json::from_str(text)
        .map_err(|error| format!("expected the output of nft --json list ruleset: {error}"))?;
    let objects = ruleset["nftables"].as_array().ok_or("expected an object with the member nftables")?;
    let is_of_chain =
        |object: &Value, name: &str| object[name].as_str().is_some_and(|name| name.eq_ignore_ascii_case(chain));
    let mut imported = Imported::default();
    let mut found = None;
    let mut blocks_rest = false;
    for object in objects {
        if let Some(base) = object.get("chain").filter(|base| is_of_chain(base, "name")) {
            if found.is_some() {
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
            found = Some((direction, seen));
            blocks_rest = base["policy"] == "drop";
        }
        if let Some(rule) = object.get("rule").filter(|rule| is_of_chain(rule, "chain")) {
            let text = format!("handle {}: {}", rule["handle"], rule["expr"]);
            let (direction, seen) = found.ok_or_else(|| format!("a rule of {chain} comes before the chain"))?;
            imported.add(&text, self::rule(rule, direction, seen));
        }
    }
    let (direction, seen) = found.ok_or_else(|| format!("there is no chain {chain}"))?;
    if blocks_rest {
        imported.block_rest(direction, seen);
    }
    Ok(imported)
}

fn rule(value: &Value, direction: Option<&str>, seen: Seen) -> Result<Rule, String> {
    let mut rule = Rule::new("", value["comment"].as_str().unwrap_or_default());
    rule.strings_if("direction", direction);
    let mut logs = false;
    for statement in value["expr"].as_array().map_or(&[][..], Vec::as_slice) {
        let Some((name, body)) = statement.as_object().and_then(|object| object.iter().next()) else {
            return Err(format!("{statement} cannot be expressed"));
        };
        match name.as_str() {
            "match" => condition(body, &mut rule)?,
            "accept" => rule.action = "permit",
            // What answer is sent belongs to a client.
            "drop" | "reject" => rule.action = "block",
            "counter" | "comment" => {}
            "log" => logs = true,
            other => return Err(format!("the statement {other} cannot be expressed")),
        }
    }
    match (logs, rule.action.is_empty()) {
        (true, true) => rule.action = "log",
        (false, true) => rule.action = "count",
        (true, false) => return Err("a rule that logs and has a verdict has to be written as two".to_owned()),
        (false, false) => {}
    }
    rule.restrict(seen)?;
    Ok(rule)
}

fn condition(body: &Value, rule: &mut Rule) -> Result<(), String> {
    let (left, right) = (&body["left"], &body["right"]);
    let bang = match body["op"].as_str() {
        Some("==" | "in") | None => "",
        Some("!=") => "!",
        Some(other) => return Err(format!("the operator {other} cannot be expressed")),
    };
    if let Some(key) = left.pointer("/meta/key").and_then(Value::as_str) {
        return match key {
            "l4proto" => add(rule, "protocol", bang, right),
            "nfproto" if bang.is_empty() && right == "ipv4" => rule.version(4),
            "nfproto" if bang.is_empty() && right == "ipv6" => rule.version(6),
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
        ("ip" | "ip6", "saddr") => add(rule, "source", bang, right),
        ("ip" | "ip6", "daddr") => add(rule, "destination", bang, right),
        ("ip", "protocol") | ("ip6", "nexthdr") => add(rule, "protocol", bang, right),
        ("tcp" | "udp" | "udplite" | "sctp" | "dccp" | "th", "sport" | "dport") => {
            if protocol != "th" {
                rule.require("protocol", protocol)?;
            }
            add(rule, if field == "sport" { "source_port" } else { "destination_port" }, bang, right)
        }
        ("icmp", "type") if bang.is_empty() => {
            rule.require("protocol", "icmp")?;
            add(rule, "icmp", bang, right)
        }
        ("icmpv6", "type") if bang.is_empty() => {
            rule.require("protocol", "ipv6-icmp")?;
            add(rule, "icmp", bang, right)
        }
        ("vlan", "id") => add(rule, "vlan", bang, right),
        _ => Err(format!("{protocol} {field} cannot be expressed")),
    }
}

/// Adds a condition of one value or of an anonymous set.
fn add(rule: &mut Rule, key: &'static str, bang: &str, right: &Value) -> Result<(), String> {
    if rule.has(key) {
        return Err(format!("two conditions on {key} cannot be expressed in one rule"));
    }
    let items = right.get("set").and_then(Value::as_array).map_or(std::slice::from_ref(right), Vec::as_slice);
    let values =
        items.iter().map(|item| value(item).map(|value| format!("{bang}{value}"))).collect::<Result<Vec<_>, _>>()?;
    rule.strings(key, values);
    Ok(())
}

fn value(item: &Value) -> Result<String, String> {
    match item {
        Value::Number(number) => Ok(number.to_string()),
        Value::String(name) if name.starts_with('@') => Err(format!("the named set {name} is not imported")),
        // nft has names of its own for a few types.
        Value::String(name) => Ok(match name.as_str() {
            "nd-neighbor-solicit" => "neighbor-solicitation".to_owned(),
            "nd-neighbor-advert" => "neighbor-advertisement".to_owned(),
            "nd-router-solicit" => "router-solicitation".to_owned(),
            "nd-router-advert" => "router-advertisement".to_owned(),
            "icmpv6" => "ipv6-icmp".to_owned(),
            other => other.to_owned(),
        }),
        Value::Object(_) => {
            if let (Some(address), Some(length)) = (item.pointer("/prefix/addr"), item.pointer("/prefix/len")) {
                return Ok(format!("{}/{length}", value(address)?));
            }
            match item.get("range").and_then(Value::as_array).map(Vec::as_slice) {
                Some([first, last]) => Ok(format!("{}-{}", value(first)?, value(last)?)),
                _ => Err(format!("{item} cannot be expressed")),
            }
        }
        other => Err(format!("{other} cannot be expressed")),
    }
}
