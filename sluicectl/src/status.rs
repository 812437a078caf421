//! `sluicectl status` and `sluicectl stats`: the state of the driver and of its clients.

use std::cmp::Reverse;
use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::Duration;

use anstyle::AnsiColor;
use comfy_table::Cell;
use serde::Serialize;
use serde_json::{Value, json};
use sluice_control::message::{
    ClientStatus, CountersAnswer, ModuleId, ProviderStatus, RuleCounter, Status, client_state, counted_policy,
    module_id_kind, rule_action, status_flags,
};
use sluice_npi::Statistics;

use crate::args::{StatsArgs, StatusArgs};
use crate::device::{ERROR_NOT_FOUND, Probe, Sluice};
use crate::failure::Failure;
use crate::record::action_name;
use crate::table::{action, align_right, colored, lines, table};

/// The answer of the driver, as JSON.
#[derive(Debug, Serialize)]
struct StatusRecord {
    driver_version: String,
    uptime_seconds: f64,
    policy: PolicyRecord,
    clients: Vec<ClientRecord>,
}

#[derive(Debug, Serialize)]
struct PolicyRecord {
    generation: u64,
    rules: u32,
    table_length: u32,
    default: &'static str,
    persisted: bool,
    /// The driver found the persisted policy damaged when it started.
    persisted_damaged: bool,
    /// Packets that no rule decided on.
    default_packets: u64,
    /// The rules that matched the most packets.
    busiest: Vec<Value>,
    /// Whether another policy is being tried.
    dry_run: bool,
    /// The counters for people.
    #[serde(skip)]
    rule_lines: Vec<String>,
}

/// How many rules `status` shows.
const BUSIEST: usize = 10;

#[derive(Debug, Serialize)]
struct ClientRecord {
    module_id: String,
    name: String,
    version: u32,
    state: &'static str,
    attached_seconds: f64,
    #[serde(flatten)]
    counters: Counters,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Counters {
    packets: u64,
    permitted: u64,
    blocked: u64,
    malformed: u64,
    truncated: u64,
    rejected_calls: u64,
}

pub(crate) fn status(args: &StatusArgs) -> Result<(), Failure> {
    let mut view = view(args.json)?;
    let Some(seconds) = args.watch else { return show(&view, false) };
    let refresh = !args.json && io::stdout().is_terminal();
    loop {
        show(&view, refresh)?;
        thread::sleep(Duration::from_secs(seconds));
        view = match self::view(args.json) {
            // The driver may be restarting, which is worth watching.
            Err(Failure::State(why) | Failure::Windows { message: why, .. }) if args.json => {
                serde_json::json!({ "error": why }).to_string()
            }
            Err(Failure::State(why) | Failure::Windows { message: why, .. }) => why,
            other => other?,
        };
    }
}

/// The status of the driver, as lines of text or as one of JSON.
fn view(json: bool) -> Result<String, Failure> {
    let sluice = Sluice::open()?;
    let (status, clients) = sluice.status()?;
    let mut record = StatusRecord::new(&status, &clients);
    let (counters, rules) = sluice.rule_counters(counted_policy::IN_FORCE)?;
    record.policy.count(&counters, &rules);
    record.policy.dry_run = match sluice.dry_run() {
        Ok(_) => true,
        Err(Failure::Windows { code: ERROR_NOT_FOUND, .. }) => false,
        Err(failure) => return Err(failure),
    };
    Ok(if json { serde_json::to_string(&record)? } else { record.lines().join("\n") })
}

/// Writes the view, on a cleared screen if `refresh`.
fn show(view: &str, refresh: bool) -> Result<(), Failure> {
    let clear = if refresh { "\x1b[H\x1b[2J" } else { "" };
    let mut output = anstream::stdout().lock();
    // Written in one piece, so that a refreshed screen does not flicker.
    output.write_all(format!("{clear}{view}\n").as_bytes())?;
    Ok(output.flush()?)
}

/// The counters of one binding.
#[derive(Debug, Serialize)]
struct BindingRecord {
    module_id: String,
    /// The name of a client; providers have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The generation that a provider announced last.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(flatten)]
    counters: Counters,
}

pub(crate) fn stats(args: &StatsArgs) -> Result<(), Failure> {
    let mut rules = None;
    let (kind, bindings): (_, Vec<_>) = match &args.device {
        None => {
            let sluice = Sluice::open()?;
            rules = Some(sluice.rule_counters(counted_policy::IN_FORCE)?);
            ("clients", sluice.status()?.1.iter().map(BindingRecord::client).collect())
        }
        Some(name) => ("providers", Probe::open(name)?.providers()?.iter().map(BindingRecord::provider).collect()),
    };
    let mut output = anstream::stdout().lock();
    if args.json {
        let record = stats_record(kind, &bindings, rules.as_ref().map(|(counters, rules)| (counters, &rules[..])));
        serde_json::to_writer(&mut output, &record)?;
        writeln!(output)?;
        return Ok(output.flush()?);
    }
    let who = if args.device.is_none() { "Client" } else { "Provider" };
    let mut table = table(&[who, "Packets", "Permitted", "Blocked", "Malformed", "Truncated", "Rejected calls"]);
    for binding in &bindings {
        table.add_row(binding.counters.row(binding.name.as_ref().unwrap_or(&binding.module_id)));
    }
    table.add_row(total(&bindings).row("all attached"));
    align_right(&mut table, &[1, 2, 3, 4, 5, 6]);
    for line in lines(&table) {
        writeln!(output, "{line}")?;
    }
    if let Some((counters, rules)) = &rules {
        for line in rule_lines(counters, rules, usize::MAX) {
            writeln!(output, "{line}")?;
        }
    }
    Ok(output.flush()?)
}

/// The sums of the counters.
fn total(bindings: &[BindingRecord]) -> Counters {
    bindings.iter().fold(Counters::default(), |total, binding| total.plus(binding.counters))
}

/// The counters of `bindings`, which are of this kind, and of the rules, for a program.
fn stats_record(kind: &str, bindings: &[BindingRecord], rules: Option<(&CountersAnswer, &[RuleCounter])>) -> Value {
    let mut record = json!({ "total": total(bindings), kind: bindings });
    if let Some((counters, rules)) = rules {
        record["policy"] = counters_record(counters, rules);
    }
    record
}

/// The counters of all rules, for a program.
fn counters_record(counters: &CountersAnswer, rules: &[RuleCounter]) -> Value {
    json!({
        "generation": counters.generation,
        "default_packets": counters.default_packets,
        "rule_list": rules.iter().map(rule_record).collect::<Vec<_>>(),
    })
}

/// The counter of a rule, for a program.
pub(crate) fn rule_record(rule: &RuleCounter) -> Value {
    json!({ "id": rule.id, "action": rule_action_name(rule.action), "packets": rule.packets })
}

/// The name of what a rule does.
pub(crate) fn rule_action_name(number: u16) -> &'static str {
    match number {
        rule_action::COUNT => "count",
        rule_action::LOG => "log",
        other => action_name(other),
    }
}

