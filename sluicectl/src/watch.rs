//! `sluicectl watch`: the packets that rules log, as they come.

use std::collections::HashMap;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use sluice_control::message::PacketRecord;

use crate::args::WatchArgs;
use crate::device::Sluice;
use crate::failure::Failure;
use crate::record::Record;
use crate::status::module_id;
use crate::table::{endpoint, optional};
use crate::terms::protocol_name;

/// How often the driver is asked: its log has room for what it logs in two of these, and more.
const INTERVAL: Duration = Duration::from_millis(100);

/// A packet that a rule has logged.
#[derive(Debug, Serialize)]
struct LoggedPacket {
    /// The rule that logs it.
    logged_by: u32,
    /// How many packets the rule has matched so far.
    matched: u64,
    /// How many of them came after the one before this and were not logged, as there were too many.
    not_logged: u64,
    generation: u64,
    /// The client that asked.
    client: String,
    wire_length: u32,
    #[serde(flatten)]
    packet: Record,
}

pub(crate) fn run(args: &WatchArgs) -> Result<(), Failure> {
    let sluice = Sluice::open()?;
    let end = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut next = if args.recent { 0 } else { sluice.read_log(u64::MAX)?.0.next };
    let mut watch = Watch { json: args.json, wanted: args.rule.clone(), ..Watch::default() };
    let mut output = anstream::stdout().lock();
    let mut is_first = true;
    loop {
        let (answer, records) = sluice.read_log(next)?;
        // What has been overwritten before the first look is not missed by anybody.
        if answer.lost > 0 && !is_first {
            writeln!(output, "{}", watch.lost(answer.lost))?;
        }
        let now = Timestamp::now();
        for line in records.iter().filter_map(|record| watch.line(record, answer.now, now)) {
            writeln!(output, "{}", line?)?;
        }
        output.flush()?;
        (next, is_first) = (answer.next, false);
        if end.is_some_and(|end| Instant::now() >= end) {
            return Ok(());
        }
        if records.is_empty() {
            thread::sleep(INTERVAL);
        }
    }
}

/// What has been shown.
#[derive(Default)]
struct Watch {
    json: bool,
    /// The rules whose packets are shown: all, if there are none.
    wanted: Vec<u32>,
    /// How many packets.
    shown: u64,
    /// How many each rule had matched, by its id and the generation of its policy.
    matched: HashMap<(u32, u64), u64>,
}

impl Watch {
    /// The line for a packet, if it is to be shown.
    fn line(&mut self, record: &PacketRecord, driver_now: u64, now: Timestamp) -> Option<Result<String, Failure>> {
        if !self.wanted.is_empty() && !self.wanted.contains(&record.rule_id) {
            return None;
        }
        self.shown += 1;
        let before = self.matched.insert((record.rule_id, record.generation), record.matched);
        let logged = LoggedPacket {
            logged_by: record.rule_id,
            matched: record.matched,
            // Before the first one that is seen nobody knows what was logged.
            not_logged: before.map_or(0, |before| record.matched.saturating_sub(before).saturating_sub(1)),
            generation: record.generation,
            client: module_id(&record.module_id),
            wire_length: record.wire_length,
            packet: Record::of_driver(self.shown, record, driver_now, now),
        };
        Some(if self.json { serde_json::to_string(&logged).map_err(Failure::from) } else { Ok(logged.text()) })
    }

    fn lost(&self, count: u64) -> String {
        if self.json {
            serde_json::json!({ "lost": count }).to_string()
        } else {
            format!("{count} logged packets were overwritten before they were read")
        }
    }
}

impl LoggedPacket {
    fn text(&self) -> String {
        let packet = &self.packet;
        let contents = &packet.contents;
        let decided = packet.rule.map_or_else(|| "default".to_owned(), |rule| format!("rule {rule}"));
        let mut words = vec![
            optional(packet.time.map(|time| time.strftime("%H:%M:%S%.3fZ").to_string())),
            format!("rule {}:", self.logged_by),
        ];
        words.extend(packet.direction.map(str::to_owned));
        if contents.header == "inner" {
            words.push("in a tunnel".to_owned());
        }
        words.extend(contents.protocol.map(protocol_name));
        if contents.source.is_some() {
            let (source, destination) = (
                endpoint(contents.source, contents.source_port),
                endpoint(contents.destination, contents.destination_port),
            );
            words.push(format!("{source} -> {destination}"));
        } else {
            words.extend(contents.ether_type.map(|number| format!("EtherType {number:#06x}")));
        }
        words.extend(contents.name.clone());
        words.push(format!("({} bytes), {} by {decided}", self.wire_length, packet.action));
        if self.not_logged > 0 {
            words.push(format!("[{} more not logged]", self.not_logged));
        }
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use sluice_control::message::{MAX_RECORDED_NAME, ModuleId, module_id_kind};
    use sluice_npi::{Flow, action, direction, flags, link_type, name_kind};

    use super::*;
    use crate::documentation::assert_documented;

    fn record(matched: u64) -> PacketRecord {
        let mut name = [0; MAX_RECORDED_NAME];
        name[..8].copy_from_slice(b"\x03www\x03com");
        let mut flow = Flow {
            flags: flags::ADDRESSES | flags::PROTOCOL | flags::PORTS,
            ip_version: 4,
            protocol: 17,
            source_port: 1000,
            destination_port: 53,
            name_kind: name_kind::DNS,
            name_length: 8,
            name_offset: 40,
            ..Flow::default()
        };
        flow.source_address[..4].copy_from_slice(&[192, 0, 2, 1]);
        flow.destination_address[..4].copy_from_slice(&[192, 0, 2, 53]);
        PacketRecord {
            time: 5_000,
            generation: 3,
            matched,
            rule_id: 7,
            decided_by: 8,
            action: action::BLOCK,
            dry_run_action: 0,
            link_type: link_type::RAW,
            direction: direction::OUTBOUND,
            wire_length: 60,
            reserved: 0,
            module_id: ModuleId { kind: module_id_kind::GUID, value: [1; 16] },
            flow,
            name,
        }
    }

    #[test]
    fn people_see_a_line_for_each_packet_and_what_was_not_logged() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let mut watch = Watch::default();
        let line = |watch: &mut Watch, matched| watch.line(&record(matched), 6_500, now).unwrap().unwrap();
        let first =
            "03:04:03.500Z rule 7: outbound udp 192.0.2.1:1000 -> 192.0.2.53:53 www.com (60 bytes), block by rule 8";
        assert_eq!(line(&mut watch, 5), first);
        assert_eq!(line(&mut watch, 6), first);
        assert_eq!(line(&mut watch, 10), format!("{first} [3 more not logged]"));
        assert!(watch.lost(4).starts_with("4 logged packets"));
    }

    #[test]
    fn programs_get_all_of_a_packet_and_only_the_rules_that_they_want() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let mut watch = Watch { json: true, wanted: vec![7], ..Watch::default() };
        assert!(watch.line(&PacketRecord { rule_id: 9, ..record(1) }, 5_000, now).is_none());
        let line = watch.line(&record(1), 5_000, now).unwrap().unwrap();
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_documented("watch", &json);
        assert_eq!((&json["logged_by"], &json["rule"], &json["number"]), (&7.into(), &8.into(), &1.into()));
        assert_eq!(
            (&json["name"], &json["name_offset"], &json["time"]),
            (&"www.com".into(), &40.into(), &"2026-01-02T03:04:05Z".into())
        );
        assert_documented("watch", &serde_json::from_str(&watch.lost(4)).unwrap());
    }
}
