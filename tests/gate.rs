//! gate.sys sees packets that are sent through the filters of the rig, and asks sluice.sys about them.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use rstest::rstest;
use sluice_rig::{Network, Play, Rig, State, Treated, frame_capture, frames, ip_packets, raw_capture};
use system_tests::{
    CAPTURE, Clients, EndOfRequests, RUST, arbitrary_requests, data, hostile, install_gate, machine, send,
    sluicectl_ok, stop, stop_gate, verdicts, verdicts_offline,
};

/// All of the demo's capture.
const FRAMES: &str = "frames.pcap";
/// A policy that blocks other packets than the demo's does.
const OTHER: &str = "other.toml";
/// How many packets are sent between two changes.
const PACKETS: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(60);

/// A machine with gate.sys beside all others.
fn gated(name: &str) -> Result<Rig> {
    let rig = machine(name)?;
    install_gate(&rig)?;
    fs::write(rig.file(FRAMES), frame_capture(&frames(&data("demo.pcapng"))?))?;
    let other = "default = \"permit\"\n[[rule]]\nid = 1\naction = \"block\"\nprotocol = \"udp\"\n";
    fs::write(rig.file(OTHER), other)?;
    Ok(rig)
}

/// A machine whose network is filtered by the demo's policy.
fn filtered(name: &str) -> Result<Rig> {
    let rig = gated(name)?;
    rig.start("sluice")?;
    rig.start("gate")?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    sluicectl_ok(&rig, &["gate", "enable"])?;
    Ok(rig)
}

/// Which packets of the capture a policy permits, as sluicectl says by itself.
fn permitted(rig: &Rig, policy: &str, direction: Option<&str>) -> Result<Vec<bool>> {
    permitted_of(rig, CAPTURE, policy, direction)
}