/// The rules that matched packets, those with the most first, as many as `most`; nothing if there is no policy.
fn rule_lines(counters: &CountersAnswer, rules: &[RuleCounter], most: usize) -> Vec<String> {
    if counters.rules_total == 0 && counters.default_packets == 0 {
        return Vec::new();
    }
    let busiest = busiest(rules);
    let mut shown = table(&["Rule", "Action", "Packets"]);
    for rule in busiest.iter().take(most) {
        let name = rule_action_name(rule.action);
        shown.add_row(vec![Cell::new(rule.id), action(name), Cell::new(rule.packets)]);
    }
    let default = action(action_name(counters.default_action));
    shown.add_row(vec![Cell::new("default"), default, Cell::new(counters.default_packets)]);
    align_right(&mut shown, &[0, 2]);
    let mut text = vec![String::new()];
    text.extend(lines(&shown));
    if let Some(more @ 1..) = busiest.len().checked_sub(most) {
        text.push(format!("{more} more rules matched packets (sluicectl stats)"));
    }
    let idle = rules.len() - busiest.len();
    if idle > 0 {
        text.push(format!("{idle} rules matched none"));
    }
    text
}

/// The rules that matched packets, those with the most first.
fn busiest(rules: &[RuleCounter]) -> Vec<&RuleCounter> {
    let mut busiest: Vec<_> = rules.iter().filter(|rule| rule.packets > 0).collect();
    busiest.sort_by_key(|rule| Reverse(rule.packets));
    busiest
}

impl PolicyRecord {
    fn count(&mut self, counters: &CountersAnswer, rules: &[RuleCounter]) {
        self.default_packets = counters.default_packets;
        self.busiest = busiest(rules).into_iter().take(BUSIEST).map(rule_record).collect();
        self.rule_lines = rule_lines(counters, rules, BUSIEST);
    }
}

