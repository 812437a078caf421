//! `sluicectl status` and `sluicectl stats`: what the driver says of itself and of its clients.

use std::{
    io::{self, IsTerminal, Write},
    thread,
    time::Duration,
};

use comfy_table::{Cell, Color};
use serde::Serialize;
use sluice_control::message::{Client, ModuleId, Provider, Status, client_state, module_id_kind, status_flags};
use sluice_npi::Statistics;

use crate::{
    args::{StatsArgs, StatusArgs},
    device::{Probe, Sluice},
    failure::Failure,
    record::action_name,
    table::{align_right, lines, table},
};

/// The whole answer of the driver, as JSON.
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
    /// When the driver started, the policy that had been kept was damaged.
    persisted_damaged: bool,
}

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
    let Some(seconds) = args.watch else { return show(args.json, false) };
    loop {
        show(args.json, !args.json && io::stdout().is_terminal())?;
        thread::sleep(Duration::from_secs(seconds));
    }
}

/// Shows the status once, on a cleared screen if `refresh`.
fn show(json: bool, refresh: bool) -> Result<(), Failure> {
    let (status, clients) = Sluice::open()?.status()?;
    let record = StatusRecord::new(&status, &clients);
    // Written at once, so that a refreshed screen does not flicker.
    let mut text = String::new();
    if json {
        text = serde_json::to_string(&record)?;
        text.push('\n');
    } else {
        if refresh {
            text.push_str("\x1b[H\x1b[2J");
        }
        for line in record.lines() {
            text.push_str(&line);
            text.push('\n');
        }
    }
    let mut output = anstream::stdout().lock();
    output.write_all(text.as_bytes())?;
    Ok(output.flush()?)
}

/// The counters of one binding.
#[derive(Debug, Serialize)]
struct BindingRecord {
    module_id: String,
    /// The name of a client; a provider has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The generation that a provider announced last.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(flatten)]
    counters: Counters,
}

pub(crate) fn stats(args: &StatsArgs) -> Result<(), Failure> {
    let (kind, bindings): (_, Vec<_>) = match &args.device {
        None => ("clients", Sluice::open()?.status()?.1.iter().map(BindingRecord::client).collect()),
        Some(name) => ("providers", Probe::open(name)?.providers()?.iter().map(BindingRecord::provider).collect()),
    };
    let total = bindings.iter().fold(Counters::default(), |total, binding| total.plus(binding.counters));
    let mut output = anstream::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut output, &serde_json::json!({ "total": total, kind: bindings }))?;
        writeln!(output)?;
        return Ok(output.flush()?);
    }
    let who = if args.device.is_none() { "Client" } else { "Provider" };
    let mut table = table(&[who, "Packets", "Permitted", "Blocked", "Malformed", "Truncated", "Rejected calls"]);
    for binding in &bindings {
        table.add_row(binding.counters.row(binding.name.as_ref().unwrap_or(&binding.module_id)));
    }
    table.add_row(total.row("all attached"));
    align_right(&mut table, &[1, 2, 3, 4, 5, 6]);
    for line in lines(&table) {
        writeln!(output, "{line}")?;
    }
    Ok(output.flush()?)
}

impl BindingRecord {
    fn client(client: &Client) -> Self {
        let ClientRecord { module_id, name, counters, .. } = ClientRecord::new(client);
        Self { module_id, name: Some(name), generation: None, counters }
    }

    fn provider(provider: &Provider) -> Self {
        Self {
            module_id: module_id(&provider.module_id),
            name: None,
            generation: Some(provider.generation),
            counters: Counters::from(&provider.statistics),
        }
    }
}

impl StatusRecord {
    fn new(status: &Status, clients: &[Client]) -> Self {
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
        let persisted = if policy.persisted { ", kept across restarts" } else { "" };
        let mut text = vec![
            format!("sluice.sys {}, up {}", self.driver_version, duration(self.uptime_seconds)),
            format!("policy: generation {}, {loaded}{persisted}", policy.generation),
        ];
        if policy.persisted_damaged {
            text.push(
                "warning: the policy that was kept across the last restart is damaged and not in force".to_owned(),
            );
        }
        if self.clients.is_empty() {
            text.push("clients: none".to_owned());
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
            let color = if client.state == "attached" { Color::Green } else { Color::Yellow };
            let mut row = vec![
                Cell::new(&client.name),
                Cell::new(client.version),
                Cell::new(client.state).fg(color),
                Cell::new(duration(client.attached_seconds)),
            ];
            row.extend(client.counters.array().map(Cell::new));
            row.push(Cell::new(&client.module_id));
            table.add_row(row);
        }
        align_right(&mut table, &[1, 4, 5, 6, 7, 8, 9]);
        text.push(String::new());
        text.extend(lines(&table));
        text
    }
}

impl ClientRecord {
    fn new(client: &Client) -> Self {
        let length = client.name.iter().position(|byte| *byte == 0).unwrap_or(client.name.len());
        Self {
            module_id: module_id(&client.module_id),
            // What a driver calls itself goes to a terminal.
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
fn module_id(id: &ModuleId) -> String {
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

fn seconds(milliseconds: u64) -> f64 {
    Duration::from_millis(milliseconds).as_secs_f64()
}

/// Days, hours, minutes and seconds, without the leading ones that are 0.
fn duration(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    let (days, hours, minutes, seconds) = (whole / 86400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}
