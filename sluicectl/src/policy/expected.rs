//! `sluicectl policy test --expect`: packets, and the verdicts that a policy should have on them.

use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use anstyle::{AnsiColor, Style};
use serde::Deserialize;
use serde_json::json;
use toml::Spanned;

use super::described;
use super::source::Source;
use crate::args::{self, Described, DirectionArg, FragmentArg, NameKindArg};
use crate::failure::Failure;
use crate::offline::Offline;
use crate::record::Record;

/// A file of expectations.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectations {
    packet: Vec<Spanned<Expectation>>,
}

/// A packet, described as on the command line, and what should happen to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    expect: ExpectedAction,
    /// The rule that should decide; 0 is the default of the policy. Without it, any may.
    rule: Option<u32>,
    description: Option<String>,
    direction: Option<DirectionArg>,
    protocol: Option<Term>,
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
    name: Option<String>,
    name_kind: Option<NameKindArg>,
    vlan: Option<u16>,
    icmp: Option<Term>,
    tcp_flags: Option<Vec<String>>,
    fragment: Option<FragmentArg>,
    #[serde(default)]
    malformed: bool,
    #[serde(default)]
    truncated: bool,
    ether_type: Option<Term>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ExpectedAction {
    Permit,
    Block,
}

/// A number, or a name for one.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Term {
    Number(u16),
    Name(String),
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl ExpectedAction {
    fn name(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Block => "block",
        }
    }
}

impl Expectation {
    fn described(&self) -> Result<Described, String> {
        fn term<T>(term: Option<&Term>, parse: fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
            term.map(|term| parse(&term.to_string()).map_err(|why| format!("{term}: {why}"))).transpose()
        }
        if let Some(id) = self.vlan.filter(|id| *id > 4095) {
            return Err(format!("{id}: expected a VLAN id from 0 to 4095"));
        }
        let described = Described {
            protocol: term(self.protocol.as_ref(), args::protocol)?,
            source: self.source,
            destination: self.destination,
            source_port: self.source_port,
            destination_port: self.destination_port,
            name: self.name.clone(),
            name_kind: self.name_kind,
            tcp_flags: self
                .tcp_flags
                .as_ref()
                .map(|flags| flags.iter().map(|flag| args::tcp_flag(flag)).collect())
                .transpose()?,
            fragment: self.fragment,
            malformed: self.malformed,
            truncated: self.truncated,
            ether_type: term(self.ether_type.as_ref(), args::ether_type)?,
            vlan: self.vlan,
            icmp: term(self.icmp.as_ref(), args::icmp)?,
        };
        if described.ether_type.is_some() && (described.protocol.is_some() || described.source.is_some()) {
            return Err(
                "a packet with an ether_type of its own is not IP, and has neither protocol nor addresses".into()
            );
        }
        Ok(described)
    }
}

/// Compares all verdicts and reports each that differs, or all of them as JSON.
pub(super) fn run(path: &Path, classifier: &Offline, json: bool) -> Result<(), Failure> {
    let source = Source::read(path)?;
    let at = |offset: usize, why: &str| {
        let (line, column) = source.place(offset);
        Failure::Input(format!("{}:{line}:{column}: {why}", source.name))
    };
    let expectations: Expectations =
        toml::from_str(&source.text).map_err(|error| at(error.span().map_or(0, |span| span.start), error.message()))?;
    let total = expectations.packet.len();
    let mut differ = 0;
    let mut output = anstream::stdout().lock();
    for (expectation, number) in expectations.packet.iter().zip(1..) {
        let start = expectation.span().start;
        let (line, _) = source.place(start);
        let expectation = expectation.get_ref();
        let mut packet = expectation
            .described()
            .and_then(|described| described::packet(&described))
            .map_err(|why| at(start, &why))?;
        packet.number = number;
        packet.direction = expectation.direction.map_or(packet.direction, DirectionArg::number);
        let record = Record::new(&packet, &classifier.classify(&packet)?);
        let decided = record.rule.unwrap_or(0);
        let is_expected =
            record.action == expectation.expect.name() && expectation.rule.is_none_or(|rule| rule == decided);
        differ += usize::from(!is_expected);
        if json {
            let expected = json!({ "action": expectation.expect.name(), "rule": expectation.rule });
            let record = json!({
                "number": number,
                "line": line,
                "description": expectation.description,
                "expected": expected,
                "action": record.action,
                "rule": record.rule,
                "as_expected": is_expected,
            });
            writeln!(output, "{record}")?;
        } else if !is_expected {
            let style = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
            let description = expectation.description.as_ref().map_or_else(String::new, |text| format!(" ({text})"));
            writeln!(
                output,
                "{}:{line}: packet {number}{description}: {style}expected {}, found {}{style:#}",
                source.name,
                verdict(expectation.expect.name(), expectation.rule),
                verdict(record.action, Some(decided))
            )?;
        }
    }
    output.flush()?;
    if differ > 0 {
        let verb = if differ == 1 { "differs" } else { "differ" };
        return Err(Failure::State(format!("{}: {differ} of {total} verdicts {verb}", source.name)));
    }
    if !json {
        writeln!(output, "{}: {total} verdicts as expected", source.name)?;
    }
    Ok(output.flush()?)
}

fn verdict(action: &str, rule: Option<u32>) -> String {
    match rule {
        None => action.to_owned(),
        Some(0) => format!("{action} by default"),
        Some(rule) => format!("{action} by rule {rule}"),
    }
}