fn permitted_of(rig: &Rig, capture: &str, policy: &str, direction: Option<&str>) -> Result<Vec<bool>> {
    let mut arguments = vec!["classify", "--json", "--offline", "--policy", policy, capture];
    arguments.extend(direction.iter().flat_map(|direction| ["--direction", direction]));
    let lines = sluicectl_ok(rig, &arguments)?;
    let permitted: Vec<bool> = lines.lines().map(|line| line.contains(r#""action":"permit""#)).collect();
    let of_both = permitted.contains(&true) && permitted.contains(&false);
    ensure!(of_both, "expected packets of both kinds, found {permitted:?}");
    Ok(permitted)
}

/// Stops all, after which nothing is left.
fn end(rig: &Rig) -> Result<()> {
    stop_gate(rig, Network::of(rig))?;
    stop(rig, "sluice")?;
    let left = rig.alive()?;
    ensure!(left.is_nothing(), "{left} are left of all");
    Ok(())
}

/// A number that `gate status` shows.
fn counter(rig: &Rig, name: &str) -> Result<u64> {
    let status: serde_json::Value = serde_json::from_str(&sluicectl_ok(rig, &["gate", "status", "--json"])?)?;
    status[name].as_u64().with_context(|| format!("there is no number `{name}` in {status}"))
}

/// Waits until so many more packets have been judged.
fn wait_for_packets(rig: &Rig) -> Result<()> {
    let judged = || counter(rig, "lists");
    let (target, deadline) = (judged()? + PACKETS, Instant::now() + rig.scaled(PATIENCE));
    while judged()? < target {
        ensure!(Instant::now() < deadline, "no packets come any more");
    }
    Ok(())
}

#[rstest]
#[case("in", Some("inbound"))]
#[case("out", Some("outbound"))]
#[case("forward", None)]
fn exactly_the_packets_that_the_policy_blocks_are_missing(
    #[case] direction: &str,
    #[case] said: Option<&str>,
) -> Result<()> {
    let rig = filtered("missing")?;
    let network = Network::of(&rig);
    let permitted = permitted(&rig, "demo.toml", said)?;
    let played = network.play(Play { direction, ..Play::once(CAPTURE) })?;
    for (index, (outcome, permitted)) in played.packets.iter().zip(&permitted).enumerate() {
        let (passed, blocked) = (u64::from(*permitted), u64::from(!permitted));
        let expected = Treated { passed, blocked, absorbed: blocked, asked: 1 };
        assert_eq!(*outcome, expected, "the packet {} of {CAPTURE}", index + 1);
    }
    let packets = ip_packets(&data("demo.pcapng"))?;
    assert_eq!(played.packets.len(), packets.len());
    let kept: Vec<_> = packets.into_iter().zip(&permitted).filter(|(_, is)| **is).map(|(packet, _)| packet).collect();
    assert_eq!(played.passed, raw_capture(&kept), "what came out is not what should have");
    end(&rig)
}

#[rstest]
#[case("in", "inbound")]
#[case("out", "outbound")]
fn of_ethernet_frames_exactly_those_are_missing_that_the_policy_blocks(
    #[case] direction: &str,
    #[case] said: &str,
) -> Result<()> {
    let rig = gated("frames")?;
    let network = Network::of(&rig);
    set(&rig, "Layers", "2")?;
    rig.start("sluice")?;
    rig.start("gate")?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    let shown = sluicectl_ok(&rig, &["gate", "enable"])?;
    assert!(shown.contains("Ethernet frames"), "{shown}");
    assert_eq!(network.state()?, [8, 1, 1, 2, 2]);
    let permitted = permitted_of(&rig, FRAMES, "demo.toml", Some(said))?;
    let frames = frames(&data("demo.pcapng"))?;
    let played = network.play(Play { direction, ..Play::once(FRAMES) })?;
    let kept: Vec<_> = frames.into_iter().zip(&permitted).filter(|(_, is)| **is).map(|(frame, _)| frame).collect();
    assert_eq!(played.passed, frame_capture(&kept), "what came out is not what should have");
    assert_eq!((counter(&rig, "malformed")?, counter(&rig, "lists")?), (0, permitted.len() as u64));
    let packets = network.play(Play { direction, ..Play::once(CAPTURE) })?;
    assert!(
        packets.packets.iter().all(|outcome| (outcome.blocked, outcome.asked) == (0, 0)),
        "packets are judged, too"
    );
    end(&rig)
}

/// Every packet is cut at every byte in turn, by two threads, at PASSIVE_LEVEL and at DISPATCH_LEVEL, and the verdict
/// is always the same.
#[rstest]
fn where_a_packet_is_cut_does_not_matter(#[values("in", "out")] direction: &str) -> Result<()> {
    const HEADROOM: usize = 14;
    let rig = filtered("cut")?;
    let said = if direction == "in" { "inbound" } else { "outbound" };
    let permitted = permitted(&rig, "demo.toml", Some(said))?;
    let longest = ip_packets(&data("demo.pcapng"))?.iter().map(Vec::len).max().context("no packets")?;
    let rounds = longest + HEADROOM + 1;
    let played = Network::of(&rig).play(Play { direction, threads: 2, rounds: Some(rounds), ..Play::once(CAPTURE) })?;
    for (index, (outcome, permitted)) in played.packets.iter().zip(permitted).enumerate() {
        let never = if permitted { outcome.blocked } else { outcome.passed };
        assert_eq!((never, outcome.passed + outcome.blocked), (0, 2 * rounds as u64), "{}", index + 1);
    }
    assert_eq!(counter(&rig, "malformed")?, 0);
    end(&rig)
}

/// The same packets, with pages that have to be mapped first. A mapping that fails is a packet that cannot be read.
#[rstest]
fn pages_that_are_not_mapped_are_read_all_the_same(#[values("in", "out")] direction: &str) -> Result<()> {
    const ROUNDS: usize = 64;
    let rig = filtered("unmapped")?;
    let network = Network::of(&rig);
    let said = if direction == "in" { "inbound" } else { "outbound" };
    let permitted = permitted(&rig, "demo.toml", Some(said))?;
    let play = Play { direction, unmapped: true, ..Play::once(CAPTURE) };
    let played = network.play(Play { rounds: Some(ROUNDS), ..play })?;
    for (index, (outcome, permitted)) in played.packets.iter().zip(&permitted).enumerate() {
        let never = if *permitted { outcome.blocked } else { outcome.passed };
        assert_eq!((never, outcome.passed + outcome.blocked), (0, ROUNDS as u64), "{}", index + 1);
    }
    assert_eq!(counter(&rig, "malformed")?, 0);
    let first = permitted.iter().position(|permitted| *permitted).context("no packet is permitted")?;
    // The first call of gate.sys that can fail is that for the first packet.
    rig.verifier().fail_call("gate", 1)?;
    let played = network.play(play)?;
    assert_eq!((played.packets[0].blocked, counter(&rig, "malformed")?), (1, 1), "{first}");
    end(&rig)
}

/// Packets as they are when the card fills in lengths and checksums, and cuts what is too long: the total length of
/// IPv4 and the payload length of IPv6 are 0 in segments of LSO version 2
/// (<https://learn.microsoft.com/windows-hardware/drivers/network/offloading-the-segmentation-of-large-tcp-packets>).
#[test]
fn what_the_card_is_to_finish_is_judged_as_what_it_will_be() -> Result<()> {
    const SEGMENT: usize = 60_000;
    const OFFLOADED: &str = "offloaded.pcap";
    const ROUNDS: usize = 100;
    let rig = filtered("offload")?;
    let mut packets = Vec::new();
    let mut expected = Vec::new();
    let permitted_whole = permitted(&rig, "demo.toml", Some("outbound"))?;
    for (packet, permitted) in ip_packets(&data("demo.pcapng"))?.into_iter().zip(permitted_whole) {
        // Plain headers with TCP, and payload behind them.
        let (length_at, next, transport, total) = match packet[0] {
            0x45 => (2, packet[9], 20, usize::from(u16::from_be_bytes([packet[2], packet[3]]))),
            0x60..=0x6F => (4, packet[6], 40, 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]))),
            _ => continue,
        };
        let is_fragment = packet[0] == 0x45 && (packet[6] & 0x3F, packet[7]) != (0, 0);
        let Some(&words) = packet.get(transport + 12).filter(|_| next == 6 && !is_fragment) else { continue };
        let payload = transport + usize::from(words >> 4) * 4;
        if total != packet.len() || words >> 4 < 5 || payload >= packet.len() {
            continue;
        }
        let mut offloaded = packet;
        offloaded[length_at..length_at + 2].fill(0);
        if length_at == 2 {
            offloaded[10..12].fill(0);
        }
        offloaded[transport + 16..transport + 18].fill(0xAA);
        packets.push(offloaded.clone());
        offloaded.resize(SEGMENT, 0);
        packets.push(offloaded);
        expected.extend([permitted; 2]);
    }
    ensure!(expected.contains(&true) && expected.contains(&false), "expected packets of both kinds: {expected:?}");
    fs::write(rig.file(OFFLOADED), raw_capture(&packets))?;
    assert_eq!(permitted_of(&rig, OFFLOADED, "demo.toml", Some("outbound"))?, expected);
    let played = Network::of(&rig).play(Play { rounds: Some(ROUNDS), ..Play::once(OFFLOADED) })?;
    for (index, (outcome, permitted)) in played.packets.iter().zip(expected).enumerate() {
        let never = if permitted { outcome.blocked } else { outcome.passed };
        assert_eq!((never, outcome.passed + outcome.blocked), (0, ROUNDS as u64), "{}", index + 1);
    }
    assert_eq!(counter(&rig, "malformed")?, 0);
    end(&rig)
}

