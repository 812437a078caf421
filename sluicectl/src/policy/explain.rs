//! `sluicectl policy test`: which rule decides on a packet, and why.
//!
//! Whether a condition is met is decided by the classifier of the driver itself, with a policy of one rule that has
//! that condition alone.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use sluice_core::compile::{Conditions, Rule, compile};
use sluice_core::{Action, RuleAction};

use super::checked::{Checked, check, plural};
use super::file::Entry;
use super::{described, expected};
use crate::args::TestArgs;
use crate::capture::{Capture, RecordedPacket};
use crate::failure::Failure;
use crate::offline::Offline;
use crate::record::Record;

/// The answer for one packet.
#[derive(Debug, Serialize)]
struct Explanation<'a> {
    #[serde(flatten)]
    packet: Record,
    /// The description of the rule that decides.
    description: Option<&'a str>,
    /// Its conditions, all of which are met.
    conditions: Vec<Condition<'a>>,
    /// The rules before it that count or log the packet.
    observed: Vec<Observed>,
    /// The first of the rules before it, each with the first of its conditions that is not met.
    passed_over: Vec<PassedOver<'a>>,
    /// How many rules are before it.
    passed_over_count: usize,
    /// The rule that was asked about.
    asked: Option<Asked<'a>>,
}

/// How many rules that do not match are listed.
const MOST_PASSED_OVER: usize = 20;

#[derive(Debug, Serialize)]
struct Observed {
    rule: u32,
    action: &'static str,
}

#[derive(Debug, Serialize)]
struct Asked<'a> {
    rule: u32,
    conditions: Vec<Judged<'a>>,
}

#[derive(Debug, Serialize)]
struct Judged<'a> {
    #[serde(flatten)]
    condition: Condition<'a>,
    met: bool,
}

#[derive(Debug, Serialize)]
struct Condition<'a> {
    key: &'static str,
    value: &'a str,
}

#[derive(Debug, Serialize)]
struct PassedOver<'a> {
    rule: u32,
    #[serde(flatten)]
    unmet: Condition<'a>,
}

pub(crate) fn run(args: &TestArgs) -> Result<(), Failure> {
    let checked = check(&args.file)?;
    checked.show_errors();
    let Some(table) = checked.table.clone() else { return Err(Failure::Reported) };
    let classifier = Offline::new(Some(table))?;
    if let Some(path) = &args.expect {
        return expected::run(path, &classifier, args.json);
    }
    let wanted = match args.rule {
        None => None,
        Some(id) => {
            let entry = checked.file.rules.iter().find(|entry| entry.rule.id == id);
            Some(entry.ok_or_else(|| Failure::Input(format!("{} has no rule {id}", checked.source.name)))?)
        }
    };
    let packets: Box<dyn Iterator<Item = Result<RecordedPacket, Failure>>> = match &args.capture {
        None => Box::new([described::packet(&args.described).map_err(Failure::Input)].into_iter()),
        Some(path) => {
            let capture = Capture::open(path)?;
            match args.packet {
                None => Box::new(capture),
                Some(number) => {
                    let wanted = capture.skip_while(move |packet| packet.as_ref().is_ok_and(|p| p.number != number));
                    let mut wanted = wanted.take(1).peekable();
                    if wanted.peek().is_none() {
                        return Err(Failure::Input(format!("{} has no packet {number}", path.display())));
                    }
                    Box::new(wanted)
                }
            }
        }
    };
    // The rules passed over are of interest for one packet, and noise for a thousand.
    let in_detail = args.capture.is_none() || args.packet.is_some();
    let mut output = anstream::stdout().lock();
    for packet in packets {
        let mut packet = packet?;
        packet.direction = args.direction.map_or(packet.direction, |direction| direction.number());
        let mut observed = Vec::new();
        let verdict = classifier.classify_observed(&packet, |rule, action| {
            observed.push(Observed { rule, action: action.name() });
        })?;
        let record = Record::new(&packet, &verdict);
        let explanation = explain(&checked, &packet, record, observed, in_detail, wanted)?;
        if args.json {
            serde_json::to_writer(&mut output, &explanation)?;
            writeln!(output)?;
        } else {
            explanation.write(&mut output)?;
        }
    }
    Ok(output.flush()?)
}

fn explain<'a>(
    checked: &'a Checked,
    packet: &RecordedPacket,
    record: Record,
    mut observed: Vec<Observed>,
    in_detail: bool,
    wanted: Option<&'a Entry>,
) -> Result<Explanation<'a>, Failure> {
    let rules = &checked.file.rules;
    let decider = rules.iter().position(|entry| Some(entry.rule.id) == record.rule);
    let text = |entry: &Entry, key: &'static str| Condition {
        key,
        value: entry.keys.get(key).and_then(|span| checked.source.text.get(span.clone())).unwrap_or_default(),
    };
    let place = |id: u32| rules.iter().position(|entry| entry.rule.id == id);
    observed.sort_by_cached_key(|observed| place(observed.rule));
    let mut passed_over = Vec::new();
    let before = if in_detail { &rules[..decider.unwrap_or(rules.len())] } else { &[] };
    if in_detail {
        let is_observed = |entry: &&Entry| observed.iter().any(|observed| observed.rule == entry.rule.id);
        for entry in before.iter().filter(|entry| !is_observed(entry)).take(MOST_PASSED_OVER) {
            for (key, condition) in parts(&entry.rule.conditions) {
                if !is_met(condition, packet)? {
                    passed_over.push(PassedOver { rule: entry.rule.id, unmet: text(entry, key) });
                    break;
                }
            }
        }
    }
    let decider = decider.map(|position| &rules[position]);
    Ok(Explanation {
        packet: record,
        description: decider.and_then(|entry| entry.description.as_deref()),
        conditions: decider.map_or_else(Vec::new, |entry| {
            parts(&entry.rule.conditions).into_iter().map(|(key, _)| text(entry, key)).collect()
        }),
        passed_over_count: before.len() - if in_detail { observed.len() } else { 0 },
        observed,
        passed_over,
        asked: wanted.map(|entry| asked(entry, packet, text)).transpose()?,
    })
}

