//! What an administrator sees of the packets: counters of the rules, the log, and what a policy would change before it
//! is in force; also while policies are swapped under load.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use rstest::rstest;
use serde_json::{Value, json};
use sluice_rig::Rig;
use system_tests::{BOTH, C, Clients, RUST, data, end, sluicectl, sluicectl_ok, started, verdicts, verdicts_offline};

/// The demo's policy behind a rule that logs and one that counts, as `observed.toml`; and one that blocks nearly all,
/// as `strict.toml`.
fn policies(rig: &Rig) -> Result<()> {
    let demo = fs::read_to_string(data("demo.toml"))?;
    let (head, rules) = demo.split_once("[[rule]]").context("the demo's policy has no rule")?;
    let observed = format!(
        "{head}[[rule]]\nid = 1\naction = \"log\"\nprotocol = \"udp\"\n\
         [[rule]]\nid = 2\naction = \"count\"\n[[rule]]{rules}"
    );
    fs::write(rig.file("observed.toml"), observed)?;
    fs::write(
        rig.file("strict.toml"),
        "default = \"block\"\n[[rule]]\nid = 7\naction = \"permit\"\nprotocol = \"udp\"\n",
    )?;
    Ok(())
}

fn json_of(rig: &Rig, arguments: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&sluicectl_ok(rig, arguments)?)?)
}

/// The lines of an output as JSON.
fn json_lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The packets of each rule that matched any, by its id, with those of the default as 0.
fn counters(rig: &Rig) -> Result<BTreeMap<u64, u64>> {
    let policy = json_of(rig, &["stats", "--json"])?["policy"].take();
    let number = |value: &Value| value.as_u64().context("no number");
    let rules = policy["rule_list"].as_array().context("no rules")?;
    let mut counters = rules
        .iter()
        .map(|rule| Ok((number(&rule["id"])?, number(&rule["packets"])?)))
        .collect::<Result<BTreeMap<_, _>>>()?;
    counters.insert(0, number(&policy["default_packets"])?);
    counters.retain(|_, packets| *packets > 0);
    Ok(counters)
}

/// What the rules of a policy count for the demo's capture, outside of the driver, `times` times.
fn counters_offline(rig: &Rig, policy: &str, times: u64) -> Result<BTreeMap<u64, u64>> {
    let arguments = ["classify", "--offline", "--policy", policy, "--summary", "--json", "demo.pcapng"];
    let rules = json_of(rig, &arguments)?["rules"].take();
    let rules = rules.as_object().context("no rules")?;
    rules.iter().map(|(id, packets)| Ok((id.parse()?, packets.as_u64().context("no number")? * times))).collect()
}

#[rstest]
fn rules_count_and_log_what_they_match(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = started("observe", clients)?;
    policies(&rig)?;
    sluicectl_ok(&rig, &["policy", "load", "observed.toml"])?;
    clients.verdicts(&rig)?;
    let times = clients.count() as u64;
    assert_eq!(counters(&rig)?, counters_offline(&rig, "observed.toml", times)?);
    let status = json_of(&rig, &["status", "--json"])?;
    assert_eq!(status["policy"]["busiest"][0]["id"], 2, "the rule that counts everything: {status}");
    let text = sluicectl_ok(&rig, &["stats"])?;
    assert!(text.contains("count") && text.contains("log"), "{text}");

    let logged = json_lines(&sluicectl_ok(&rig, &["watch", "--recent", "--seconds", "0", "--json"])?)?;
    let udp = counters(&rig)?[&1];
    // A burst of ten is shown, and some more if the machine is slow.
    assert!((udp.min(10)..=udp).contains(&(logged.len() as u64)), "{} of {udp}", logged.len());
    for record in &logged {
        assert_eq!((&record["logged_by"], &record["protocol"]), (&json!(1), &json!(17)), "{record}");
    }
    // The same packets as in the verdicts, decided in the same way.
    let verdicts = json_lines(&verdicts_offline(&rig, Some("observed.toml"))?)?;
    let alike = |record: &Value| {
        let keys = ["source", "destination", "source_port", "destination_port", "name", "rule", "action"];
        verdicts.iter().any(|verdict| keys.iter().all(|key| verdict[key] == record[key]))
    };
    assert!(logged.iter().all(alike), "{logged:#?}");
    let lines = sluicectl_ok(&rig, &["watch", "--recent", "--seconds", "0", "--rule", "1"])?;
    assert!(lines.lines().all(|line| line.contains("rule 1: ")) && lines.contains(" udp "), "{lines}");
    assert_eq!(sluicectl_ok(&rig, &["watch", "--recent", "--seconds", "0", "--rule", "2"])?, "");

    let events = rig.events()?;
    let traced = events.iter().filter(|event| event.get("event") == Some("PacketLog")).collect::<Vec<_>>();
    assert_eq!(traced.len(), logged.len());
    assert!(traced.iter().all(|event| event.number("Rule") == 1 && event.number("Protocol") == 17), "{traced:#?}");
    end(&rig, clients)
}