#[test]
fn packets_that_come_together_pass_if_all_of_them_do() -> Result<()> {
    const PER_LIST: usize = 8;
    let rig = filtered("lists")?;
    let network = Network::of(&rig);
    let permitted = permitted(&rig, "demo.toml", Some("outbound"))?;
    let played = network.play(Play { per_list: PER_LIST, ..Play::once(CAPTURE) })?;
    // The same lists as the rig makes: neighbours with IP headers of one version and length.
    let packets = ip_packets(&data("demo.pcapng"))?;
    let mut first = 0;
    let (mut lists, mut blocked_lists) = (0, 0);
    while first < packets.len() {
        let kind = packets[first][0];
        let alike = packets[first..].iter().take(PER_LIST).take_while(|packet| packet[0] == kind).count();
        let list = first..first + alike;
        let passes = permitted[list.clone()].iter().all(|permitted| *permitted);
        for index in list.clone() {
            assert_eq!(played.packets[index].passed, u64::from(passes), "the packet {} of {list:?}", index + 1);
        }
        lists += 1;
        blocked_lists += u64::from(!passes);
        first = list.end;
    }
    assert_eq!((counter(&rig, "lists")?, counter(&rig, "blocked_lists")?), (lists, blocked_lists));
    let blocked = permitted.iter().filter(|permitted| !**permitted).count() as u64;
    assert_eq!((counter(&rig, "blocked")?, counter(&rig, "malformed")?), (blocked, 0));
    end(&rig)
}

