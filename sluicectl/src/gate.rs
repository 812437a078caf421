//! `sluicectl gate`: whether the packets of this machine's network are filtered.

use std::io::Write;
use std::num::NonZeroU32;

use clap::{Args, Subcommand};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use sluice_control::gate::{GateCounters, GateStatus, MAX_SECONDS, flags};

use crate::device::gate::Gate;
use crate::failure::Failure;
use crate::remote;

#[derive(Debug, Subcommand)]
pub(crate) enum GateCommand {
    /// Show whether packets are filtered, and what was counted.
    #[command(after_help = "Examples:\n  sluicectl gate status\n  sluicectl gate status --json")]
    Status(Output),
    /// Begin to filter by the policy in force.
    #[command(after_help = "\
With --for, filtering ends by itself unless the command is given again: without --for it goes on. From a distance, try a
policy that way, since it may block the connection that you work through.

Examples:
  sluicectl gate enable --for 60s
  sluicectl gate enable")]
    Enable {
        /// End by itself after this time: 60s, 5m, 2h; at most a day.
        #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
        time: Option<NonZeroU32>,
        #[command(flatten)]
        output: Output,
    },
    /// Let all packets pass.
    #[command(after_help = "Example:\n  sluicectl gate disable")]
    Disable(Output),
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Output {
    /// Write one JSON object.
    #[arg(long)]
    json: bool,
}

/// A time in seconds.
fn seconds(text: &str) -> Result<NonZeroU32, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    let split = units.iter().find_map(|(unit, seconds)| text.strip_suffix(unit).map(|number| (number, *seconds)));
    let (number, unit) = split.ok_or("expected a number with s, m or h behind it, such as 60s")?;
    let count: u32 = number.parse().map_err(|_| format!("expected a whole number, found `{number}`"))?;
    let seconds = count.checked_mul(unit).filter(|seconds| *seconds <= MAX_SECONDS);
    seconds.and_then(NonZeroU32::new).ok_or_else(|| "expected 1s to 24h".to_owned())
}

/// The answer of the driver, as JSON.
#[derive(Debug, Serialize)]
struct GateRecord {
    enabled: bool,
    /// For how many seconds more; absent without an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_seconds: Option<f64>,
    attached: bool,
    when_no_sluice: &'static str,
    on_malformed: &'static str,
    reports_blocked: bool,
    judges_loopback: bool,
    judged: &'static str,
    #[serde(flatten, serialize_with = "by_name")]
    counters: GateCounters,
}

fn by_name<S: Serializer>(counters: &GateCounters, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    for (name, count) in GateCounters::NAMES.iter().zip(counters.to_array()) {
        map.serialize_entry(name, &count)?;
    }
    map.end()
}

impl From<GateStatus> for GateRecord {
    fn from(status: GateStatus) -> Self {
        let is_set = |flag| status.flags & flag != 0;
        let treatment = |flag| if is_set(flag) { "block" } else { "permit" };
        Self {
            enabled: is_set(flags::ENABLED),
            remaining_seconds: (status.remaining_ms > 0).then(|| status.remaining_ms as f64 / 1000.0),
            attached: is_set(flags::ATTACHED),
            when_no_sluice: treatment(flags::BLOCKS_WHEN_NO_SLUICE),
            on_malformed: treatment(flags::BLOCKS_MALFORMED),
            reports_blocked: is_set(flags::REPORTS_BLOCKED),
            judges_loopback: is_set(flags::JUDGES_LOOPBACK),
            judged: if is_set(flags::JUDGES_FRAMES) { "ethernet" } else { "ip" },
            counters: status.counters,
        }
    }
}

