//! ClassBench rule sets and traces, from the folder that SLUICE_CLASSBENCH names: `<set>_<size>.rules[.xz]` and
//! `<set>_<size>.trace[.xz]`.

use std::io::Cursor;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use sluice_core::RuleAction;
use sluice_core::compile::{Conditions, Prefix, Rule};
use sluice_npi::{Flow, flags};

pub const SETS: [&str; 6] = ["acl1", "acl2", "fw1", "fw2", "ipc1", "ipc2"];

pub fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("SLUICE_CLASSBENCH").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("SLUICE_CLASSBENCH is not set: no ClassBench rule sets, nothing to do");
    }
    folder
}

fn text(folder: &Path, name: &str) -> Option<String> {
    if let Ok(text) = std::fs::read_to_string(folder.join(name)) {
        return Some(text);
    }
    let packed = std::fs::read(folder.join(format!("{name}.xz"))).ok()?;
    let mut text = Vec::new();
    lzma_rs::xz_decompress(&mut Cursor::new(packed), &mut text).expect("the file is an xz archive");
    Some(String::from_utf8(text).expect("the file is text"))
}

/// A rule of a set: what ClassBench says, without the parts that are wild.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub source: (u32, u8),
    pub destination: (u32, u8),
    pub source_ports: (u16, u16),
    pub destination_ports: (u16, u16),
    pub protocol: Option<u8>,
}

/// What a trace says of a packet: source, destination, source port, destination port, protocol.
pub type Header = (u32, u32, u16, u16, u8);

pub struct Set {
    pub name: String,
    pub lines: Vec<Line>,
    pub trace: Vec<Header>,
}

pub fn load(folder: &Path, name: &str) -> Option<Set> {
    let lines = text(folder, &format!("{name}.rules"))?.lines().map(line).collect();
    let trace = text(folder, &format!("{name}.trace"))?.lines().map(header).collect();
    Some(Set { name: name.into(), lines, trace })
}

fn line(text: &str) -> Line {
    let parts: Vec<&str> = text.trim_start_matches('@').split_whitespace().collect();
    let prefix = |part: &str| {
        let (address, length) = part.split_once('/').expect("a prefix");
        (u32::from(address.parse::<Ipv4Addr>().expect("an address")), length.parse().expect("a length"))
    };
    let ports = |at: usize| (parts[at].parse().expect("a port"), parts[at + 2].parse().expect("a port"));
    let (protocol, mask) = parts[8].split_once('/').expect("protocol and mask");
    let hexadecimal = |text: &str| u8::from_str_radix(text.trim_start_matches("0x"), 16).expect("hexadecimal");
    Line {
        source: prefix(parts[0]),
        destination: prefix(parts[1]),
        source_ports: ports(2),
        destination_ports: ports(5),
        protocol: (hexadecimal(mask) != 0).then(|| hexadecimal(protocol)),
    }
}

fn header(text: &str) -> Header {
    let mut parts = text.split_whitespace().map(|part| part.parse::<u32>().expect("a number"));
    let mut next = || parts.next().expect("five numbers");
    (next(), next(), next() as u16, next() as u16, next() as u8)
}

/// The rules of a set, numbered from 1.
pub fn rules(lines: &[Line]) -> Vec<Rule> {
    lines
        .iter()
        .zip(1..)
        .map(|(line, id)| {
            let prefixes = |(address, length): (u32, u8)| {
                let address: IpAddr = Ipv4Addr::from(address).into();
                if length == 0 { Vec::new() } else { vec![Prefix { address, length }] }
            };
            let ports = |(first, last): (u16, u16)| -> Vec<RangeInclusive<u16>> {
                if (first, last) == (0, u16::MAX) { Vec::new() } else { vec![first..=last] }
            };
            Rule {
                id,
                action: if id % 2 == 0 { RuleAction::Permit } else { RuleAction::Block },
                conditions: Conditions {
                    sources: prefixes(line.source),
                    destinations: prefixes(line.destination),
                    source_ports: ports(line.source_ports),
                    destination_ports: ports(line.destination_ports),
                    protocols: line.protocol.into_iter().collect(),
                    ..Conditions::default()
                },
            }
        })
        .collect()
}

/// The flow of a packet with this header. ClassBench rules name ports for every protocol, so that every packet has
/// them.
pub fn flow(&(source, destination, source_port, destination_port, protocol): &Header) -> Flow {
    let mut flow = Flow {
        flags: flags::ADDRESSES | flags::PROTOCOL | flags::PORTS | flags::ETHER_TYPE,
        ip_version: 4,
        ether_type: 0x0800,
        source_port,
        destination_port,
        protocol,
        ..Flow::default()
    };
    flow.source_address[..4].copy_from_slice(&source.to_be_bytes());
    flow.destination_address[..4].copy_from_slice(&destination.to_be_bytes());
    flow
}

/// The index of the first line that a header matches.
pub fn first_match(lines: &[Line], header: &Header) -> Option<usize> {
    let &(source, destination, source_port, destination_port, protocol) = header;
    let inside = |address: u32, (prefix, length): (u32, u8)| length == 0 || (address ^ prefix) >> (32 - length) == 0;
    let between = |port: u16, (first, last): (u16, u16)| first <= port && port <= last;
    lines.iter().position(|line| {
        inside(source, line.source)
            && inside(destination, line.destination)
            && between(source_port, line.source_ports)
            && between(destination_port, line.destination_ports)
            && line.protocol.is_none_or(|wanted| wanted == protocol)
    })
}