#[test]
fn a_policy_is_replaced_while_packets_are_sent() -> Result<()> {
    let rig = filtered("replaced")?;
    let network = Network::of(&rig);
    let policies = ["demo.toml", OTHER];
    let permitted = [permitted(&rig, policies[0], Some("outbound"))?, permitted(&rig, policies[1], Some("outbound"))?];
    let playing = send(network)?;
    for policy in policies.iter().cycle().skip(1).take(4) {
        wait_for_packets(&rig)?;
        sluicectl_ok(&rig, &["policy", "load", policy])?;
    }
    wait_for_packets(&rig)?;
    let played = playing.stop()?;
    let mut of_both = 0;
    for (index, outcome) in played.packets.iter().enumerate() {
        let number = index + 1;
        match [permitted[0][index], permitted[1][index]] {
            [true, true] => assert_eq!(outcome.blocked, 0, "no policy blocks the packet {number}"),
            [false, false] => assert_eq!(outcome.passed, 0, "every policy blocks the packet {number}"),
            _ => of_both += usize::from(outcome.passed > 0 && outcome.blocked > 0),
        }
    }
    assert!(of_both > 0, "no packet was treated in both ways");
    end(&rig)
}

#[test]
fn sluice_comes_and_goes_while_packets_are_sent() -> Result<()> {
    let rig = filtered("sluice")?;
    let network = Network::of(&rig);
    let permitted = permitted(&rig, "demo.toml", Some("outbound"))?;
    let playing = send(network)?;
    for _ in 0..3 {
        wait_for_packets(&rig)?;
        stop(&rig, "sluice")?;
        wait_for_packets(&rig)?;
        rig.start("sluice")?;
        sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    }
    wait_for_packets(&rig)?;
    let played = playing.stop()?;
    for (outcome, permitted) in played.packets.iter().zip(permitted) {
        assert_eq!(permitted, outcome.blocked == 0, "{outcome:?}");
        assert!(outcome.passed > 0, "while Sluice is gone everything passes: {outcome:?}");
    }
    assert!(counter(&rig, "unanswered")? > 0);
    end(&rig)
}

#[test]
fn gate_comes_and_goes_while_packets_are_sent() -> Result<()> {
    let rig = filtered("gate")?;
    let network = Network::of(&rig);
    let permitted = permitted(&rig, "demo.toml", Some("outbound"))?;
    let playing = send(network)?;
    for round in 0..3 {
        wait_for_packets(&rig)?;
        if round == 1 {
            sluicectl_ok(&rig, &["gate", "disable"])?;
        }
        stop(&rig, "gate")?;
        rig.start("gate")?;
        sluicectl_ok(&rig, &["gate", "enable"])?;
    }
    wait_for_packets(&rig)?;
    stop(&rig, "gate")?;
    let played = playing.stop()?;
    for (outcome, permitted) in played.packets.iter().zip(permitted) {
        assert_eq!(permitted, outcome.blocked == 0, "{outcome:?}");
        assert!(outcome.passed > 0, "while gate is gone everything passes: {outcome:?}");
    }
    assert_eq!(network.state()?, [0; 5]);
    rig.start("gate")?;
    end(&rig)
}

