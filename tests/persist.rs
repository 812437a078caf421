//! A policy that is persisted, in a file that the registry names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rstest::rstest;
use sluice_rig::Rig;
use system_tests::{BOTH, C, Clients, RUST, end, machine, sluicectl, sluicectl_ok, stop, verdicts_offline};

const REG_LIMIT: Duration = Duration::from_secs(60);
const PARAMETERS: &str = r"HKLM\System\CurrentControlSet\Services\sluice\Parameters";

/// Sets a value of the service's key Parameters.
fn set(rig: &Rig, name: &str, kind: &str, data: &str) -> Result<()> {
    let outcome =
        rig.run("reg", &["add", PARAMETERS, "/v", name, "/t", kind, "/d", data, "/f"], rig.scaled(REG_LIMIT))?;
    ensure!(outcome.succeeded(), "`{}` failed: {}", outcome.line, outcome.stderr);
    Ok(())
}

/// A machine with all drivers running, where the policy is persisted in `C:\rig\persisted.policy`.
fn started(name: &str, clients: Clients) -> Result<Rig> {
    let rig = machine(name)?;
    set(&rig, "PolicyFile", "REG_SZ", r"C:\rig\persisted.policy")?;
    rig.start("sluice")?;
    clients.start(&rig)?;
    Ok(rig)
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
    let persisted = rig.file("persisted.policy");
    sluicectl_ok(&rig, &["policy", "load", "demo.toml", "--persist"])?;
    let with_policy = verdicts_offline(&rig, Some("demo.toml"))?;
    assert_eq!(clients.verdicts(&rig)?, with_policy);
    assert_status(&rig, 1, true, false)?;
    let mode = fs::metadata(&persisted).context("the persisted policy")?.permissions().mode();
    assert_eq!(mode & 0o007, 0, "others than administrators may use the file: {mode:o}");
    assert!(!rig.file("persisted.policy.new").exists());
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
    assert!(!persisted.exists());
    restart(&rig)?;
    assert_status(&rig, 0, false, false)?;
    assert_eq!(clients.verdicts(&rig)?, verdicts_offline(&rig, None)?);
    end(&rig, clients)
}

#[rstest]
fn a_damaged_file_is_reported_and_the_driver_starts_without_a_policy(
    #[values(RUST, C, BOTH)] clients: Clients,
) -> Result<()> {
    let rig = started("damaged", clients)?;
    let persisted = rig.file("persisted.policy");
    sluicectl_ok(&rig, &["policy", "load", "demo.toml", "--persist"])?;
    let whole = fs::read(&persisted)?;
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 0x20;
    for damaged in [&changed[..], &whole[..whole.len() - 1], b""] {
        stop(&rig, "sluice")?;
        fs::write(&persisted, damaged)?;
        rig.start("sluice")?;
        assert_status(&rig, 0, false, true)?;
        assert!(sluicectl_ok(&rig, &["status"])?.contains("damaged and not in force"));
        assert_eq!(clients.verdicts(&rig)?, verdicts_offline(&rig, None)?);
        let trace = rig.events()?;
        let reported = |event: &sluice_rig::Event| event.get("event") == Some("PersistedPolicyDamaged");
        assert!(trace.iter().rev().take_while(|event| !event.is("sluice", "load")).any(reported));
    }
    sluicectl_ok(&rig, &["policy", "load", "demo.toml", "--persist"])?;
    assert_status(&rig, 1, true, false)?;
    assert_eq!(fs::read(&persisted)?, whole);
    end(&rig, clients)
}

#[rstest]
fn a_file_that_cannot_be_written_leaves_everything_as_it_was(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = machine("unwritable")?;
    set(&rig, "PolicyFile", "REG_SZ", r"C:\nowhere\persisted.policy")?;
    rig.start("sluice")?;
    clients.start(&rig)?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    let before = clients.verdicts(&rig)?;
    fs::write(rig.file("other.toml"), "default = \"block\"\n")?;
    let outcome = sluicectl(&rig, &["policy", "load", "other.toml", "--persist"])?;
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("PolicyFile"), "{}", outcome.stderr);
    assert_status(&rig, 1, false, false)?;
    assert_eq!(clients.verdicts(&rig)?, before);
    // There is nothing to remove.
    sluicectl_ok(&rig, &["policy", "clear", "--persist"])?;
    end(&rig, clients)
}

#[rstest]
fn what_a_crash_left_behind_does_no_harm(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = started("leftover", clients)?;
    fs::write(rig.file("persisted.policy.new"), "half of a policy")?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml", "--persist"])?;
    assert!(!rig.file("persisted.policy.new").exists());
    restart(&rig)?;
    assert_status(&rig, 1, true, false)?;
    end(&rig, clients)
}

#[test]
fn without_a_setting_the_file_is_in_the_folder_of_the_drivers() -> Result<()> {
    let rig = machine("default-file")?;
    // A value of another type counts as not set.
    set(&rig, "PolicyFile", "REG_DWORD", "7")?;
    rig.start("sluice")?;
    assert!(rig.printed("sluice")?.iter().any(|line| line.contains("PolicyFile")));
    sluicectl_ok(&rig, &["policy", "load", "demo.toml", "--persist"])?;
    assert!(rig.file("../windows/system32/drivers/sluice.policy").is_file());
    restart(&rig)?;
    assert_status(&rig, 1, true, false)?;
    stop(&rig, "sluice")
}

#[test]
fn a_policy_above_the_limit_is_refused() -> Result<()> {
    let rig = machine("limit")?;
    set(&rig, "TableLimit", "REG_DWORD", "600")?;
    rig.start("sluice")?;
    let outcome = sluicectl(&rig, &["policy", "load", "demo.toml"])?;
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("TableLimit"), "{}", outcome.stderr);
    assert_status(&rig, 0, false, false)?;
    fs::write(rig.file("small.toml"), "default = \"block\"\n")?;
    sluicectl_ok(&rig, &["policy", "load", "small.toml"])?;
    stop(&rig, "sluice")
}
