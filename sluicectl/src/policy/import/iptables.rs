//! What `iptables-save` and `ip6tables-save` write: the rules of one chain of the table *filter*.

use super::rule::{Imported, Rule, Seen};

pub(super) fn import(text: &str, chain: &str) -> Result<Imported, String> {
    let mut imported = Imported::default();
    // The two programs have the same words, and name themselves in a comment.
    let seen = if text.contains("ip6tables-save") { Seen::Ipv6 } else { Seen::Ipv4 };
    let mut blocks_rest = false;
    let mut in_filter = false;
    let mut found = false;
    for line in text.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('*') {
            in_filter = table == "filter";
        } else if let Some(policy) = line.strip_prefix(':').filter(|_| in_filter) {
            let mut words = policy.split_whitespace();
            if words.next() == Some(chain) {
                found = true;
                blocks_rest = words.next() == Some("DROP");
            }
        } else if in_filter && line.starts_with("-A ") {
            let words = words(line);
            if words.get(1).map(String::as_str) == Some(chain) {
                imported.add(line, rule(&words[2..], chain, seen));
            }
        }
    }
    if !found {
        return Err(format!("expected the output of iptables-save with the chain {chain} in the table filter"));
    }
    if blocks_rest {
        imported.block_rest(direction(chain), seen);
    }
    Ok(imported)
}

/// Which way the packets of a chain go, if all go the same way.
fn direction(chain: &str) -> Option<&'static str> {
    match chain {
        "INPUT" => Some("inbound"),
        "OUTPUT" => Some("outbound"),
        _ => None,
    }
}

/// The words of a line; those in double quotes may have spaces.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        let word = words.len() - 1;
        match char {
            '"' => is_quoted = !is_quoted,
            '\\' if is_quoted => words[word].extend(chars.next()),
            ' ' if !is_quoted => words.push(String::new()),
            other => words[word].push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn rule(words: &[String], chain: &str, seen: Seen) -> Result<Rule, String> {
    let mut rule = Rule::new("", "");
    rule.strings_if("direction", direction(chain));
    rule.restrict(seen)?;
    let mut words = words.iter().map(String::as_str);
    let mut is_negated = false;
    while let Some(option) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("expected a value after {option}"));
        let bang = if is_negated { "!" } else { "" };
        let excluding = |text: &str| format!("{bang}{text}");
        match option {
            "!" => {
                is_negated = true;
                continue;
            }
            "-s" | "--source" => rule.strings("source", [excluding(value()?)]),
            "-d" | "--destination" => rule.strings("destination", [excluding(value()?)]),
            "-p" | "--protocol" => match value()? {
                "all" => {}
                protocol => rule.strings("protocol", [excluding(protocol)]),
            },
            "--sport" | "--source-port" => rule.strings("source_port", [excluding(&ports(value()?))]),
            "--dport" | "--destination-port" => rule.strings("destination_port", [excluding(&ports(value()?))]),
            "--sports" => rule.strings("source_port", value()?.split(',').map(|port| excluding(&ports(port)))),
            "--dports" => rule.strings("destination_port", value()?.split(',').map(|port| excluding(&ports(port)))),
            "--src-range" => rule.strings("source", [excluding(value()?)]),
            "--dst-range" => rule.strings("destination", [excluding(value()?)]),
            "--syn" if is_negated => return Err("flags that are not SYN alone cannot be expressed".to_owned()),
            "--syn" => rule.strings("tcp_flags", ["syn", "!ack", "!rst", "!fin"]),
            "--tcp-flags" if is_negated => return Err("other flags than these cannot be expressed".to_owned()),
            "--tcp-flags" => {
                let (mask, set) = (value()?.to_lowercase(), words.next().unwrap_or_default().to_lowercase());
                rule.strings("tcp_flags", flags(&mask, &set)?);
            }
            "--icmp-type" | "--icmpv6-type" if !is_negated => match value()? {
                "any" => {}
                kind => rule.strings("icmp", [kind]),
            },
            "-f" | "--fragment" => rule.strings("fragment", [if is_negated { "no" } else { "later" }]),
            "--comment" => rule.description = value()?.to_owned(),
            "-m" | "--match" => match value()? {
                "tcp" | "udp" | "sctp" | "dccp" | "icmp" | "icmp6" | "multiport" | "comment" | "iprange" => {}
                module => return Err(format!("the match {module} needs what a packet does not show")),
            },
            "-j" | "--jump" => {
                rule.action = match value()? {
                    "ACCEPT" => "permit",
                    "DROP" => "block",
                    "REJECT" => {
                        // What answer is sent belongs to a client.
                        words.by_ref().for_each(drop);
                        "block"
                    }
                    "LOG" | "NFLOG" => {
                        // How it is logged belongs to whoever reads the log.
                        words.by_ref().for_each(drop);
                        "log"
                    }
                    target => return Err(format!("the target {target} neither accepts nor drops")),
                };
            }
            other => return Err(format!("{bang}{other} cannot be expressed")),
        }
        is_negated = false;
    }
    if rule.action.is_empty() {
        rule.action = "count";
    }
    Ok(rule)
}

/// A range of ports, which has a colon there; an end that is left out is the first or the last port.
fn ports(text: &str) -> String {
    match text.split_once(':') {
        None => text.to_owned(),
        Some((first, last)) => {
            let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
            format!("{}-{}", or(first, "0"), or(last, "65535"))
        }
    }
}

/// The flags of a mask, each as it has to be.
fn flags(mask: &str, set: &str) -> Result<Vec<String>, String> {
    let list = |text: &str| match text {
        "all" => vec!["fin", "syn", "rst", "psh", "ack", "urg"].into_iter().map(str::to_owned).collect(),
        "none" => Vec::new(),
        list => list.split(',').map(str::to_owned).collect::<Vec<_>>(),
    };
    let (mask, set) = (list(mask), list(set));
    if let Some(outside) = set.iter().find(|flag| !mask.contains(flag)) {
        return Err(format!("the flag {outside} is set, but not among those that are looked at: no packet matches"));
    }
    Ok(mask.into_iter().map(|flag| if set.contains(&flag) { flag } else { format!("!{flag}") }).collect())
}