#[rstest]
fn gate_and_other_clients_are_attached_at_once(#[values(RUST)] clients: Clients) -> Result<()> {
    let rig = filtered("both")?;
    clients.start(&rig)?;
    let network = Network::of(&rig);
    let playing = network.start(Play { threads: 2, rounds: None, direction: "in", ..Play::once(CAPTURE) })?;
    let error = network.state().expect_err("one job at a time");
    assert!(error.to_string().starts_with("packets are being sent"), "{error:#}");
    wait_for_packets(&rig)?;
    assert_eq!(clients.verdicts(&rig)?, verdicts_offline(&rig, Some("demo.toml"))?);
    let status = sluicectl_ok(&rig, &["status", "--json"])?;
    for client in clients.names().iter().chain(&["gate"]) {
        assert!(status.contains(&format!(r#""name":"{client}","version":1,"state":"attached""#)), "{status}");
    }
    stop(&rig, "sluice")?;
    playing.stop()?;
    rig.start("sluice")?;
    verdicts(&rig, clients.first())?;
    clients.stop(&rig)?;
    end(&rig)
}

#[test]
fn filtering_begins_and_ends_when_it_is_told_to() -> Result<()> {
    let rig = gated("told")?;
    let network = Network::of(&rig);
    rig.start("sluice")?;
    rig.start("gate")?;
    sluicectl_ok(&rig, &["policy", "load", OTHER])?;
    let blocks = || Ok::<_, anyhow::Error>(network.play(Play::once(CAPTURE))?.packets.iter().any(|o| o.blocked > 0));
    assert!(!blocks()?, "gate.sys filters before it is told to");
    assert_eq!(network.state()?, [8, 0, 0, 0, 0]);
    let shown = sluicectl_ok(&rig, &["gate", "enable", "--for", "1h"])?;
    assert!(shown.contains("for 3600 s more") || shown.contains("for 3599 s more"), "{shown}");
    assert!(blocks()?);
    assert_eq!(network.state()?, [8, 1, 1, 6, 6]);
    // Packets that stay on this machine are left alone.
    let loopback = network.play(Play { loopback: true, ..Play::once(CAPTURE) })?;
    assert!(loopback.packets.iter().all(|outcome| (outcome.blocked, outcome.asked) == (0, 0)));
    sluicectl_ok(&rig, &["gate", "enable", "--for", "1s"])?;
    let deadline = Instant::now() + rig.scaled(PATIENCE);
    while blocks()? {
        ensure!(Instant::now() < deadline, "it does not end by itself");
    }
    sluicectl_ok(&rig, &["gate", "enable"])?;
    assert!(blocks()?);
    let shown = sluicectl_ok(&rig, &["gate", "disable"])?;
    assert!(shown.contains("no: all packets pass"), "{shown}");
    assert!(!blocks()?);
    end(&rig)
}

/// Sets a value of the key Parameters of gate's service.
fn set(rig: &Rig, name: &str, number: &str) -> Result<()> {
    const KEY: &str = r"HKLM\System\CurrentControlSet\Services\gate\Parameters";
    let arguments = ["add", KEY, "/v", name, "/t", "REG_DWORD", "/d", number, "/f"];
    let outcome = rig.run("reg", &arguments, rig.scaled(PATIENCE))?;
    ensure!(outcome.succeeded(), "`{}` failed: {}", outcome.line, outcome.stderr);
    Ok(())
}

#[test]
fn what_is_set_is_done_and_what_cannot_be_done_keeps_the_driver_from_starting() -> Result<()> {
    let rig = gated("settings")?;
    let network = Network::of(&rig);
    set(&rig, "EnableAtStart", "1")?;
    set(&rig, "WhenNoSluice", "2")?;
    set(&rig, "ReportBlocked", "1")?;
    rig.start("gate")?;
    let played = network.play(Play::once(CAPTURE))?;
    let reported = Treated { passed: 0, blocked: 1, absorbed: 0, asked: 1 };
    assert!(played.packets.iter().all(|outcome| *outcome == reported), "{:?}", played.packets);
    stop_gate(&rig, network)?;
    set(&rig, "OnMalformed", "3")?;
    assert!(rig.start("gate").is_err());
    assert_eq!(rig.state("gate")?, State::Stopped);
    let events = rig.events()?;
    let said = events.iter().rfind(|event| event.is("gate", "debug")).context("gate.sys says nothing")?;
    let text = said.get("text").unwrap_or_default();
    assert!(text.contains("OnMalformed cannot be used"), "{text}");
    assert_eq!(network.state()?, [0; 5]);
    Ok(())
}

/// What sluicectl writes beside its answer.
fn warnings(rig: &Rig, arguments: &[&str]) -> Result<String> {
    let outcome = rig.run("sluicectl.exe", arguments, rig.scaled(PATIENCE))?;
    ensure!(outcome.succeeded(), "`{}` failed: {}", outcome.line, outcome.stderr);
    Ok(outcome.stderr)
}

/// A connection to a program in Wine: that of a program outside is shown by some versions of Wine alone.
#[test]
fn whoever_is_about_to_be_cut_off_is_warned_whichever_way_a_policy_comes() -> Result<()> {
    // An address that no other test uses, so that the port is free.
    const DESKTOP: &str = "127.19.0.1:3389";
    let rig = gated("warned")?;
    set(&rig, "Loopback", "1")?;
    rig.start("sluice")?;
    rig.start("gate")?;
    thread::scope(|scope| {
        let end = EndOfRequests::new(&rig)?;
        let desktop = scope.spawn(|| hostile(&rig, &["host", DESKTOP]));
        let waited = Instant::now();
        let remote = loop {
            match TcpStream::connect(DESKTOP) {
                Ok(remote) => break remote,
                Err(error) => ensure!(waited.elapsed() < rig.scaled(PATIENCE), "nobody listens: {error}"),
            }
            thread::sleep(Duration::from_millis(50));
        };
        warned_of(&rig, remote.local_addr()?)?;
        drop(end);
        let kept = desktop.join().expect("the thread does not panic")?;
        assert!(kept.starts_with("connected: "), "{kept}");
        Ok::<_, anyhow::Error>(())
    })?;
    end(&rig)
}

/// The warnings of a connection from `remote`.
fn warned_of(rig: &Rig, remote: SocketAddr) -> Result<()> {
    let of_it = format!("rule 6 blocks Remote Desktop from {remote}");
    let policy = "default = \"permit\"\n[[rule]]\nid = 6\naction = \"block\"\nsource = \"127.19.0.1\"\n";
    fs::write(rig.file("ends.toml"), policy)?;

    sluicectl_ok(rig, &["policy", "load", "ends.toml"])?;
    let said = warnings(rig, &["gate", "enable"])?;
    assert!(said.contains(&of_it), "{said}");
    let ways: [&[&[&str]]; 3] = [
        &[&["policy", "load", "ends.toml"]],
        &[&["policy", "dry-run", "start", "ends.toml"], &["policy", "load", "--from-dry-run"]],
        &[&["policy", "load", OTHER], &["gate", "enable"]],
    ];
    for (way, is_warned) in ways.into_iter().zip([true, true, false]) {
        let said: Vec<_> = way.iter().map(|arguments| warnings(rig, arguments)).collect::<Result<_>>()?;
        assert_eq!(said.last().is_some_and(|said| said.contains(&of_it)), is_warned, "{way:?}: {said:?}");
    }
    // Nothing ends while nothing is filtered.
    sluicectl_ok(rig, &["gate", "disable"])?;
    assert_eq!(warnings(rig, &["policy", "load", "ends.toml"])?, "");
    Ok(())
}

#[test]
fn arbitrary_requests_do_no_harm_while_packets_are_sent() -> Result<()> {
    const TIME: Duration = Duration::from_secs(5);
    let rig = filtered("requests")?;
    let network = Network::of(&rig);
    let playing = send(network)?;
    let report = arbitrary_requests(&rig, "gate", TIME, 19)?;
    assert!(report.contains(": done: "), "no request succeeded:\n{report}");
    let played = playing.stop()?;
    let permitted = permitted(&rig, "demo.toml", Some("outbound"))?;
    for (outcome, permitted) in played.packets.iter().zip(permitted) {
        assert!(!permitted || outcome.blocked == 0, "{outcome:?}");
    }
    end(&rig)
}

/// The engine says for a while that callouts are still in use: the driver waits, and does not go before they are gone.
#[test]
fn callouts_that_are_busy_are_waited_for() -> Result<()> {
    let rig = filtered("busy")?;
    let network = Network::of(&rig);
    network.busy(20)?;
    stop_gate(&rig, network)?;
    stop(&rig, "sluice")
}

/// Every rule of WFP that a driver can break, broken by a callout driver of its own: a bug check that names both.
#[rstest]
fn a_broken_rule_of_wfp_is_a_bug_check_that_names_rule_and_driver(
    #[values(
        "w3-answer",
        "w3-member",
        "w3-undecided",
        "w4-action",
        "w4-right",
        "w7-inside",
        "w7-returned",
        "w8-unknown",
        "w9-left",
        "w13-retreated"
    )]
    service: &str,
) -> Result<()> {
    let rig = machine("meddler")?;
    let network = Network::new(&rig)?;
    fs::write(rig.file(CAPTURE), raw_capture(&ip_packets(&data("demo.pcapng"))?))?;
    rig.install_file(&rig.part("meddler.sys"), service)?;
    let ended = rig.start(service).and_then(|_| network.play(Play::once(CAPTURE))).and_then(|_| rig.stop(service));
    let events = rig.events()?;
    let rule = service.split('-').next().unwrap_or_default().to_uppercase();
    let expected = format!("{rule} broken by {service}.sys: ");
    let text = |event: &sluice_rig::Event| event.get("text").unwrap_or_default().to_owned();
    let said = events.iter().any(|event| event.name == "debug" && text(event).contains(&expected));
    assert!(said, "nothing says `{expected}`: {ended:?}\n{events:#?}");
    assert!(events.iter().any(|event| event.name == "bugcheck"), "no bug check");
    Ok(())
}
