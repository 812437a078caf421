//! `sluicectl verify`, the program for a Windows test machine, does here what it does there, and notices what is wrong.

use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result};
use sluice_rig::{Left, Network, Outcome, Rig, State, ip_packets, raw_capture};
use system_tests::{CAPTURE, calls, data, send, sluicectl_ok};

const LIMIT: Duration = Duration::from_secs(300);

/// Lives in a round, and bindings in a life: the first, two restarts under load, one in peace.
const LIVES: usize = 4;
const BINDINGS: usize = 4;

/// A machine with sluicectl, the demo's capture and policy, and the drivers as files, of which none is installed.
fn machine(name: &str) -> Result<Rig> {
    let rig = Rig::boot(name)?;
    for file in ["sluicectl.exe", "sluice.sys", "probe.sys", "probe-c.sys", "gate.sys"] {
        rig.copy_file(&rig.product(file))?;
    }
    rig.copy_file(&data("demo.pcapng"))?;
    rig.copy_file(&data("demo.toml"))?;
    Ok(rig)
}

fn verify(rig: &Rig, arguments: &[&str]) -> Result<Outcome> {
    let files = ["verify", "--capture", "demo.pcapng", "--policy", "demo.toml"];
    rig.run("sluicectl.exe", &[&files[..], arguments].concat(), rig.scaled(LIMIT))
}

/// Every unload left nothing behind, and the services are gone.
fn assert_undone(rig: &Rig, client: &str) -> Result<()> {
    for unload in rig.events()?.iter().filter(|event| event.name == "unload") {
        assert!(Left::of(unload).is_nothing(), "{unload}");
    }
    assert!(rig.alive()?.is_nothing());
    assert_eq!(rig.bug_check()?, None);
    for service in ["sluice", client] {
        assert!(rig.sc(&["query", service])?.stderr.contains("1060"), "there is still a service {service}");
    }
    Ok(())
}

#[test]
fn the_drivers_pass_and_nothing_is_left_of_them() -> Result<()> {
    let rig = machine("verify")?;
    let outcome = verify(&rig, &["--drivers", "C:\\rig", "--rounds", "2", "--json"])?;
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.stdout, outcome.stderr);
    for part in [r#""result":"pass""#, r#""rounds":2,"#, r#""failures":[]"#, r#""name":"sluice.sys""#] {
        assert!(outcome.stdout.contains(part), "{part} is not in {}", outcome.stdout);
    }
    // It did what it says.
    let events = rig.events()?;
    for (driver, callback) in [("sluice", "ProviderAttachClient"), ("probe", "ClientDetachProvider")] {
        assert_eq!(calls(&events, driver, callback), 2 * LIVES * BINDINGS, "{callback}");
    }
    assert_undone(&rig, "probe")
}

/// Packets are sent all the while. Half of the orders start gate.sys before Sluice, and half stop it while it filters.
#[test]
fn gate_is_verified_beside_them_and_nothing_is_left_of_it() -> Result<()> {
    let rig = machine("verify-gate")?;
    let network = Network::new(&rig)?;
    fs::write(rig.file(CAPTURE), raw_capture(&ip_packets(&data("demo.pcapng"))?))?;
    let playing = send(network)?;
    let outcome = verify(&rig, &["--drivers", "C:\\rig", "--gate", "--rounds", "1", "--json"])?;
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.stdout, outcome.stderr);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout)?;
    let steps = report["steps"].as_array().context("there are no steps")?;
    let done = |name| steps.iter().find(|step| step["step"] == name).map_or(0, |step| step["done"].as_u64().unwrap());
    let lives = LIVES as u64;
    // All are stopped once more at the end, whether they run or not.
    assert_eq!(["start gate", "filter packets", "stop gate"].map(done), [lives, lives, lives + 1], "{report}");
    assert_eq!(done("let packets pass"), lives / 2, "{report}");
    assert!(outcome.stdout.contains(r#""name":"gate.sys""#), "{report}");
    let played = playing.stop()?;
    assert!(played.packets.iter().any(|outcome| outcome.blocked > 0), "nothing was filtered: {:?}", played.packets);
    let events = rig.events()?;
    let attached = calls(&events, "gate", "ClientAttachProvider");
    assert_eq!(attached, LIVES * BINDINGS);
    assert_undone(&rig, "gate")
}

#[test]
fn a_client_in_c_passes_too_and_the_report_says_so_to_people() -> Result<()> {
    let rig = machine("verify-c")?;
    let outcome = verify(&rig, &["--drivers", "C:\\rig", "--client", "probe-c", "--rounds", "1", "--threads", "3"])?;
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.contains("\nPASS: 1 of 1 rounds in "), "{}", outcome.stdout);
    assert_undone(&rig, "probe-c")
}