impl GateRecord {
    /// The same for people.
    fn lines(&self) -> Vec<String> {
        let filters = match (self.enabled, self.remaining_seconds) {
            (false, _) => "no: all packets pass (begin with: sluicectl gate enable)".to_owned(),
            (true, None) => "yes".to_owned(),
            (true, Some(seconds)) => {
                format!("yes, for {seconds:.0} s more (go on with: sluicectl gate enable)")
            }
        };
        let sluice = match (self.attached, self.when_no_sluice) {
            (true, _) => "attached".to_owned(),
            (false, "block") => "not attached: all packets are blocked".to_owned(),
            (false, _) => "not attached: all packets are permitted".to_owned(),
        };
        let loopback = if self.judges_loopback { "filtered" } else { "left alone" };
        let judged = if self.judged == "ethernet" { "Ethernet frames" } else { "IP packets" };
        let told = if self.reports_blocked { "are told by an error" } else { "are not told" };
        let GateCounters {
            lists,
            blocked_lists,
            mixed_lists,
            permitted,
            blocked,
            malformed,
            unanswered,
            without_memory,
        } = self.counters;
        let mut lines = vec![
            format!("Filters      {filters}"),
            format!("Sluice       {sluice}"),
            format!("Judged       {judged}"),
            format!("Unreadable   {}", self.on_malformed),
            format!("Loopback     {loopback}"),
            format!("Senders      {told}"),
            format!(
                "Packets      {permitted} permitted, {blocked} blocked, {malformed} unreadable, {unanswered} while \
                 Sluice was not attached"
            ),
            format!(
                "Lists        {lists}, of which {blocked_lists} were blocked, {mixed_lists} with packets in them that \
                 the policy permits"
            ),
        ];
        if without_memory > 0 {
            lines.push(format!("             {without_memory} more were not read for a lack of memory"));
        }
        lines
    }
}

pub(crate) fn run(command: GateCommand) -> Result<(), Failure> {
    let (status, output) = match command {
        GateCommand::Status(output) => (Gate::open()?.status()?, output),
        GateCommand::Enable { time, output } => {
            let gate = Gate::open_to_change()?;
            remote::warn_before_enabling(&gate.status()?);
            (gate.enable(time.map(NonZeroU32::get))?, output)
        }
        GateCommand::Disable(output) => (Gate::open_to_change()?.disable()?, output),
    };
    let record = GateRecord::from(status);
    let text = if output.json { serde_json::to_string(&record)? } else { record.lines().join("\n") };
    let mut stdout = anstream::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}

#[cfg(test)]
mod tests {
    use sluice_control::message::header_of;

    use super::*;
    use crate::documentation::assert_documented;

    #[test]
    fn a_time_has_a_unit_and_is_at_most_a_day() {
        let read = |text| seconds(text).map(NonZeroU32::get);
        assert_eq!(["60s", "5m", "24h"].map(read), [Ok(60), Ok(300), Ok(MAX_SECONDS)]);
        for (text, error) in [
            ("60", "expected a number with s, m or h behind it, such as 60s"),
            ("-1s", "expected a whole number, found `-1`"),
            ("0s", "expected 1s to 24h"),
            ("25h", "expected 1s to 24h"),
            ("4294967295h", "expected 1s to 24h"),
        ] {
            assert_eq!(read(text), Err(error.to_owned()), "{text}");
        }
    }

    fn status(flags: u32, remaining_ms: u64) -> GateRecord {
        let counters = GateCounters { lists: 9, blocked: 2, ..GateCounters::default() };
        GateStatus { header: header_of::<GateStatus>(), flags, remaining_ms, counters }.into()
    }

    #[test]
    fn what_is_done_without_sluice_is_said() {
        let first = |record: GateRecord| record.lines()[..2].join("; ");
        let filters = first(status(flags::ENABLED | flags::BLOCKS_WHEN_NO_SLUICE, 59_400));
        assert!(filters.contains("for 59 s more") && filters.contains("all packets are blocked"), "{filters}");
        let nothing = first(status(0, 0));
        assert!(nothing.contains("no: all packets pass") && nothing.contains("are permitted"), "{nothing}");
        assert!(!first(status(flags::ENABLED | flags::ATTACHED, 0)).contains("more"));
    }

    #[test]
    fn every_member_is_documented() {
        for command in ["gate status", "gate enable", "gate disable"] {
            assert_documented(command, &serde_json::to_value(status(flags::ENABLED, 1)).unwrap());
        }
    }
}
