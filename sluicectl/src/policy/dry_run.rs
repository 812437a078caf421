//! `sluicectl policy dry-run`: what a policy would change, before it is in force.

use comfy_table::Cell;
use jiff::Timestamp;
use serde_json::{Value, json};
use sluice_control::message::{CountersAnswer, DryRunStatus, PacketRecord, PolicyAnswer, RuleCounter, counted_policy};

use super::checked::{check, plural};
use super::commands::{loaded_record, write_json, write_line};
use crate::args::DryRunCommand;
use crate::device::Sluice;
use crate::failure::Failure;
use crate::record::{Record, action_name};
use crate::remote;
use crate::status::{rule_action_name, rule_record, seconds};
use crate::table::{PacketTable, action, align_right, lines, table};

/// How many rules are shown to people: those that would change most.
const MOST_RULES: usize = 20;

pub(super) fn run(command: &DryRunCommand) -> Result<(), Failure> {
    match command {
        DryRunCommand::Start { file, json } => {
            let (file, table) = check(file)?.require()?;
            let answer = Sluice::open_to_change()?.start_dry_run(&table)?;
            let (rules, generation) = (file.rules.len(), answer.generation);
            if *json {
                return write_json(&started_record(&answer, rules));
            }
            write_line(&format!(
                "dry run started: {}, default {}; generation {generation} stays in force",
                plural(rules, "rule"),
                action_name(file.default.number()),
            ))
        }
        DryRunCommand::Stop { json } => {
            let answer = Sluice::open_to_change()?.stop_dry_run()?;
            if *json {
                return write_json(&stopped_record(&answer));
            }
            let generation = answer.generation;
            write_line(&format!("dry run stopped: generation {generation} stays in force"))
        }
        DryRunCommand::Status { json } => {
            let sluice = Sluice::open()?;
            let (status, samples) = sluice.dry_run()?;
            let (counters, rules) = sluice.rule_counters(counted_policy::DRY_RUN)?;
            let dry_run = DryRun { status, counters, rules, samples };
            if *json { write_json(&dry_run.record(Timestamp::now())) } else { write_line(&dry_run.lines().join("\n")) }
        }
    }
}

/// `sluicectl policy load --from-dry-run`.
pub(super) fn load(persist: bool, json: bool) -> Result<(), Failure> {
    let sluice = Sluice::open_to_change()?;
    let rules = sluice.dry_run()?.0.rule_count;
    remote::warn_before_loading(|| sluice.read_dry_run());
    let answer = sluice.load_dry_run(persist)?;
    if json {
        return write_json(&loaded_record(&answer, rules as usize, persist));
    }
    let persisted = if persist { ", persisted" } else { "" };
    let rules = plural(rules as usize, "rule");
    write_line(&format!("policy loaded from the dry run: generation {}, {rules}{persisted}", answer.generation))
}

/// A dry run that was started, for a program.
fn started_record(answer: &PolicyAnswer, rules: usize) -> Value {
    json!({ "generation": answer.generation, "rules": rules, "table_length": answer.table_length })
}

/// That the dry run was stopped, for a program.
fn stopped_record(answer: &PolicyAnswer) -> Value {
    json!({ "generation": answer.generation })
}

/// What the driver says of the policy that is being tried.
struct DryRun {
    status: DryRunStatus,
    counters: CountersAnswer,
    rules: Vec<RuleCounter>,
    samples: Vec<PacketRecord>,
}

impl DryRun {
    fn record(&self, now: Timestamp) -> Value {
        let DryRunStatus { packets: [permitted, would_block, would_permit, blocked], .. } = self.status;
        let rule = |rule: &RuleCounter| {
            let mut record = rule_record(rule);
            record["changed"] = rule.changed.into();
            record
        };
        let sample = |(number, sample): (u64, &PacketRecord)| {
            json!({
                "dry_run_action": action_name(sample.dry_run_action),
                "dry_run_rule": Some(sample.rule_id).filter(|id| *id != 0),
                "packet": Record::of_driver(number, sample, self.status.now, now),
            })
        };
        json!({
            "running_seconds": seconds(self.status.running),
            "started_generation": self.status.started_generation,
            "generation": self.status.generation,
            "rules": self.status.rule_count,
            "default": action_name(self.status.default_action),
            "table_length": self.status.table_length,
            "permitted": permitted,
            "would_block": would_block,
            "would_permit": would_permit,
            "blocked": blocked,
            "default_packets": self.counters.default_packets,
            "default_changed": self.counters.default_changed,
            "rule_list": self.rules.iter().map(rule).collect::<Vec<_>>(),
            "samples": (1..).zip(&self.samples).map(sample).collect::<Vec<_>>(),
        })
    }