impl BindingRecord {
    fn client(client: &ClientStatus) -> Self {
        let ClientRecord { module_id, name, counters, .. } = ClientRecord::new(client);
        Self { module_id, name: Some(name), generation: None, counters }
    }

    fn provider(provider: &ProviderStatus) -> Self {
        Self {
            module_id: module_id(&provider.module_id),
            name: None,
            generation: Some(provider.generation),
            counters: Counters::from(&provider.statistics),
        }
    }
}

impl StatusRecord {
    fn new(status: &Status, clients: &[ClientStatus]) -> Self {
        let [major, minor, patch, _] = status.driver_version;
        Self {
            driver_version: format!("{major}.{minor}.{patch}"),
            uptime_seconds: seconds(status.uptime),
            policy: PolicyRecord {
                generation: status.generation,
                rules: status.rule_count,
                table_length: status.table_length,
                default: action_name(status.default_action),
                persisted: status.flags & status_flags::PERSISTED != 0,
                persisted_damaged: status.flags & status_flags::PERSISTED_DAMAGED != 0,
                default_packets: 0,
                busiest: Vec::new(),
                dry_run: false,
                rule_lines: Vec::new(),
            },
            clients: clients.iter().map(ClientRecord::new).collect(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let policy = &self.policy;
        let loaded = if policy.table_length == 0 {
            format!("none, default {}", policy.default)
        } else {
            format!("{} rules in {} bytes, default {}", policy.rules, policy.table_length, policy.default)
        };
        let persisted = if policy.persisted { ", persisted" } else { "" };
        let mut text = vec![
            format!("sluice.sys {}, up {}", self.driver_version, duration(self.uptime_seconds)),
            format!("policy: generation {}, {loaded}{persisted}", policy.generation),
        ];
        if policy.persisted_damaged {
            text.push("warning: the persisted policy is damaged and not in force".to_owned());
        }
        if policy.dry_run {
            text.push("another policy is being tried (sluicectl policy dry-run status)".to_owned());
        }
        if self.clients.is_empty() {
            text.push("clients: none".to_owned());
            text.extend_from_slice(&policy.rule_lines);
            return text;
        }
        let mut table = table(&[
            "Client",
            "Version",
            "State",
            "For",
            "Packets",
            "Permitted",
            "Blocked",
            "Malformed",
            "Truncated",
            "Rejected calls",
            "Module id",
        ]);
        for client in &self.clients {
            let color = if client.state == "attached" { AnsiColor::Green } else { AnsiColor::Yellow };
            let mut row = vec![
                Cell::new(if client.name.is_empty() { "-" } else { &client.name }),
                Cell::new(client.version),
                colored(client.state, color),
                Cell::new(duration(client.attached_seconds)),
            ];
            row.extend(client.counters.array().map(Cell::new));
            row.push(Cell::new(&client.module_id));
            table.add_row(row);
        }
        align_right(&mut table, &[1, 4, 5, 6, 7, 8, 9]);
        text.push(String::new());
        text.extend(lines(&table));
        text.extend_from_slice(&policy.rule_lines);
        text
    }
}

impl ClientRecord {
    fn new(client: &ClientStatus) -> Self {
        let length = client.name.iter().position(|byte| *byte == 0).unwrap_or(client.name.len());
        Self {
            module_id: module_id(&client.module_id),
            // The name comes from a driver and goes to a terminal.
            name: String::from_utf8_lossy(&client.name[..length]).replace(char::is_control, "\u{FFFD}"),
            version: client.driver_version,
            state: match client.state {
                client_state::ATTACHED => "attached",
                client_state::DETACHING => "detaching",
                _ => "unknown",
            },
            attached_seconds: seconds(client.attached),
            counters: Counters::from(&client.statistics),
        }
    }
}

impl From<&Statistics> for Counters {
    fn from(statistics: &Statistics) -> Self {
        let Statistics { packets, permitted, blocked, malformed, truncated, rejected_calls, .. } = *statistics;
        Self { packets, permitted, blocked, malformed, truncated, rejected_calls }
    }
}

impl Counters {
    fn array(self) -> [u64; 6] {
        [self.packets, self.permitted, self.blocked, self.malformed, self.truncated, self.rejected_calls]
    }

    fn row(self, name: &str) -> Vec<String> {
        [name.to_owned()].into_iter().chain(self.array().map(|counter| counter.to_string())).collect()
    }

    fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            permitted: self.permitted.wrapping_add(other.permitted),
            blocked: self.blocked.wrapping_add(other.blocked),
            malformed: self.malformed.wrapping_add(other.malformed),
            truncated: self.truncated.wrapping_add(other.truncated),
            rejected_calls: self.rejected_calls.wrapping_add(other.rejected_calls),
        }
    }
}

