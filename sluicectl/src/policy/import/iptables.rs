//! What `iptables-save` and `ip6tables-save` write: the rules of one chain of the table *filter*.
//!
//! A jump to a chain that is there as well is replaced by the rules of that chain, each with the conditions of the
//! jump.

use std::collections::HashMap;

use super::rule::{BEHIND_RETURN, Imported, MAX_JUMPS, RETURNS, Rule, Seen};

pub(super) fn import(text: &str, chain: &str) -> Result<Imported, String> {
    let mut imported = Imported::default();
    let mut seen = Seen::Ipv4;
    let mut filter: Option<Filter<'_>> = None;
    let mut found = false;
    for line in text.lines().map(str::trim).chain(["COMMIT"]) {
        if line.starts_with('#') {
            // The two programs have the same words, and name themselves in a comment.
            if line.contains("ip6tables-save") {
                seen = Seen::Ipv6;
            } else if line.contains("iptables-save") {
                seen = Seen::Ipv4;
            }
        } else if let Some(table) = line.strip_prefix('*') {
            filter = (table == "filter").then(|| Filter { seen, chains: HashMap::new() });
        } else if line == "COMMIT" {
            if let Some(filter) = filter.take().filter(|filter| filter.chains.contains_key(chain)) {
                found = true;
                filter.import(chain, &mut imported)?;
            }
        } else if let Some(filter) = filter.as_mut().filter(|_| !line.is_empty()) {
            filter.read(line, &mut imported);
        }
    }
    if !found {
        return Err(format!("expected the output of iptables-save with the chain {chain} in the table filter"));
    }
    Ok(imported)
}

/// The table *filter* of one of the two programs.
struct Filter<'a> {
    seen: Seen,
    chains: HashMap<&'a str, Chain<'a>>,
}

/// A chain: whether its policy is to drop, and its rules.
#[derive(Default)]
struct Chain<'a> {
    drops: bool,
    rules: Vec<&'a str>,
}

/// A jump: its conditions, and its rule for people. `depth` counts the jumps that led there, and `is_behind_return`
/// says that it is not for all packets that meet the conditions.
#[derive(Default)]
struct Jump {
    conditions: Vec<String>,
    text: String,
    depth: usize,
    is_behind_return: bool,
}

impl<'a> Filter<'a> {
    /// Reads a line: a chain with its policy, or a rule, perhaps behind its counters.
    fn read(&mut self, line: &'a str, imported: &mut Imported) {
        if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split_whitespace();
            let name = words.next().unwrap_or_default();
            self.chains.entry(name).or_default().drops = words.next() == Some("DROP");
            return;
        }
        let counters = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let rule = counters.map_or(line, |(_, rule)| rule.trim_start());
        match rule.strip_prefix("-A ").and_then(|rest| rest.split_whitespace().next()) {
            Some(chain) => self.chains.entry(chain).or_default().rules.push(rule),
            None => imported.add(line, Err("expected a chain, or a rule that is appended to one (-A)".to_owned())),
        }
    }

    fn import(&self, chain: &str, imported: &mut Imported) -> Result<(), String> {
        self.add(chain, chain, &Jump::default(), imported)?;
        if self.chains.get(chain).is_some_and(|chain| chain.drops) {
            imported.block_rest(direction(chain), self.seen);
        }
        Ok(())
    }

    /// Adds the rules of the chain `name`, to which `jump` leads from the chain `base`.
    fn add(&self, base: &str, name: &str, jump: &Jump, imported: &mut Imported) -> Result<(), String> {
        let mut is_behind_return = jump.is_behind_return;
        for line in self.chains.get(name).map_or(&[][..], |chain| &chain.rules) {
            imported.has_room()?;
            let own = &words(line)[2..];
            let text = if jump.depth == 0 { (*line).to_owned() } else { format!("{line} (reached by {})", jump.text) };
            let target = own.iter().position(|word| word == "-j" || word == "--jump");
            let target = target.and_then(|at| Some((at, own.get(at + 1)?.as_str())));
            match target {
                Some((_, "RETURN")) if is_for_all(own) => return Ok(()),
                Some((_, "RETURN")) => {
                    is_behind_return = true;
                    imported.add(&text, Err(RETURNS.to_owned()));
                }
                Some((at, target)) if self.chains.contains_key(target) && jump.depth < MAX_JUMPS => {
                    let conditions = [&jump.conditions, &own[..at], &own[at + 2..]].concat();
                    let depth = jump.depth + 1;
                    self.add(base, target, &Jump { conditions, text, depth, is_behind_return }, imported)?;
                }
                _ if is_behind_return => imported.add(&text, Err(BEHIND_RETURN.to_owned())),
                _ => imported.add(&text, rule(&[&jump.conditions, own].concat(), base, self.seen)),
            }
        }
        Ok(())
    }
}

/// Whether a rule has a target and perhaps a comment, and no condition.
fn is_for_all(words: &[String]) -> bool {
    match words {
        [module, comment, option, _, rest @ ..] if module == "-m" && comment == "comment" && option == "--comment" => {
            rest.len() == 2
        }
        words => words.len() == 2,
    }
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
                "icmpv6" => rule.strings("protocol", [excluding("ipv6-icmp")]),
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
            "-i" | "--in-interface" | "-o" | "--out-interface" => {
                return Err("the interface is nothing that a packet shows".to_owned());
            }
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
                    "REJECT" => "block",
                    "LOG" | "NFLOG" => "log",
                    target => return Err(format!("the target {target} neither accepts nor drops")),
                };
            }
            // What answer is sent belongs to a client, how it is logged to whoever reads the log.
            "--reject-with" | "--log-prefix" | "--log-level" | "--nflog-prefix" | "--nflog-group" | "--nflog-size"
            | "--nflog-range" | "--nflog-threshold" => {
                value()?;
            }
            "--log-tcp-sequence" | "--log-tcp-options" | "--log-ip-options" | "--log-uid" | "--log-macdecode" => {}
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