    fn lines(&self) -> Vec<String> {
        let status = &self.status;
        let [permitted, would_block, would_permit, blocked] = status.packets;
        let mut text = vec![
            format!(
                "dry run for {}: {} in {} bytes, default {}",
                crate::status::duration(seconds(status.running)),
                plural(status.rule_count as usize, "rule"),
                status.table_length,
                action_name(status.default_action)
            ),
            format!(
                "{} packets: {would_block} would be blocked, {would_permit} would be permitted; as before, {permitted} \
                 permitted and {blocked} blocked",
                status.packets.iter().fold(0_u64, |sum, packets| sum.wrapping_add(*packets))
            ),
        ];
        if status.started_generation != status.generation {
            text.push(format!(
                "the policy in force has changed from generation {} to {} meanwhile: the numbers are about all of them",
                status.started_generation, status.generation
            ));
        }
        let default = (self.counters.default_packets, self.counters.default_changed);
        let rules = self
            .rules
            .iter()
            .map(|rule| (rule.id.to_string(), rule_action_name(rule.action), rule.packets, rule.changed));
        let default = ("default".to_owned(), action_name(status.default_action), default.0, default.1);
        let mut rules: Vec<_> = rules.chain([default]).filter(|(_, _, packets, _)| *packets > 0).collect();
        rules.sort_by_key(|(.., packets, changed)| std::cmp::Reverse((*changed, *packets)));
        if !rules.is_empty() {
            let mut shown = table(&["Rule", "Action", "Packets", "Changed"]);
            for (id, name, packets, changed) in rules.iter().take(MOST_RULES) {
                shown.add_row(vec![Cell::new(id), action(name), Cell::new(packets), Cell::new(changed)]);
            }
            align_right(&mut shown, &[0, 2, 3]);
            text.push(String::new());
            text.extend(lines(&shown));
            if let Some(more @ 1..) = rules.len().checked_sub(MOST_RULES) {
                text.push(format!("{} that would change less; --json has all", plural(more, "more rule")));
            }
        }
        if !self.samples.is_empty() {
            text.extend([String::new(), "Packets that would be treated in another way, as they are now:".to_owned()]);
            let records: Vec<_> = (1..)
                .zip(&self.samples)
                .map(|(number, sample)| Record::of_driver(number, sample, status.now, Timestamp::now()))
                .collect();
            text.extend(PacketTable::default().lines(&records));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use sluice_control::message::{MAX_RECORDED_NAME, ModuleId, header_of, rule_action};
    use sluice_npi::{Flow, action, direction, flags, link_type};

    use super::*;
    use crate::documentation::assert_documented;

    fn dry_run() -> DryRun {
        let rule = |id, action, packets, changed| RuleCounter { id, action, reserved: 0, packets, changed };
        let flow = Flow { flags: flags::PROTOCOL, ip_version: 4, protocol: 6, ..Flow::default() };
        DryRun {
            status: DryRunStatus {
                header: header_of::<DryRunStatus>(),
                table_length: 896,
                started_generation: 3,
                generation: 4,
                running: 61_000,
                packets: [10, 3, 0, 2],
                rule_count: 3,
                default_action: action::PERMIT,
                reserved: 0,
                samples_total: 1,
                samples_listed: 1,
                now: 70_000,
            },
            counters: CountersAnswer {
                header: header_of::<CountersAnswer>(),
                rules_total: 3,
                generation: 1,
                default_packets: 10,
                default_changed: 0,
                default_action: action::PERMIT,
                reserved: 0,
                listed: 3,
            },
            rules: vec![rule(5, rule_action::COUNT, 12, 0), rule(6, action::BLOCK, 5, 3), rule(7, action::BLOCK, 0, 0)],
            samples: vec![PacketRecord {
                time: 69_000,
                generation: 4,
                matched: 0,
                rule_id: 6,
                decided_by: 0,
                action: action::PERMIT,
                dry_run_action: action::BLOCK,
                link_type: link_type::RAW,
                direction: direction::INBOUND,
                wire_length: 60,
                reserved: 0,
                module_id: ModuleId { kind: 0, value: [0; 16] },
                flow,
                name: [0; MAX_RECORDED_NAME],
            }],
        }
    }

    #[test]
    fn people_see_what_would_change_most_first() {
        let text = dry_run().lines().join("\n");
        let text = anstream::adapter::strip_str(&text).to_string();
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0].join(" "), "dry run for 1 min 1 s: 3 rules in 896 bytes, default permit");
        assert!(words[1].join(" ").starts_with("15 packets: 3 would be blocked, 0 would be permitted"), "{text}");
        assert!(words[2].join(" ").contains("from generation 3 to 4"), "{text}");
        assert_eq!(
            words[5..8],
            [["6", "block", "5", "3"], ["5", "count", "12", "0"], ["default", "permit", "10", "0"]]
        );
        assert!(text.contains("tcp") && !text.lines().any(|line| line.trim_start().starts_with("7 ")), "{text}");
    }