/// A GUID as Windows writes it, with its first three fields little-endian in memory; a LUID as one number.
pub(crate) fn module_id(id: &ModuleId) -> String {
    let v = &id.value;
    match id.kind {
        module_id_kind::GUID => format!(
            "{{{:08x}-{:04x}-{:04x}-{:02x}{:02x}-{:02x}{:02x}{:02x}{:02x}{:02x}{:02x}}}",
            u32::from_le_bytes([v[0], v[1], v[2], v[3]]),
            u16::from_le_bytes([v[4], v[5]]),
            u16::from_le_bytes([v[6], v[7]]),
            v[8],
            v[9],
            v[10],
            v[11],
            v[12],
            v[13],
            v[14],
            v[15]
        ),
        module_id_kind::IF_LUID => {
            format!("LUID {:#018x}", u64::from_le_bytes([v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]]))
        }
        _ => "unknown".to_owned(),
    }
}

pub(crate) fn seconds(milliseconds: u64) -> f64 {
    Duration::from_millis(milliseconds).as_secs_f64()
}

/// The two largest units of a duration.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    let (days, hours, minutes, seconds) = (whole / 86400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use sluice_control::message::header_of;
    use sluice_npi::action;

    use super::*;
    use crate::documentation::assert_documented;

    fn client(name: &[u8], state: u16) -> ClientStatus {
        let mut padded = [0; 32];
        padded[..name.len()].copy_from_slice(name);
        let mut value = [0; 16];
        value.iter_mut().zip(1..).for_each(|(byte, number)| *byte = number);
        ClientStatus {
            module_id: ModuleId { kind: module_id_kind::GUID, value },
            state,
            reserved: 0,
            driver_version: 3,
            reserved2: 0,
            name: padded,
            attached: 61_500,
            statistics: Statistics {
                header: header_of::<Statistics>(),
                reserved: 0,
                packets: 10,
                permitted: 7,
                blocked: 3,
                malformed: 2,
                truncated: 1,
                rejected_calls: 5,
            },
        }
    }

    fn status() -> Status {
        Status {
            header: header_of::<Status>(),
            flags: status_flags::PERSISTED,
            driver_version: [1, 2, 3, 0],
            uptime: 90_061_000,
            generation: 4,
            table_length: 896,
            rule_count: 2,
            default_action: action::BLOCK,
            reserved: [0; 3],
            clients_total: 2,
            clients_listed: 2,
        }
    }

    fn counters() -> CountersAnswer {
        CountersAnswer {
            header: header_of::<CountersAnswer>(),
            rules_total: 3,
            generation: 4,
            default_packets: 4,
            default_changed: 0,
            default_action: action::BLOCK,
            reserved: 0,
            listed: 3,
        }
    }

    fn rules() -> [RuleCounter; 3] {
        [(10, action::BLOCK, 3), (20, rule_action::LOG, 7), (30, action::PERMIT, 0)]
            .map(|(id, action, packets)| RuleCounter { id, action, reserved: 0, packets, changed: 0 })
    }

    #[test]
    fn json_has_what_the_driver_said() {
        let clients = [client(b"probe", client_state::ATTACHED), client(b"", client_state::DETACHING)];
        let mut record = StatusRecord::new(&status(), &clients);
        record.policy.count(&counters(), &rules());
        let record = serde_json::to_value(record).unwrap();
        assert_documented("status", &record);
        assert_eq!(
            record,
            serde_json::json!({
                "driver_version": "1.2.3",
                "uptime_seconds": 90_061.0,
                "policy": {"generation": 4, "rules": 2, "table_length": 896, "default": "block", "persisted": true,
                    "persisted_damaged": false, "default_packets": 4, "dry_run": false, "busiest": [
                        {"id": 20, "action": "log", "packets": 7}, {"id": 10, "action": "block", "packets": 3}]},
                "clients": [
                    {"module_id": "{04030201-0605-0807-090a-0b0c0d0e0f10}", "name": "probe", "version": 3,
                     "state": "attached", "attached_seconds": 61.5, "packets": 10, "permitted": 7, "blocked": 3,
                     "malformed": 2, "truncated": 1, "rejected_calls": 5},
                    {"module_id": "{04030201-0605-0807-090a-0b0c0d0e0f10}", "name": "", "version": 3,
                     "state": "detaching", "attached_seconds": 61.5, "packets": 10, "permitted": 7, "blocked": 3,
                     "malformed": 2, "truncated": 1, "rejected_calls": 5},
                ],
            })
        );
    }

    #[test]
    fn people_see_the_same_in_columns() {
        let clients = [client(b"probe", client_state::ATTACHED), client(b"", client_state::DETACHING)];
        let lines = StatusRecord::new(&status(), &clients).lines().join("\n");
        let text = anstream::adapter::strip_str(&lines).to_string();
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(text.lines().next(), Some("sluice.sys 1.2.3, up 1 d 1 h"));
        assert_eq!(words[1].join(" "), "policy: generation 4, 2 rules in 896 bytes, default block, persisted");
        assert_eq!(words[4][..6], ["probe", "3", "attached", "1", "min", "1"]);
        assert_eq!(words[5][..3], ["-", "3", "detaching"]);
    }

    #[test]
    fn the_busiest_rules_come_first_and_those_that_match_nothing_are_counted() {
        let words = |most| {
            let text = rule_lines(&counters(), &rules(), most).join("\n");
            let text = anstream::adapter::strip_str(&text).to_string();
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
        };
        let header = ["", "Rule Action Packets", "20 log 7"];
        let rest = ["default block 4", "1 more rules matched packets (sluicectl stats)", "1 rules matched none"];
        assert_eq!(words(1), [&header[..], &rest[..]].concat());
        assert_eq!(words(9)[3..5], ["10 block 3", "default block 4"]);
        let none = CountersAnswer { rules_total: 0, default_packets: 0, ..counters() };
        assert!(rule_lines(&none, &[], 9).is_empty());
        assert_eq!(counters_record(&counters(), &rules())["rule_list"][2], rule_record(&rules()[2]));
    }

    #[test]
    fn programs_get_the_counters_of_clients_rules_and_providers() {
        let counters_of_one = json!({"packets": 10, "permitted": 7, "blocked": 3, "malformed": 2, "truncated": 1,
                                     "rejected_calls": 5});
        let with = |mut record: Value, key: &str, value: Value| {
            record[key] = value;
            record
        };
        let id = "{04030201-0605-0807-090a-0b0c0d0e0f10}";
        let client = client(b"probe", client_state::ATTACHED);
        let (answer, rules) = (counters(), rules());
        let record = stats_record("clients", &[BindingRecord::client(&client)], Some((&answer, &rules)));
        assert_documented("stats", &record);
        let binding = with(counters_of_one.clone(), "module_id", id.into());
        assert_eq!(
            record,
            json!({"total": counters_of_one, "clients": [with(binding.clone(), "name", "probe".into())],
                   "policy": counters_record(&answer, &rules)})
        );
        let ClientStatus { module_id, statistics, .. } = client;
        let provider = ProviderStatus { module_id, reserved: 0, generation: 9, statistics };
        let record = stats_record("providers", &[BindingRecord::provider(&provider)], None);
        assert_documented("stats", &record);
        assert_eq!(record, json!({"total": counters_of_one, "providers": [with(binding, "generation", 9.into())]}));
    }

    #[test]
    fn a_damaged_policy_and_no_clients_are_said() {
        let damaged = Status { flags: status_flags::PERSISTED_DAMAGED, table_length: 0, rule_count: 0, ..status() };
        let lines = StatusRecord::new(&damaged, &[]).lines().join("\n");
        for part in ["none, default block", "damaged and not in force", "clients: none"] {
            assert!(lines.contains(part), "{part}: {lines}");
        }
    }

    #[test]
    fn the_name_of_a_driver_cannot_control_the_terminal() {
        let record = ClientRecord::new(&client(b"\x1b[2Jx\xFF", client_state::ATTACHED));
        assert_eq!(record.name, "\u{FFFD}[2Jx\u{FFFD}");
    }

    #[test]
    fn totals_are_the_sums_of_the_clients() {
        let counters = Counters::from(&client(b"", client_state::ATTACHED).statistics);
        assert_eq!(counters.plus(counters).array(), [20, 14, 6, 4, 2, 10]);
    }

    #[test]
    fn durations_are_as_exact_as_they_are_long() {
        for (seconds, text) in
            [(0.9, "0 s"), (59.0, "59 s"), (61.5, "1 min 1 s"), (3_661.0, "1 h 1 min"), (90_061.0, "1 d 1 h")]
        {
            assert_eq!(duration(seconds), text);
        }
    }
}