#[test]
fn a_driver_that_does_not_start_fails_and_everything_is_undone() -> Result<()> {
    let rig = machine("verify-start")?;
    // As sluice.sys it has no behaviour to choose, and so refuses to start.
    rig.replace_file("sluice.sys", &rig.part("misfit.sys"))?;
    let outcome = verify(&rig, &["--drivers", "C:\\rig"])?;
    assert_eq!(outcome.code, Some(1), "{}{}", outcome.stdout, outcome.stderr);
    for part in
        ["round 1 (sluice starts first, sluice stops first), start sluice: cannot start sluice", "FAIL: 0 of 10"]
    {
        assert!(outcome.stdout.contains(part), "{part} is not in {}", outcome.stdout);
    }
    assert!(outcome.stderr.contains("verification failed in round 1"), "{}", outcome.stderr);
    assert_undone(&rig, "probe")
}

#[test]
fn a_client_that_is_no_client_of_sluice_fails_and_everything_is_undone() -> Result<()> {
    let rig = machine("verify-attach")?;
    rig.replace_file("decliner.sys", &rig.part("misfit.sys"))?;
    let outcome = verify(&rig, &["--drivers", "C:\\rig", "--client", "decliner"])?;
    assert_eq!(outcome.code, Some(1), "{}{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.contains(", attach: \\\\.\\decliner does not exist"), "{}", outcome.stdout);
    assert_undone(&rig, "decliner")
}

#[test]
fn a_persisted_policy_is_where_every_life_starts() -> Result<()> {
    let rig = machine("verify-persist")?;
    rig.install("sluice")?;
    rig.install("probe")?;
    rig.start("sluice")?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml", "--persist"])?;
    rig.stop("sluice")?;
    // Not the one that is persisted.
    let lenient = env::temp_dir().join(format!("sluice-lenient-{}.toml", std::process::id()));
    fs::write(&lenient, "default = \"permit\"\n")?;
    let policy = rig.copy_file(&lenient)?;
    fs::remove_file(&lenient)?;
    let arguments = ["verify", "--existing", "--rounds", "1", "--capture", "demo.pcapng", "--policy", &policy];
    let outcome = rig.run("sluicectl.exe", &arguments, rig.scaled(LIMIT))?;
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.stdout, outcome.stderr);
    rig.start("sluice")?;
    sluicectl_ok(&rig, &["policy", "show", "--compare", "demo.toml"])?;
    Ok(())
}

#[test]
fn services_that_existed_before_are_used_only_when_asked_for_and_stay() -> Result<()> {
    let rig = machine("verify-existing")?;
    rig.install("sluice")?;
    let outcome = verify(&rig, &["--drivers", "C:\\rig"])?;
    assert_eq!(outcome.code, Some(1), "{}{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains("the service sluice exists"), "{}", outcome.stderr);
    assert_eq!(rig.events()?.iter().filter(|event| event.is("sluice", "load")).count(), 0);

    rig.install("probe")?;
    rig.start("probe")?;
    let outcome = verify(&rig, &["--existing"])?;
    assert!(outcome.code == Some(1) && outcome.stderr.contains("probe is running"), "{}", outcome.stderr);
    rig.stop("probe")?;
    let outcome = verify(&rig, &["--existing", "--rounds", "1"])?;
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.stdout, outcome.stderr);
    for service in ["sluice", "probe"] {
        assert_eq!(rig.state(service)?, State::Stopped);
    }
    assert!(rig.alive()?.is_nothing());
    Ok(())
}
