//! Filter sets of ClassBench (Taylor and Turner 2007): one filter a line, such as
//! `@192.0.2.0/24  198.51.100.7/32  0 : 65535  80 : 80  0x06/0xFF  0x0000/0x0200`.
//!
//! The sets have no actions: what their filters match is blocked. Their flags are bits of a field that packets do not
//! have; they are dropped, which the description of the rule says.

use super::rule::{Imported, Rule};

/// What a mask of 8 bits that all count looks like.
const WHOLE: u8 = 0xFF;

pub(super) fn import(text: &str) -> Result<Imported, String> {
    let mut imported = Imported::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        imported.add(line, rule(line));
    }
    if imported.taken() == 0 {
        return Err("expected a filter set of ClassBench: lines that start with @".to_owned());
    }
    Ok(imported)
}

fn rule(line: &str) -> Result<Rule, String> {
    let words: Vec<&str> = line.strip_prefix('@').unwrap_or_default().split_whitespace().collect();
    let [source, destination, first_source, ":", last_source, first, ":", last, protocol, flags @ ..] = &words[..]
    else {
        return Err("expected two prefixes, two ranges of ports and a protocol".to_owned());
    };
    let mut rule = Rule::new("block", "");
    for (key, prefix) in [("source", source), ("destination", destination)] {
        if !prefix.ends_with("/0") {
            rule.strings(key, [prefix]);
        }
    }
    for (key, first, last) in [("source_port", first_source, last_source), ("destination_port", first, last)] {
        if (*first, *last) != ("0", "65535") {
            rule.strings(key, [format!("{first}-{last}")]);
        }
    }
    match masked(protocol)? {
        (number, WHOLE) => rule.number("protocol", number),
        (_, 0) => {}
        _ => return Err("only a part of the protocol counts".to_owned()),
    }
    if let Some(flags) = flags.first().filter(|flags| !flags.ends_with("/0x0000")) {
        rule.description = format!("without the flags {flags}");
    }
    Ok(rule)
}

/// A number of 8 bits and its mask.
fn masked(text: &str) -> Result<(u8, u8), String> {
    let byte = |text: &str| u8::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let parsed = text.split_once('/').and_then(|(number, mask)| Some((byte(number)?, byte(mask)?)));
    parsed.ok_or_else(|| format!("expected a protocol and its mask such as 0x06/0xFF, found {text}"))
}
