//! Wrong input, and a machine that is not ready for a command: the answer is clear, the exit code is 2 for the former
//! and 1 for the latter, and the drivers live on.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rstest::rstest;
use sluice_rig::Rig;
use system_tests::storm::storm;
use system_tests::{BOTH, C, Clients, RUST, end, hostile, machine, sluicectl, sluicectl_ok, started, verdicts_offline};

/// Runs sluicectl, which has to end with that exit code and name all of `words` on its standard error.
fn fails(rig: &Rig, code: i32, arguments: &[&str], words: &[&str]) -> Result<()> {
    let outcome = sluicectl(rig, arguments)?;
    assert_eq!(outcome.code, Some(code), "{}: {}", outcome.line, outcome.stderr);
    for word in words {
        assert!(outcome.stderr.contains(word), "`{}` does not say `{word}`: {}", outcome.line, outcome.stderr);
    }
    Ok(())
}

/// Puts a file of that content into `C:\rig`.
fn write(rig: &Rig, name: &str, content: &[u8]) -> Result<()> {
    fs::write(rig.file(name), content).with_context(|| format!("cannot write {name}"))
}

#[rstest]
fn without_drivers_commands_end_with_1_and_say_what_to_start(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = machine("no-driver")?;
    fails(&rig, 1, &["status"], &["sluice"])?;
    fails(&rig, 1, &["policy", "load", "demo.toml"], &["sluice"])?;
    fails(&rig, 1, &["classify", "demo.pcapng"], &["probe"])?;
    fails(&rig, 1, &["classify", "--device", "nowhere", "demo.pcapng"], &["nowhere"])?;
    // A client without a provider is not enough either.
    clients.start(&rig)?;
    clients
        .names()
        .iter()
        .try_for_each(|client| fails(&rig, 1, &["classify", "--device", client, "demo.pcapng"], &["sluice"]))
}

#[rstest]
fn wrong_files_end_with_2_and_the_drivers_live_on(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = started("wrong-files", clients)?;
    write(&rig, "text.pcap", b"not a capture\n")?;
    write(&rig, "empty.pcap", b"")?;
    // A pcap header with link type 147, which is for private use, and one packet of one byte.
    let mut private = b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00\0\0\0\0\0\0\0\0\xff\xff\0\0\x93\0\0\0".to_vec();
    private.extend(b"\0\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x00");
    write(&rig, "private.pcap", &private)?;
    write(&rig, "broken.toml", b"default = \n")?;
    write(&rig, "key.toml", b"default = \"permit\"\n[[rule]]\nid = 1\naction = \"block\"\nport = 80\n")?;
    for client in clients.names() {
        let classify = |file, words: &[&str]| fails(&rig, 2, &["classify", "--device", client, file], words);
        classify("absent.pcap", &["absent.pcap"])?;
        classify("text.pcap", &["text.pcap"])?;
        classify("empty.pcap", &["empty.pcap"])?;
        classify("private.pcap", &["147"])?;
    }
    fails(&rig, 2, &["policy", "load", "absent.toml"], &["absent.toml"])?;
    fails(&rig, 2, &["policy", "load", "broken.toml"], &["broken.toml", "1"])?;
    fails(&rig, 2, &["policy", "load", "key.toml"], &["key.toml", "port", "5"])?;
    fails(&rig, 2, &["classify", "--no-such-option"], &["--no-such-option"])?;
    assert_eq!(clients.verdicts(&rig)?, verdicts_offline(&rig, None)?);
    end(&rig, clients)
}

/// The names of the control codes of all drivers.
fn codes() -> impl Iterator<Item = &'static str> {
    let lines = include_str!("../crates/sluice-control/src/code.rs").lines();
    let constants = lines.filter_map(|line| line.strip_prefix("pub const "));
    constants.filter_map(|line| line.split_once(": u32 = ctl_code(").map(|(name, _)| name))
}

/// How many requests with each control code were sent, of a report whose lines are `code: answer: count`.
fn sent(report: &str) -> Result<BTreeMap<&str, u64>> {
    let mut sent = BTreeMap::new();
    for line in report.lines().filter(|line| !line.starts_with("requests: ")) {
        let (code, rest) = line.split_once(": ").context(line.to_owned())?;
        let (_, count) = rest.rsplit_once(": ").context(line.to_owned())?;
        *sent.entry(code).or_default() += count.trim().parse::<u64>()?;
    }
    Ok(sent)
}

#[rstest]
fn requests_of_every_wrong_size_are_refused_and_change_nothing(
    #[values(RUST, C, BOTH)] clients: Clients,
) -> Result<()> {
    let rig = started("sizes", clients)?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    let before = clients.verdicts(&rig)?;
    for device in clients.names().iter().chain(&["Sluice"]) {
        let report = hostile(&rig, &["sizes", device])?;
        let sent = sent(&report)?;
        let sizes = *sent.values().next().context("nothing was sent")?;
        assert!(sizes > 1000 && sent.values().all(|count| *count == sizes), "{sent:?}");
        // Those of the other drivers, too.
        let forgotten: Vec<&str> = codes().filter(|code| !sent.contains_key(code)).collect();
        assert!(forgotten.is_empty(), "rig/hostile does not send {forgotten:?}");
    }
    // The only effect of the program's well-formed requests: the policy is cleared.
    assert_eq!(clients.verdicts(&rig)?, verdicts_offline(&rig, None)?);
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    assert_eq!(clients.verdicts(&rig)?, before);
    end(&rig, clients)
}

#[rstest]
fn programs_that_are_killed_in_the_middle_of_requests_do_no_harm(
    #[values(RUST, C, BOTH)] clients: Clients,
) -> Result<()> {
    let rig = started("killed", clients)?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    let before = clients.verdicts(&rig)?;
    for client in clients.names() {
        let report = hostile(&rig, &["deaths", client, "5"])?;
        assert!(report.contains("killed: 5"), "{report}");
    }
    assert_eq!(clients.verdicts(&rig)?, before);
    let report = hostile(&rig, &["deaths", "Sluice", "5"])?;
    assert!(report.contains("killed: 5"), "{report}");
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    assert_eq!(clients.verdicts(&rig)?, before);
    end(&rig, clients)
}

#[test]
fn many_handles_at_once_are_served() -> Result<()> {
    let rig = started("handles", BOTH)?;
    for device in BOTH.names().iter().chain(&["Sluice"]) {
        let report = hostile(&rig, &["handles", device, "300"])?;
        assert!(report.contains("open at once: 300"), "{report}");
    }
    end(&rig, BOTH)
}

/// 20 seconds of what `cargo xtask soak` does for minutes.
#[rstest]
fn arbitrary_requests_while_policies_and_clients_come_and_go_leave_nothing_behind(
    #[values(RUST, C, BOTH)] clients: Clients,
) -> Result<()> {
    let report = storm(clients, Duration::from_secs(20), 1)?;
    println!("{report}");
    assert!(report.loads > 1 && report.lives > 1, "{report}");
    Ok(())
}