    #[test]
    fn what_there_is_not_is_not_mentioned() {
        let mut dry_run = dry_run();
        dry_run.status.generation = dry_run.status.started_generation;
        dry_run.counters.default_packets = 0;
        dry_run.rules.retain(|rule| rule.packets == 0);
        dry_run.samples.clear();
        let packets = "15 packets: 3 would be blocked, 0 would be permitted; as before, 10 permitted and 2 blocked";
        assert_eq!(dry_run.lines(), ["dry run for 1 min 1 s: 3 rules in 896 bytes, default permit", packets]);
    }

    #[test]
    fn twenty_rules_are_shown_and_the_others_counted() {
        let mut dry_run = dry_run();
        let rule =
            |id| RuleCounter { id, action: action::BLOCK, reserved: 0, packets: 1000 - u64::from(id), changed: 1 };
        let mut text = |count| {
            dry_run.rules = (1..=count).map(rule).collect();
            anstream::adapter::strip_str(&dry_run.lines().join("\n")).to_string()
        };
        // The default is one of them, and the last, as it changed nothing.
        assert!(!text(19).contains("more rule"), "{}", text(19));
        assert!(text(20).contains("\n1 more rule that would change less; --json has all"), "{}", text(20));
        assert!(text(22).contains("\n3 more rules that would change less; --json has all"), "{}", text(22));
        assert!(text(19).contains("default  permit"), "{}", text(19));
    }

    #[test]
    fn programs_are_told_what_is_tried_and_what_stays_in_force() {
        let answer = PolicyAnswer { header: header_of::<PolicyAnswer>(), table_length: 896, generation: 5 };
        let started = started_record(&answer, 2);
        assert_documented("policy dry-run start", &started);
        assert_eq!(started, json!({"generation": 5, "rules": 2, "table_length": 896}));
        let stopped = stopped_record(&answer);
        assert_documented("policy dry-run stop", &stopped);
        assert_eq!(stopped, json!({"generation": 5}));
    }

    #[test]
    fn programs_get_all_rules_and_the_samples() {
        let record = dry_run().record("2026-01-02T03:04:05Z".parse().unwrap());
        assert_documented("policy dry-run status", &record);
        assert_eq!(record["rule_list"][1], json!({"id": 6, "action": "block", "packets": 5, "changed": 3}));
        assert_eq!((&record["would_block"], &record["rule_list"][2]["packets"]), (&json!(3), &json!(0)));
        let sample = &record["samples"][0];
        assert_eq!((&sample["dry_run_action"], &sample["dry_run_rule"]), (&json!("block"), &json!(6)));
        assert_eq!((&sample["packet"]["action"], &sample["packet"]["protocol"]), (&json!("permit"), &json!(6)));
    }
}
