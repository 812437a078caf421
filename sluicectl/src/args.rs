//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;
use sluice_control::name::PROBE;
use sluice_core::Direction;

use crate::gate::GateCommand;
use crate::terms::{TCP_FLAGS, ether_type_number, protocol_number};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the machine is not ready: a driver is not loaded, or access is denied
  2  the input is wrong: the arguments, a policy or a capture";

/// The driver's limit for the size of a table, unless it is told otherwise, in bytes.
const TABLE_LIMIT: usize = 64 << 20;

/// Controls the Sluice driver and classifies packets with it.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// When to use colours.
    #[arg(long, value_enum, default_value_t = ColorChoice::Auto, global = true, value_name = "WHEN")]
    pub(crate) color: ColorChoice,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal.
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the driver, the policy in force and the clients.
    Status(StatusArgs),
    /// Show the counters of all clients together and of each.
    Stats(StatsArgs),
    /// Show the packets that rules log, as they come.
    Watch(WatchArgs),
    /// Check, test, try, load, show or clear a policy.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Classify the packets of a capture file.
    Classify(ClassifyArgs),
    /// Filter the packets of this machine's network, or show whether that is done.
    #[command(subcommand)]
    Gate(GateCommand),
    /// Exercise the drivers in every order and under load, round after round, and report (Windows only).
    Verify(VerifyArgs),
    /// Write a manual page for each command.
    #[command(after_help = "Example:\n  sluicectl man /usr/local/share/man/man1")]
    Man {
        /// The folder to write them to.
        folder: PathBuf,
    },
    /// Print a script that completes the arguments of sluicectl in a shell.
    #[command(after_help = "Example:\n  sluicectl completions powershell >> $PROFILE")]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sluicectl status\n  sluicectl status --watch\n  sluicectl status --watch 5 --json"
)]
pub(crate) struct StatusArgs {
    /// Repeat at this interval until interrupted.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1",
          value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) watch: Option<u64>,
    /// Write one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sluicectl stats\n  sluicectl stats --device probe --json")]
