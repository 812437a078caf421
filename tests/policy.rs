//! Policies are loaded into the running driver, decide there as they do outside of it, and change under attached clients.

use std::{env, fs};

use anyhow::{Context, Result};
use sluice_rig::Rig;
use system_tests::{install_second_probe, machine, sluicectl, sluicectl_ok, verdicts, verdicts_offline};

fn started(name: &str) -> Result<Rig> {
    let rig = machine(name)?;
    rig.start("sluice")?;
    rig.start("probe")?;
    Ok(rig)
}

fn stop(rig: &Rig, drivers: &[&str]) -> Result<()> {
    for driver in drivers {
        let left = rig.stop(driver)?;
        assert!(left.is_nothing(), "{driver} left {left}");
    }
    assert!(rig.alive()?.is_nothing());
    Ok(())
}

#[test]
fn a_policy_decides_in_the_driver_as_it_does_outside() -> Result<()> {
    let rig = started("load")?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    let online = verdicts(&rig, "probe")?;
    assert_eq!(online, verdicts_offline(&rig, Some("demo.toml"))?);
    assert!(online.contains(r#""action":"block""#) && online.contains(r#""action":"permit""#), "{online}");
    sluicectl_ok(&rig, &["policy", "clear"])?;
    assert_eq!(verdicts(&rig, "probe")?, verdicts_offline(&rig, None)?);
    stop(&rig, &["sluice", "probe"])
}

#[test]
fn a_policy_is_in_force_for_every_client() -> Result<()> {
    let rig = started("shared")?;
    install_second_probe(&rig)?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    // Attached after the policy was loaded.
    rig.start("probe2")?;
    assert_eq!(verdicts(&rig, "probe")?, verdicts(&rig, "probe2")?);
    stop(&rig, &["probe2", "sluice", "probe"])
}

#[test]
fn a_policy_that_is_wrong_leaves_the_old_one_in_force() -> Result<()> {
    let rig = started("wrong")?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    let before = verdicts(&rig, "probe")?;
    let file = env::temp_dir().join(format!("sluice-wrong-{}.toml", std::process::id()));
    fs::write(&file, "default = \"permit\"\n[[rule]]\nid = 1\naction = \"drop\"\n").context("cannot write")?;
    let name = rig.copy_file(&file)?;
    fs::remove_file(&file).context("cannot remove")?;
    let outcome = sluicectl(&rig, &["policy", "load", &name])?;
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    assert!(outcome.stderr.contains('4') && outcome.stderr.contains("action"), "{}", outcome.stderr);
    assert_eq!(verdicts(&rig, "probe")?, before);
    stop(&rig, &["probe", "sluice"])
}

#[test]
fn status_shows_the_clients_and_counts_their_packets() -> Result<()> {
    let rig = started("status")?;
    let packets = verdicts(&rig, "probe")?.lines().count();
    let status = sluicectl_ok(&rig, &["status", "--json"])?;
    assert!(status.contains(&format!(r#""packets":{packets}"#)), "{status}");
    assert!(status.contains(&format!(r#""permitted":{packets}"#)), "{status}");
    assert!(rig.stop("probe")?.is_nothing());
    let status = sluicectl_ok(&rig, &["status", "--json"])?;
    assert!(status.contains(r#""clients":[]"#), "{status}");
    Ok(())
}

/// With SLUICE_CAPTURES: every capture of that folder, of which many are malformed, gets the verdicts that the same
/// code gives outside of the kernel.
#[test]
fn captures_never_seen_before_are_classified_as_outside_of_the_kernel() -> Result<()> {
    let Some(folder) = env::var_os("SLUICE_CAPTURES") else {
        println!("SLUICE_CAPTURES names no folder of captures: nothing was tested");
        return Ok(());
    };
    let rig = started("captures")?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    let mut files: Vec<_> = fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng"));
    files.sort();
    assert!(!files.is_empty(), "no captures in SLUICE_CAPTURES");
    for file in files {
        let name = rig.copy_file(&file)?;
        let online = sluicectl(&rig, &["classify", "--json", &name])?;
        let offline = sluicectl(&rig, &["classify", "--json", "--offline", "--policy", "demo.toml", &name])?;
        assert_eq!((online.code, online.stdout), (offline.code, offline.stdout), "{name}: {}", online.stderr);
    }
    stop(&rig, &["sluice", "probe"])
}
