//! What sluice.sys adds to a crash dump, read by the offsets of docs/windows.md.

use anyhow::{Context, Result, ensure};
use sluice_rig::{Event, Rig};
use system_tests::{BOTH, error_of, machine, sluicectl_ok, started, stop};

/// The data of sluice.sys in the dump of the bug check that there has been.
fn dumped(rig: &Rig) -> Result<Vec<u8>> {
    let events = rig.wait_for("the dump", |events| events.iter().any(|event| event.is("sluice", "dump")))?;
    let dumps: Vec<&Event> = events.iter().filter(|event| event.name == "dump").collect();
    ensure!(dumps.len() == 1, "{dumps:#?}");
    assert_eq!(dumps[0].get("id"), Some("bb1d8e57-3a0b-4f6c-9c5e-6d2f70c1a894"));
    assert_eq!(dumps[0].get("component"), Some("sluice"));
    let digits = dumps[0].get("bytes").context("no bytes")?;
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(anyhow::Error::from);
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn a_crash_of_another_driver_leaves_the_state_of_sluice_in_the_dump() -> Result<()> {
    let rig = started("crash-dump", BOTH)?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    let status: serde_json::Value = serde_json::from_str(&sluicectl_ok(&rig, &["status", "--json"])?)?;
    rig.install_misfit("crasher")?;
    let error = error_of(rig.start("crasher"))?;
    assert!(error.contains("crasher.sys caused bug check 0x1e"), "{error}");

    let data = dumped(&rig)?;
    assert_eq!(data.len(), 120 + 2 * 40);
    assert_eq!((&data[..8], word(&data, 8), word(&data, 12)), (&b"SluiceDp"[..], 1, 0));
    assert_ne!(long(&data, 16), 0);
    // A provider, of layout version 1.
    assert_eq!((&data[24..32], word(&data, 32), word(&data, 36)), (&b"WdkNmrRg"[..], 1, 1));
    assert!((40..64).step_by(8).all(|at| long(&data, at) != 0), "slot size, chunk and handle: {data:?}");
    let policy = &status["policy"];
    let shown = |key: &str| policy[key].as_u64().with_context(|| format!("{key} is not in {policy}"));
    assert_eq!((half(&data, 64), usize::from(half(&data, 66))), (1, 56));
    assert_eq!((long(&data, 88), u64::from(word(&data, 100))), (shown("generation")?, shown("rules")?));
    assert_eq!((word(&data, 112), word(&data, 116)), (2, 2), "bindings");
    for binding in data[120..].chunks(40) {
        assert_eq!((word(binding, 0), word(binding, 20), long(binding, 24)), (1, 2, 0), "a GUID, attached, no call");
    }
    Ok(())
}

#[test]
fn a_driver_that_has_stopped_adds_nothing_to_a_dump() -> Result<()> {
    let rig = machine("crash-dump-stopped")?;
    rig.start("sluice")?;
    stop(&rig, "sluice")?;
    rig.install_misfit("crasher")?;
    error_of(rig.start("crasher"))?;
    assert_eq!(rig.events()?.iter().filter(|event| event.name == "dump").count(), 0);
    Ok(())
}