#[rstest]
fn a_dry_run_tells_what_would_change_and_is_then_put_in_force(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = started("dry-run", clients)?;
    policies(&rig)?;
    let fails = |arguments: &[&str]| -> Result<()> {
        let outcome = sluicectl(&rig, arguments)?;
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("no policy is being tried"), "{}", outcome.stderr);
        Ok(())
    };
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    fails(&["policy", "dry-run", "status"])?;
    fails(&["policy", "dry-run", "stop"])?;
    fails(&["policy", "load", "--from-dry-run"])?;
    sluicectl_ok(&rig, &["policy", "dry-run", "start", "strict.toml"])?;
    let before = clients.verdicts(&rig)?;
    assert_eq!(before, verdicts_offline(&rig, Some("demo.toml"))?, "what is tried decides nothing");

    // What would change, as it is found outside of the driver.
    let strict = verdicts_offline(&rig, Some("strict.toml"))?;
    let mut pairs = BTreeMap::new();
    for (now, then) in json_lines(&before)?.iter().zip(json_lines(&strict)?) {
        *pairs.entry((now["action"].to_string(), then["action"].to_string())).or_insert(0) += clients.count() as u64;
    }
    let pair =
        |now: &str, then: &str| json!(pairs.get(&(format!("\"{now}\""), format!("\"{then}\""))).copied().unwrap_or(0));
    let status = json_of(&rig, &["policy", "dry-run", "status", "--json"])?;
    for (key, now, then) in [
        ("permitted", "permit", "permit"),
        ("would_block", "permit", "block"),
        ("would_permit", "block", "permit"),
        ("blocked", "block", "block"),
    ] {
        assert_eq!(status[key], pair(now, then), "{key}: {status}");
    }
    assert!(status["would_block"].as_u64() > Some(0) && status["would_permit"].as_u64() > Some(0), "{status}");
    let samples = status["samples"].as_array().context("no samples")?;
    assert!(!samples.is_empty() && samples.iter().all(|sample| sample["packet"]["action"] != sample["dry_run_action"]));
    assert!(json_of(&rig, &["status", "--json"])?["policy"]["dry_run"] == true);
    let text = sluicectl_ok(&rig, &["policy", "dry-run", "status"])?;
    assert!(text.contains("would be blocked") && text.contains("default"), "{text}");

    sluicectl_ok(&rig, &["policy", "load", "--from-dry-run"])?;
    fails(&["policy", "dry-run", "status"])?;
    let in_force = clients.verdicts(&rig)?;
    assert_eq!(in_force, strict, "what was tried is in force");
    end(&rig, clients)
}

#[rstest]
fn nothing_is_miscounted_while_policies_are_swapped_and_tried_under_load(
    #[values(RUST, C, BOTH)] clients: Clients,
) -> Result<()> {
    const SWAPS: usize = 3;
    let rig = started("observe-load", clients)?;
    policies(&rig)?;
    sluicectl_ok(&rig, &["policy", "load", "observed.toml"])?;
    let (ended, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let classify = |client: &str| -> Result<()> {
        while !ended.load(Ordering::Relaxed) {
            verdicts(&rig, client)?;
            rounds.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let swap = || -> Result<()> {
        for _ in 0..SWAPS {
            sluicectl_ok(&rig, &["policy", "dry-run", "start", "strict.toml"])?;
            json_of(&rig, &["policy", "dry-run", "status", "--json"])?;
            sluicectl_ok(&rig, &["policy", "load", "--from-dry-run"])?;
            sluicectl_ok(&rig, &["policy", "dry-run", "start", "demo.toml"])?;
            sluicectl_ok(&rig, &["policy", "load", "observed.toml"])?;
            json_lines(&sluicectl_ok(&rig, &["watch", "--recent", "--seconds", "0", "--json"])?)?;
            sluicectl_ok(&rig, &["policy", "dry-run", "stop"])?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let classifying: Vec<_> = clients.names().iter().map(|client| scope.spawn(|| classify(client))).collect();
        let swapped = swap();
        ended.store(true, Ordering::Relaxed);
        for thread in classifying {
            thread.join().expect("the thread does not panic")?;
        }
        swapped
    })?;
    let packets = verdicts_offline(&rig, None)?.lines().count() as u64;
    let rounds = rounds.load(Ordering::Relaxed);
    ensure!(rounds > SWAPS as u64, "only {rounds} rounds");
    let total = json_of(&rig, &["stats", "--json"])?["total"]["packets"].take();
    assert_eq!(total, packets * rounds, "no packet is lost or counted twice");

    // With one policy, the rules add up as well, whoever is alone on a processor and whoever is not.
    sluicectl_ok(&rig, &["policy", "load", "observed.toml"])?;
    thread::scope(|scope| {
        let threads: Vec<_> = clients.names().iter().map(|client| scope.spawn(|| verdicts(&rig, client))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("the thread does not panic").map(drop))
    })?;
    assert_eq!(counters(&rig)?, counters_offline(&rig, "observed.toml", clients.count() as u64)?);
    end(&rig, clients)
}
