//! `sluicectl classify`: a capture, packet by packet, with the verdict on each.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sluice_npi::{MAX_BATCH, Verdict};

use crate::args::{ClassifyArgs, DirectionArg};
use crate::capture::{Capture, RecordedPacket};
use crate::device::{Probe, size_in_batch};
use crate::failure::Failure;
use crate::offline::Offline;
use crate::policy;
use crate::record::Record;
use crate::table::{PacketTable, align_right, lines, table};

/// How many bytes a batch may have, unless a single packet is larger.
const BATCH_BYTES: usize = 1 << 20;

/// Who classifies.
enum Classifier {
    Driver(Probe),
    InProcess(Box<Offline>),
}

impl Classifier {
    /// Adds the packets that rules count or log to `rules`, as far as that can be known.
    fn classify(&self, packets: &[RecordedPacket], rules: &mut BTreeMap<u32, u64>) -> Result<Vec<Verdict>, Failure> {
        match self {
            Self::Driver(probe) => probe.classify(packets),
            Self::InProcess(offline) => {
                let mut count = |packet| offline.classify_observed(packet, |id, _| *rules.entry(id).or_default() += 1);
                packets.iter().map(&mut count).collect()
            }
        }
    }
}

pub(crate) fn run(args: &ClassifyArgs) -> Result<(), Failure> {
    // Errors in the files come before anything is asked of a driver.
    let mut capture = Capture::open(&args.file)?;
    let classifier = if args.offline {
        let policy = args.policy.as_deref().map(policy::load).transpose()?;
        Classifier::InProcess(Box::new(Offline::new(policy)?))
    } else {
        Classifier::Driver(Probe::open(&args.device)?)
    };
    let progress = progress(args);
    let mut report = Report::new(args);
    let outcome = classify(&mut capture, &classifier, args.direction, &progress, &mut report);
    progress.finish_and_clear();
    report.summary.left_out = capture.left_out().clone();
    let outcome = outcome.and_then(|()| capture.check_left_out());
    if outcome.is_ok() || report.summary.packets > 0 {
        report.finish()?;
    }
    outcome
}

/// Classifies and reports all packets, up to the end of the capture or the first failure.
fn classify(
    capture: &mut Capture,
    classifier: &Classifier,
    direction: Option<DirectionArg>,
    progress: &ProgressBar,
    report: &mut Report,
) -> Result<(), Failure> {
    loop {
        let (packets, end) = next_batch(capture, direction.map(DirectionArg::number));
        if !packets.is_empty() {
            let start = Instant::now();
            let verdicts = classifier.classify(&packets, &mut report.summary.rules)?;
            report.summary.time += start.elapsed();
            report.batch(&packets, &verdicts)?;
        }
        progress.set_position(capture.file_position());
        if let Some(end) = end {
            return end;
        }
    }
}

/// The next packets, and how the capture ends if it ends after them.
pub(crate) fn next_batch(
    capture: &mut Capture,
    direction: Option<u16>,
) -> (Vec<RecordedPacket>, Option<Result<(), Failure>>) {
    let mut packets = Vec::new();
    let mut bytes = 0;
    while packets.len() < MAX_BATCH as usize && bytes < BATCH_BYTES {
        // Packets of a live capture do not wait for those after them.
        let next = if packets.is_empty() { capture.next() } else { capture.next_in_buffer() };
        match next {
            Some(Ok(mut packet)) => {
                packet.direction = direction.unwrap_or(packet.direction);
                bytes += size_in_batch(&packet);
                packets.push(packet);
            }
            Some(Err(failure)) => return (packets, Some(Err(failure))),
            None => return (packets, capture.has_ended().then_some(Ok(()))),
        }
    }
    (packets, None)
}