/// Each condition of a rule, and whether it is met.
fn asked<'a>(
    entry: &'a Entry,
    packet: &RecordedPacket,
    text: impl Fn(&Entry, &'static str) -> Condition<'a>,
) -> Result<Asked<'a>, Failure> {
    let judged = |(key, condition)| Ok(Judged { condition: text(entry, key), met: is_met(condition, packet)? });
    let conditions = parts(&entry.rule.conditions).into_iter().map(judged).collect::<Result<_, Failure>>()?;
    Ok(Asked { rule: entry.rule.id, conditions })
}

fn is_met(conditions: Conditions, packet: &RecordedPacket) -> Result<bool, Failure> {
    let rule = Rule { id: 1, action: RuleAction::Block, conditions };
    let table = compile(&[rule], Action::Permit).map_err(|error| Failure::Input(error.to_string()))?;
    Ok(Offline::new(Some(table))?.classify(packet)?.rule_id == 1)
}

/// Each condition that is set, by itself, with its key in a policy file.
fn parts(all: &Conditions) -> Vec<(&'static str, Conditions)> {
    let mut parts = Vec::new();
    macro_rules! part {
        ($key:literal, $field:ident, $is_set:expr) => {
            if $is_set {
                parts
                    .push(($key, Conditions { $field: all.$field.clone(), inner: all.inner, ..Conditions::default() }));
            }
        };
    }
    if all.inner {
        parts.push(("inner", Conditions { inner: true, ..Conditions::default() }));
    }
    part!("direction", direction, all.direction.is_some());
    part!("link_type", link_types, !all.link_types.is_empty());
    part!("vlan", tagged, all.tagged.is_some());
    part!("vlan", vlans, !all.vlans.is_empty());
    part!("ether_type", ether_types, !all.ether_types.is_empty());
    part!("ip_version", ip_version, all.ip_version.is_some());
    part!("source", sources, !all.sources.is_empty());
    part!("destination", destinations, !all.destinations.is_empty());
    part!("protocol", protocols, !all.protocols.is_empty());
    part!("source_port", source_ports, !all.source_ports.is_empty());
    part!("destination_port", destination_ports, !all.destination_ports.is_empty());
    part!("icmp", icmp, !all.icmp.is_empty());
    part!("tcp_flags", tcp_flags, all.tcp_flags.is_some());
    part!("name", names, !all.names.is_empty());
    part!("answer_name", answer_names, !all.answer_names.is_empty());
    part!("answer", answer, all.answer.is_some());
    part!("name_missing", name_missing, all.name_missing.is_some());
    part!("name_pending", name_pending, all.name_pending.is_some());
    part!("ech", ech, all.ech.is_some());
    part!("quic", quic, all.quic.is_some());
    part!("quic", quic_versions, !all.quic_versions.is_empty());
    part!("fragment", fragment, all.fragment.is_some());
    part!("tunnel", tunnel, all.tunnel.is_some());
    part!("malformed", malformed, all.malformed.is_some());
    part!("truncated", truncated, all.truncated.is_some());
    parts
}

impl Explanation<'_> {
    fn write(&self, output: &mut impl Write) -> io::Result<()> {
        let color = if self.packet.action == "permit" { AnsiColor::Green } else { AnsiColor::Red };
        let style = Style::new().bold().fg_color(Some(color.into()));
        let number = self.packet.number;
        let action = self.packet.action;
        match self.packet.rule {
            Some(id) => {
                let description = self.description.map_or_else(String::new, |text| format!(" ({text})"));
                writeln!(output, "packet {number}: {style}{action}{style:#} by rule {id}{description}")?;
                if self.conditions.is_empty() {
                    writeln!(output, "  no conditions: matches every packet")?;
                }
                for Condition { key, value } in &self.conditions {
                    writeln!(output, "  {key} = {value}: met")?;
                }
            }
            None => writeln!(output, "packet {number}: {style}{action}{style:#} by default: no rule matches")?,
        }
        for Observed { rule, action } in &self.observed {
            writeln!(output, "  rule {rule} {action}s it")?;
        }
        for PassedOver { rule, unmet: Condition { key, value } } in &self.passed_over {
            writeln!(output, "  rule {rule} does not match: {key} = {value} is not met")?;
        }
        if let Some(more) = self.passed_over_count.checked_sub(self.passed_over.len()).filter(|more| *more > 0)
            && !self.passed_over.is_empty()
        {
            writeln!(
                output,
                "  {} do not match either; --rule ID says why one of them does not",
                plural(more, "more rule")
            )?;
        }
        if let Some(Asked { rule, conditions }) = &self.asked {
            writeln!(output, "  rule {rule}:{}", if conditions.is_empty() { " matches every packet" } else { "" })?;
            for Judged { condition: Condition { key, value }, met } in conditions {
                writeln!(output, "    {key} = {value}: {}", if *met { "met" } else { "not met" })?;
            }
        }
        Ok(())
    }
}
