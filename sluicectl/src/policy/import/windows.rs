//! Rules of Windows Defender Firewall, as its registry has them: `reg export` of
//! `HKLM\SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules`. The values have the
//! grammar of [MS-GPFAS], 2.2.2: `v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=443|..|`.
//!
//! Rules that block come first, as they do there. What no rule matches is blocked inbound and permitted outbound, which
//! is the default there, too, and is said by a last rule.

use super::rule::{Imported, Rule, Seen};

pub(super) fn import(text: &str) -> Result<Imported, String> {
    let mut rules: Vec<(String, Result<Rule, String>)> = Vec::new();
    let mut any_whole = false;
    for line in text.lines().map(str::trim).filter(|line| line.contains("|Action=")) {
        let Some(value) = value(line) else {
            rules.push((line.to_owned(), Err("expected a whole value of a registry export".to_owned())));
            continue;
        };
        any_whole = true;
        // A file of the registry editor escapes backslashes and quotes.
        let value = value.replace("\\\\", "\\").replace("\\\"", "\"");
        let fields: Vec<(&str, &str)> = value.split('|').filter_map(|field| field.split_once('=')).collect();
        let text = fields.iter().find(|(key, _)| *key == "Name").map_or(value.as_str(), |(_, name)| name).to_owned();
        if fields.contains(&("Active", "TRUE")) {
            rules.push((text.clone(), rule(&fields, &text)));
        }
    }
    if !any_whole {
        return Err(
            "expected rules as reg export writes those of the key FirewallRules of Windows Defender Firewall, \
             such as \"{..}\"=\"v2.31|Action=Allow|Active=TRUE|..|\"; what netsh and PowerShell show of rules leaves \
             things out"
                .to_owned(),
        );
    }
    rules.sort_by_key(|(_, rule)| rule.as_ref().is_ok_and(|rule| rule.action == "permit"));
    let mut imported = Imported::default();
    for (text, rule) in rules {
        imported.add(&text, rule);
    }
    imported.block_rest(Some("inbound"), Seen::Ip);
    Ok(imported)
}

/// The value in a line of `reg export`, or of `reg query`. Other programs fold lines, and what is folded is not whole.
fn value(line: &str) -> Option<&str> {
    let exported = line.split_once("\"=\"").and_then(|(_, value)| value.strip_suffix('"'));
    let queried = || line.split_once("REG_SZ").map(|(_, value)| value.trim_start());
    exported.or_else(queried).filter(|value| value.starts_with("v2.") && value.ends_with('|'))
}

fn rule(fields: &[(&str, &str)], name: &str) -> Result<Rule, String> {
    let mut rule = Rule::new("", name);
    let is_inbound = fields.contains(&("Dir", "In"));
    let mut lists: Vec<(&'static str, Vec<String>)> = Vec::new();
    let mut ports: Vec<(bool, &str)> = Vec::new();
    let mut add = |key: &'static str, value: String| match lists.iter_mut().find(|(other, _)| *other == key) {
        Some((_, values)) => values.push(value),
        None => lists.push((key, vec![value])),
    };
    // Local is where a packet goes to if it is inbound, and where it comes from if it is outbound.
    let address_key = |is_local: bool| if is_local == is_inbound { "destination" } else { "source" };
    for (key, value) in fields {
        match *key {
            "Action" => {
                rule.action = match *value {
                    "Allow" => "permit",
                    "Block" => "block",
                    other => return Err(format!("the action {other} cannot be expressed")),
                };
            }
            "Dir" => rule.strings("direction", [if is_inbound { "inbound" } else { "outbound" }]),
            "Protocol" => rule.strings("protocol", [*value]),
            "LPort" | "LPort2_10" | "RPort" | "RPort2_10" => ports.push((key.starts_with('L'), value)),
            "LA4" | "LA6" | "RA4" | "RA6" => {
                let is_in_address = |each: char| each.is_ascii_hexdigit() || ".:/-".contains(each);
                if !value.chars().all(is_in_address) {
                    return Err(format!("the addresses {value} depend on the machine"));
                }
                add(address_key(key.starts_with('L')), prefix(value)?);
            }
            "ICMP4" | "ICMP6" => add("icmp", value.replace(":*", "").replace(':', "/")),
            "App" | "Svc" | "AppPkgId" | "PFN" | "LUOwn" | "LUAuth" | "RUAuth" | "RMauth" | "RMAuth" => {
                return Err(format!("{key}={value}: which program or user it belongs to, a packet does not show"));
            }
            "Profile" | "IF" | "IFType" | "Platform" | "Platform2" | "Platform3" | "RtW" | "Security"
            | "Security2_9" => {
                return Err(format!("{key}={value}: it depends on the state of the machine"));
            }
            "Edge" | "Defer" if *value != "FALSE" => return Err(format!("{key}={value} cannot be expressed")),
            "Name" | "Desc" | "EmbedCtxt" | "Active" | "Edge" | "Defer" => {}
            other => return Err(format!("{other}={value} cannot be expressed")),
        }
    }
    for (is_local, value) in ports {
        if !value.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(format!("the ports {value} depend on the machine"));
        }
        let key = if is_local == is_inbound { "destination_port" } else { "source_port" };
        add(key, value.to_owned());
    }
    for (key, values) in lists {
        rule.strings(key, values);
    }
    rule.restrict(Seen::Ip)?;
    Ok(rule)
}

/// An address, a range, or an address with a prefix length or a mask.
fn prefix(text: &str) -> Result<String, String> {
    let Some((address, mask)) = text.split_once('/') else { return Ok(text.to_owned()) };
    let Ok(mask) = mask.parse::<std::net::Ipv4Addr>() else { return Ok(text.to_owned()) };
    let bits = mask.to_bits();
    if bits.count_ones() != bits.leading_ones() {
        return Err(format!("the mask {mask} is not that of a prefix"));
    }
    Ok(format!("{address}/{}", bits.leading_ones()))
}
