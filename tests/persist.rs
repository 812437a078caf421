//! A policy that is persisted, in the data directory of the driver or in a file that the registry names.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use rstest::rstest;
use sluice_rig::{Event, Rig};
use system_tests::{
    BOTH, C, Clients, RUST, end, machine, set_parameter, sluicectl, sluicectl_ok, stop, verdicts_offline,
};

/// Where the driver persists the policy if it is not told where, seen from `C:\rig`.
const OWN_FILE: &str = "../windows/system32/drivers/DriverData/sluice/policy";
const OWN_NEW_FILE: &str = "../windows/system32/drivers/DriverData/sluice/policy.new";

/// A machine on which a driver may keep its state where the registry says, as PolicyFile does: it is documented as not
/// isolated.
fn not_isolated(name: &str) -> Result<Rig> {
    let rig = machine(name)?;
    rig.verifier().isolate(false)?;
    Ok(rig)
}

/// A machine with all drivers running.
fn started(name: &str, clients: Clients) -> Result<Rig> {
    let rig = machine(name)?;
    rig.start("sluice")?;
    clients.start(&rig)?;
    Ok(rig)
}

/// The newest event of the trace with that name.
fn traced(rig: &Rig, name: &str) -> Result<Event> {
    let events = rig.events()?;
    events.into_iter().rfind(|event| event.get("event") == Some(name)).with_context(|| format!("no event {name}"))
}

/// `sc start` of a driver whose DriverEntry fails, which leaves nothing.
fn assert_does_not_start(rig: &Rig, why: &str) -> Result<()> {
    let refused = rig.start("sluice").expect_err("the driver starts").to_string();
    let printed = rig.printed("sluice")?;
    assert!(printed.last().is_some_and(|line| line.contains(why)), "{why} is not in {printed:?} ({refused})");
    let alive = rig.alive()?;
    assert!(alive.is_nothing(), "{alive}");
    Ok(())
}

/// Stops sluice.sys and starts it again.
fn restart(rig: &Rig) -> Result<()> {
    stop(rig, "sluice")?;
    rig.start("sluice").map(drop)
}