/// A progress bar, unless the packets themselves are shown on the terminal.
fn progress(args: &ClassifyArgs) -> ProgressBar {
    let length = std::fs::metadata(&args.file).map_or(0, |metadata| metadata.len());
    let wanted = length > 0 && (args.summary || !io::stdout().is_terminal());
    let target = if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {eta}");
    ProgressBar::with_draw_target(Some(length), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Writes the packets in the form asked for.
struct Report {
    json: bool,
    packets: bool,
    output: Box<dyn Write>,
    table: PacketTable,
    summary: Summary,
}

#[derive(Default)]
struct Summary {
    packets: u64,
    permitted: u64,
    blocked: u64,
    malformed: u64,
    truncated: u64,
    generation: Option<u64>,
    /// How many packets each rule decided on, counted or logged, by its id; 0 is the default.
    rules: BTreeMap<u32, u64>,
    /// Packets of link types that are not supported, by link type.
    left_out: BTreeMap<u32, u64>,
    /// The time that classification took, without reading and writing.
    time: Duration,
}

impl Report {
    fn new(args: &ClassifyArgs) -> Self {
        let output: Box<dyn Write> = Box::new(io::BufWriter::new(anstream::stdout().lock()));
        Self {
            json: args.json,
            packets: !args.summary,
            output,
            table: PacketTable::default(),
            summary: Summary::default(),
        }
    }

    fn batch(&mut self, packets: &[RecordedPacket], verdicts: &[Verdict]) -> Result<(), Failure> {
        let records: Vec<_> =
            packets.iter().zip(verdicts).map(|(packet, verdict)| Record::new(packet, verdict)).collect();
        self.summary.count(&records, verdicts);
        if !self.packets {
            return Ok(());
        }
        if self.json {
            for record in &records {
                serde_json::to_writer(&mut self.output, record)?;
                writeln!(self.output)?;
            }
        } else {
            for line in self.table.lines(&records) {
                writeln!(self.output, "{line}")?;
            }
        }
        Ok(self.output.flush()?)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        if self.packets && !self.json {
            writeln!(self.output)?;
        }
        if self.json && !self.packets {
            serde_json::to_writer(&mut self.output, &self.summary.json())?;
            writeln!(self.output)?;
        } else if !self.json {
            if !self.packets {
                self.summary.rule_lines().iter().try_for_each(|line| writeln!(self.output, "{line}"))?;
            }
            writeln!(self.output, "{}", self.summary.text())?;
        }
        Ok(self.output.flush()?)
    }
}

impl Summary {
    fn count(&mut self, records: &[Record], verdicts: &[Verdict]) {
        self.packets += records.len() as u64;
        self.generation = verdicts.last().map(|verdict| verdict.generation).or(self.generation);
        for record in records {
            self.permitted += u64::from(record.action == "permit");
            self.blocked += u64::from(record.action == "block");
            self.malformed += u64::from(record.contents.malformed);
            self.truncated += u64::from(record.contents.truncated);
            *self.rules.entry(record.rule.unwrap_or(0)).or_default() += 1;
        }
    }

    /// How many packets each rule matched, those with the most first.
    fn rule_lines(&self) -> Vec<String> {
        let mut rules: Vec<_> = self.rules.iter().collect();
        rules.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let mut table = table(&["Rule", "Packets"]);
        for (id, count) in rules {
            let rule = if *id == 0 { "default".to_owned() } else { id.to_string() };
            table.add_row([rule, count.to_string()]);
        }
        align_right(&mut table, &[0, 1]);
        lines(&table).into_iter().chain([String::new()]).collect()
    }

    fn text(&self) -> String {
        let generation = self.generation.map_or_else(String::new, |number| format!(", policy generation {number}"));
        format!(
            "{} packets: {} permitted, {} blocked; {} malformed, {} truncated; classified in {:.1?}{generation}",
            self.packets, self.permitted, self.blocked, self.malformed, self.truncated, self.time
        )
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "packets": self.packets,
            "permitted": self.permitted,
            "blocked": self.blocked,
            "malformed": self.malformed,
            "truncated": self.truncated,
            "rules": self.rules,
            "left_out": self.left_out,
            "generation": self.generation,
            "seconds": self.time.as_secs_f64(),
        })
    }
}