pub(crate) struct StatsArgs {
    /// Ask the client driver with this service name instead: its counters for each provider it is attached to.
    #[arg(long, value_name = "NAME")]
    pub(crate) device: Option<String>,
    /// Write one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A rule that logs much is limited to ten packets a second; what was left out is said with the next one. All of them are
counted (sluicectl stats).

Examples:
  sluicectl watch
  sluicectl watch --rule 20 --json
  sluicectl watch --recent --seconds 0")]
pub(crate) struct WatchArgs {
    /// Show only what the rule with this id logs; may be given several times.
    #[arg(long, value_name = "ID")]
    pub(crate) rule: Vec<u32>,
    /// Begin with the packets that the driver still has, up to 256.
    #[arg(long)]
    pub(crate) recent: bool,
    /// End after this time.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) seconds: Option<u64>,
    /// Write one JSON object per packet.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DryRunCommand {
    /// Try a policy, in place of the one that is being tried.
    #[command(after_help = "Example:\n  sluicectl policy dry-run start office.toml")]
    Start {
        /// The policy, in TOML (docs/policy.md).
        file: PathBuf,
        /// Write one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show what the policy that is being tried would change.
    #[command(after_help = "Example:\n  sluicectl policy dry-run status --json")]
    Status {
        /// Write one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Stop trying a policy.
    #[command(after_help = "Example:\n  sluicectl policy dry-run stop")]
    Stop {
        /// Write one JSON object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check a policy file, without a driver.
    #[command(
        after_help = "Examples:\n  sluicectl policy check office.toml --strict\n  sluicectl policy check - --json < \
         office.toml"
    )]
    Check(CheckArgs),
    /// Put a policy in force. If anything is wrong with it, the previous policy stays in force.
    #[command(
        after_help = "Examples:\n  sluicectl policy load office.toml\n  sluicectl policy load office.toml --persist\n  \
         sluicectl policy load --from-dry-run"
    )]
    Load {
        /// The policy, in TOML (docs/policy.md).
        #[arg(required_unless_present = "from_dry_run", conflicts_with = "from_dry_run")]
        file: Option<PathBuf>,
        /// Put the policy in force that is being tried, just as it is. That ends the dry run.
        #[arg(long)]
        from_dry_run: bool,
        /// Persist the policy: the driver starts with it from now on.
        #[arg(long)]
        persist: bool,
        /// Write one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Try a policy beside the one in force: say what it would change, and change nothing.
    #[command(subcommand)]
    DryRun(DryRunCommand),
    /// Show the policy in force: its default, and its rules in the order in which they are tried.
    #[command(after_help = "Examples:\n  sluicectl policy show\n  sluicectl policy show --compare office.toml")]
    Show {
        /// Also compare it with the policy in this file; the exit code is 1 if they differ.
        #[arg(long, value_name = "FILE")]
        compare: Option<PathBuf>,
        /// Write one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Clear the policy: from now on every packet is permitted.
    #[command(after_help = "Example:\n  sluicectl policy clear --persist")]
    Clear {
        /// Also delete the persisted policy.
        #[arg(long)]
        persist: bool,
        /// Write one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show which rule of a policy file decides on a packet, and why, without a driver.
    #[command(after_help = "\
Examples:
  sluicectl policy test office.toml --protocol tcp --destination 192.0.2.1 --destination-port 443
  sluicectl policy test office.toml --protocol udp --destination 192.0.2.53 --name www.example.com
  sluicectl policy test office.toml --capture trace.pcap --packet 7
  sluicectl policy test office.toml --expect office-tests.toml")]
    Test(TestArgs),
    /// Write the rules of another firewall as a policy, and list those that cannot be expressed.
    #[command(after_help = "\
Examples:
  iptables-save | sluicectl policy import iptables - > host.toml
  nft --json list ruleset | sluicectl policy import nftables - --chain input > host.toml
  sluicectl policy import windows rules.reg > host.toml")]
    Import(ImportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// What the file is.
    #[arg(value_enum)]
    pub(crate) format: ImportFormat,
    /// The file; - is standard input.
    pub(crate) file: PathBuf,
    /// The chain to import (iptables, nftables).
    #[arg(long, value_name = "NAME", default_value = "INPUT")]
    pub(crate) chain: String,
    /// Fail if a rule cannot be expressed: exit code 2.
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportFormat {
    /// What nft --json list ruleset writes.
    Nftables,
    /// What iptables-save or ip6tables-save writes.
    Iptables,
    /// A registry export of the key FirewallRules of Windows Defender Firewall.
    Windows,
    /// A filter set of ClassBench.
    Classbench,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The policy, in TOML (docs/policy.md); - is standard input.
    pub(crate) file: PathBuf,
    /// Fail if there are warnings as well: exit code 2.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Warn of a table with more bytes than this: the driver's limit, 64 MiB unless its registry value TableLimit says
    /// otherwise.
    #[arg(long, value_name = "BYTES", default_value_t = TABLE_LIMIT)]
    pub(crate) limit: usize,
    /// Write one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The policy, in TOML (docs/policy.md).
    pub(crate) file: PathBuf,
    /// Take the packets from this pcap or pcapng file.
    #[arg(long, value_name = "FILE", conflicts_with = "Described")]
    pub(crate) capture: Option<PathBuf>,
    /// Take only the packet with this number, counted from 1.
    #[arg(long, value_name = "NUMBER", requires = "capture", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) packet: Option<u64>,
    /// Compare the verdicts on the packets that this TOML file describes with those that it expects (docs/policy.md).
    /// The exit code is 1 if one differs.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["capture", "Described", "direction", "rule"])]
    pub(crate) expect: Option<PathBuf>,
    /// Also say of the rule with this id which of its conditions are met.
    #[arg(long, value_name = "ID")]
    pub(crate) rule: Option<u32>,
    #[command(flatten)]
    pub(crate) described: Described,
    /// Which way the packet goes.
    #[arg(long, value_enum)]
    pub(crate) direction: Option<DirectionArg>,
    /// Write one JSON object per packet.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A packet described by its fields.
#[derive(Clone, Debug, Default, Args)]
#[group(multiple = true)]
pub(crate) struct Described {
    /// The protocol: a name such as tcp, or an IANA protocol number.
    #[arg(long, value_parser = protocol)]
    pub(crate) protocol: Option<u8>,
    /// The source address.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) source: Option<IpAddr>,
    /// The destination address.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) destination: Option<IpAddr>,
    /// The source port.
    #[arg(long, value_name = "PORT")]
    pub(crate) source_port: Option<u16>,
    /// The destination port.
    #[arg(long, value_name = "PORT")]
    pub(crate) destination_port: Option<u16>,
    /// The host name that the packet asks for, in a DNS question (udp) or a TLS ClientHello (tcp).
    #[arg(long, value_name = "HOST")]
    pub(crate) name: Option<String>,
    /// Where the name is instead.
    #[arg(long, value_enum, value_name = "KIND", requires = "name")]
    pub(crate) name_kind: Option<NameKindArg>,
    /// The TCP flags that are set, with commas between them: such as syn,ack.
    #[arg(long, value_name = "FLAGS", value_delimiter = ',', value_parser = tcp_flag)]
    pub(crate) tcp_flags: Option<Vec<u8>>,
    /// Which fragment of a packet it is.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) fragment: Option<FragmentArg>,
    /// The packet contradicts itself.
    #[arg(long)]
    pub(crate) malformed: bool,
    /// The packet was captured only in part.
    #[arg(long)]
    pub(crate) truncated: bool,
    /// The EtherType of a packet that is not IP: a name such as arp, or a number.
    #[arg(long, value_name = "TYPE", value_parser = ether_type,
          conflicts_with_all = ["protocol", "source", "destination", "source_port", "destination_port", "name", "icmp",
                                "tcp_flags", "fragment"])]
    pub(crate) ether_type: Option<u16>,
    /// The id of the VLAN tag.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(0..=4095))]
    pub(crate) vlan: Option<u16>,
    /// The ICMP type, or the type and code as TYPE/CODE.
    #[arg(long, value_name = "TYPE", value_parser = icmp)]
    pub(crate) icmp: Option<(u8, u8)>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicectl classify trace.pcap
  sluicectl classify trace.pcapng --json
  sluicectl classify trace.pcap --offline --policy office.toml
  tcpdump -w - | sluicectl classify - --offline")]
pub(crate) struct ClassifyArgs {
    /// A pcap or pcapng file; - is the standard input.
    pub(crate) file: PathBuf,
    /// Classify in this program instead of in the driver.
    #[arg(long)]
    pub(crate) offline: bool,
    /// The policy for --offline; without one, every packet is permitted.
    #[arg(long, value_name = "FILE", requires = "offline")]
    pub(crate) policy: Option<PathBuf>,
    /// The service name of the client driver to classify with.
    #[arg(long, value_name = "NAME", default_value = PROBE, conflicts_with = "offline")]
    pub(crate) device: String,
    /// Which way the packets go; by default, what the capture says.
    #[arg(long, value_enum)]
    pub(crate) direction: Option<DirectionArg>,
    /// Show only the totals, and how many packets each rule decided on.
    #[arg(long)]
    pub(crate) summary: bool,
    /// Write one JSON object per packet, each on a line of its own.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Starts and stops both drivers in every order, classifies the capture and compares the verdicts with those of --offline,
swaps policies and restarts the provider while several threads classify, and compares the counters. Stops at the first
failure, undoes what it did, and prints one report. Needs an elevated prompt.

Examples:
  sluicectl verify --drivers C:\\sluice --capture demo.pcapng --policy demo.toml --rounds 100
  sluicectl verify --existing --capture demo.pcapng --policy demo.toml --json > report.json")]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub(crate) struct VerifyArgs {
    /// The folder of sluice.sys and the client driver. Their services are created, and deleted at the end.
    #[arg(long, value_name = "FOLDER", group = "which")]
    pub(crate) drivers: Option<PathBuf>,
    /// Verify the installed drivers. They must not be running.
    #[arg(long, group = "which")]
    pub(crate) existing: bool,
    /// A pcap or pcapng file. It is read into memory whole.
    #[arg(long, value_name = "FILE")]
    pub(crate) capture: PathBuf,
    /// The policy, in TOML (docs/policy.md).
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// How many rounds. A round starts and stops the drivers in each of the four orders.
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// How many threads classify at once; by default one per processor, but at least 2 and at most 8.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) threads: Option<u8>,
    /// The service name of the client driver, which is also the name of its file.
    #[arg(long, value_name = "NAME", default_value = PROBE)]
    pub(crate) client: String,
    /// Verify gate.sys as well: it filters the packets of this machine by the policy, as long as that takes.
    #[arg(long)]
    pub(crate) gate: bool,
    /// Driver Verifier simulates low resources: what ends for lack of memory does not count as a failure.
    #[arg(long)]
    pub(crate) low_resources: bool,
    /// Write one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NameKindArg {
    /// In a DNS question.
    Dns,
    /// In a TLS ClientHello.
    Tls,
    /// In the Host of an HTTP request.
    Http,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FragmentArg {
    /// The one with the transport header.
    First,
    /// One of the others.
    Later,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DirectionArg {
    /// Towards this machine.
    Inbound,
    /// Away from this machine.
    Outbound,
    /// Unknown: rules with a direction do not match.
    Unspecified,
}

impl DirectionArg {
    /// One of [`sluice_npi::direction`].
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::Inbound => Direction::Inbound,
            Self::Outbound => Direction::Outbound,
            Self::Unspecified => Direction::Unspecified,
        }
        .number()
    }
}

/// The bit of a TCP flag.
pub(crate) fn tcp_flag(text: &str) -> Result<u8, String> {
    let position = TCP_FLAGS.iter().position(|known| known.eq_ignore_ascii_case(text));
    position.map(|bit| 1 << bit).ok_or_else(|| format!("expected flags of {}", TCP_FLAGS.join(", ")))
}

pub(crate) fn ether_type(text: &str) -> Result<u16, String> {
    let hexadecimal = text.strip_prefix("0x").and_then(|digits| u16::from_str_radix(digits, 16).ok());
    let known =
        text.parse().ok().or(hexadecimal).filter(|number| *number >= 0x0600).or_else(|| ether_type_number(text));
    known.ok_or_else(|| "expected an EtherType from 0x0600 to 0xFFFF or a name such as arp".to_owned())
}

pub(crate) fn protocol(text: &str) -> Result<u8, String> {
    let known = text.parse().ok().or_else(|| protocol_number(text));
    known
        .ok_or_else(|| "expected a number from 0 to 255 or the name of a protocol, such as tcp, udp or icmp".to_owned())
}

pub(crate) fn icmp(text: &str) -> Result<(u8, u8), String> {
    let (kind, code) = text.split_once('/').unwrap_or((text, "0"));
    let byte = |text: &str| {
        text.parse().map_err(|_| "expected a type from 0 to 255, or type and code, such as 8 or 3/4".to_owned())
    };
    Ok((byte(kind)?, byte(code)?))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::documentation::section;

    /// The words of each command that can write JSON.
    fn with_json(command: &clap::Command, words: &str) -> Vec<String> {
        let this = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
        let below = command.get_subcommands();
        let below = below.flat_map(|below| with_json(below, &format!("{words} {}", below.get_name())));
        this.then(|| words.trim_start().to_owned()).into_iter().chain(below).collect()
    }

    #[test]
    fn the_json_of_every_command_is_documented() {
        let commands = with_json(&Cli::command(), "");
        assert!(commands.iter().any(|command| command == "policy dry-run stop"), "{commands:?}");
        for command in commands {
            assert!(!section(&command).is_empty(), "no page has \"`{command} --json` writes\"");
        }
    }

    #[test]
    fn the_limit_is_that_of_the_driver() {
        assert_eq!(TABLE_LIMIT, sluice_engine::DEFAULT_TABLE_LIMIT);
    }
}