/// What the status says of the policy: generation, and the two flags.
fn assert_status(rig: &Rig, generation: u64, persisted: bool, damaged: bool) -> Result<()> {
    let status = sluicectl_ok(rig, &["status", "--json"])?;
    let flags = format!(r#""persisted":{persisted},"persisted_damaged":{damaged}"#);
    for part in [format!(r#""generation":{generation},"#), flags] {
        assert!(status.contains(&part), "{part} is not in {status}");
    }
    Ok(())
}

#[rstest]
fn a_persisted_policy_is_in_force_again_after_a_restart(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = started("persist", clients)?;
    let persisted = rig.file(OWN_FILE);
    sluicectl_ok(&rig, &["policy", "load", "demo.toml", "--persist"])?;
    let with_policy = verdicts_offline(&rig, Some("demo.toml"))?;
    assert_eq!(clients.verdicts(&rig)?, with_policy);
    assert_status(&rig, 1, true, false)?;
    let mode = fs::metadata(&persisted).context("the persisted policy")?.permissions().mode();
    assert_eq!(mode & 0o007, 0, "others than administrators may use the file: {mode:o}");
    assert!(!rig.file(OWN_NEW_FILE).exists());
    for _ in 0..2 {
        restart(&rig)?;
        assert_status(&rig, 1, true, false)?;
        sluicectl_ok(&rig, &["policy", "show", "--compare", "demo.toml"])?;
        assert_eq!(clients.verdicts(&rig)?, with_policy);
    }
    sluicectl_ok(&rig, &["policy", "clear"])?;
    assert_status(&rig, 2, false, false)?;
    restart(&rig)?;
    assert_eq!(clients.verdicts(&rig)?, with_policy, "clear without --persist removes nothing");
    sluicectl_ok(&rig, &["policy", "clear", "--persist"])?;
    assert_eq!(fs::read(&persisted)?, b"SLUICEP\x01\0\0\0\0", "the seal of no table");
    restart(&rig)?;
    assert_status(&rig, 0, false, false)?;
    assert_eq!(clients.verdicts(&rig)?, verdicts_offline(&rig, None)?);
    end(&rig, clients)
}

#[test]
fn on_a_damaged_file_the_driver_does_not_start_unless_it_is_told_otherwise() -> Result<()> {
    let rig = machine("damaged")?;
    rig.start("sluice")?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml", "--persist"])?;
    stop(&rig, "sluice")?;
    let persisted = rig.file(OWN_FILE);
    let whole = fs::read(&persisted)?;
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 0x20;
    for damaged in [&changed[..], &whole[..whole.len() - 1], b""] {
        fs::write(&persisted, damaged)?;
        assert_does_not_start(&rig, "the persisted policy cannot be used")?;
        let event = traced(&rig, "PolicyError")?;
        assert_eq!((event.get("Status"), event.get("Reaction")), (Some("0xc0000102"), Some("0")), "{event:?}");
    }
    for (reaction, default) in [("1", "permit"), ("2", "block")] {
        set_parameter(&rig, "OnPolicyError", "REG_DWORD", reaction)?;
        rig.start("sluice")?;
        rig.start("probe")?;
        assert_eq!(traced(&rig, "PolicyError")?.get("Reaction"), Some(reaction));
        let status = sluicectl_ok(&rig, &["status", "--json"])?;
        for part in [&format!(r#""default":"{default}""#), r#""persisted_damaged":true"#] {
            assert!(status.contains(part), "{part} is not in {status}");
        }
        let verdicts = RUST.verdicts(&rig)?;
        let action = format!(r#""action":"{default}""#);
        assert!(verdicts.lines().all(|verdict| verdict.contains(&action)), "{verdicts}");
        stop(&rig, "probe")?;
        stop(&rig, "sluice")?;
    }
    rig.start("sluice")?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml", "--persist"])?;
    assert_eq!(fs::read(&persisted)?, whole);
    stop(&rig, "sluice")
}

#[test]
fn a_file_that_is_named_has_to_be_there() -> Result<()> {
    let rig = not_isolated("named")?;
    for path in [r"C:\rig\my.policy", r"C:\nowhere\my.policy", r"X:\my.policy"] {
        set_parameter(&rig, "PolicyFile", "REG_SZ", path)?;
        assert_does_not_start(&rig, "the persisted policy cannot be used")?;
    }
    // It is written by a driver that starts without.
    set_parameter(&rig, "PolicyFile", "REG_SZ", r"C:\rig\my.policy")?;
    set_parameter(&rig, "OnPolicyError", "REG_DWORD", "2")?;
    rig.start("sluice")?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml", "--persist"])?;
    assert!(rig.file("my.policy").is_file() && !rig.file("my.policy.new").exists());
    assert!(!rig.file(OWN_FILE).exists());
    set_parameter(&rig, "OnPolicyError", "REG_DWORD", "0")?;
    restart(&rig)?;
    assert_status(&rig, 1, true, false)?;
    sluicectl_ok(&rig, &["policy", "clear", "--persist"])?;
    restart(&rig)?;
    assert_status(&rig, 0, false, false)?;
    stop(&rig, "sluice")
}

#[rstest]
fn a_file_that_cannot_be_written_leaves_everything_as_it_was(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = not_isolated("unwritable")?;
    set_parameter(&rig, "PolicyFile", "REG_SZ", r"C:\nowhere\persisted.policy")?;
    set_parameter(&rig, "OnPolicyError", "REG_DWORD", "1")?;
    rig.start("sluice")?;
    clients.start(&rig)?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    let before = clients.verdicts(&rig)?;
    fs::write(rig.file("other.toml"), "default = \"block\"\n")?;
    for change in [&["policy", "load", "other.toml", "--persist"][..], &["policy", "clear", "--persist"]] {
        let outcome = sluicectl(&rig, change)?;
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("PolicyFile"), "{}", outcome.stderr);
        assert_status(&rig, 1, false, true)?;
        assert_eq!(clients.verdicts(&rig)?, before);
    }
    end(&rig, clients)
}

#[rstest]
fn what_a_crash_left_behind_does_no_harm(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = started("leftover", clients)?;
    fs::write(rig.file(OWN_NEW_FILE), "half of a policy")?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml", "--persist"])?;
    assert!(!rig.file(OWN_NEW_FILE).exists());
    restart(&rig)?;
    assert_status(&rig, 1, true, false)?;
    end(&rig, clients)
}

#[test]
fn a_setting_that_is_not_allowed_keeps_the_driver_from_starting() -> Result<()> {
    let rig = not_isolated("settings")?;
    let wrong = [
        ("PolicyFile", "REG_DWORD", "7", "REG_SZ", r"C:\rig\my.policy"),
        ("PolicyFile", "REG_SZ", "my.policy", "REG_SZ", r"C:\rig\my.policy"),
        ("TableLimit", "REG_SZ", "7", "REG_DWORD", "1000000"),
        ("OnPolicyError", "REG_DWORD", "3", "REG_DWORD", "1"),
        ("OnPolicyError", "REG_SZ", "block", "REG_DWORD", "1"),
    ];
    for (name, kind, data, right_kind, right) in wrong {
        set_parameter(&rig, name, kind, data)?;
        assert_does_not_start(&rig, name)?;
        assert_eq!(traced(&rig, "SettingReject")?.get("Name"), Some(name));
        set_parameter(&rig, name, right_kind, right)?;
    }
    rig.start("sluice")?;
    stop(&rig, "sluice")
}

#[test]
fn a_policy_above_the_limit_is_refused() -> Result<()> {
    let rig = machine("limit")?;
    set_parameter(&rig, "TableLimit", "REG_DWORD", "600")?;
    rig.start("sluice")?;
    let outcome = sluicectl(&rig, &["policy", "load", "demo.toml"])?;
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("TableLimit"), "{}", outcome.stderr);
    assert_status(&rig, 0, false, false)?;
    fs::write(rig.file("small.toml"), "default = \"block\"\n")?;
    sluicectl_ok(&rig, &["policy", "load", "small.toml"])?;
    stop(&rig, "sluice")
}
