//! Whatever somebody types, the answer is clear, the exit code is 2 for wrong input and 1 for a machine that is not in
//! the state for it, and the drivers live on.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context, Result};
use sluice_rig::{Rig, State};
use system_tests::{hostile, machine, sluicectl, sluicectl_ok, verdicts, verdicts_offline};

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
    let folder: PathBuf = env::temp_dir().join(format!("sluice-input-{}", std::process::id()));
    fs::create_dir_all(&folder).context("cannot make a folder")?;
    let file = folder.join(name);
    fs::write(&file, content).context("cannot write")?;
    rig.copy_file(&file)?;
    Ok(())
}

#[test]
fn without_drivers_commands_end_with_1_and_say_what_to_start() -> Result<()> {
    let rig = machine("no-driver")?;
    fails(&rig, 1, &["status"], &["sluice"])?;
    fails(&rig, 1, &["policy", "load", "demo.toml"], &["sluice"])?;
    fails(&rig, 1, &["classify", "demo.pcapng"], &["probe"])?;
    fails(&rig, 1, &["classify", "--device", "nowhere", "demo.pcapng"], &["nowhere"])?;
    // A client without a provider is not enough either.
    rig.start("probe")?;
    fails(&rig, 1, &["classify", "demo.pcapng"], &["sluice"])
}

#[test]
fn wrong_files_end_with_2_and_the_drivers_live_on() -> Result<()> {
    let rig = machine("wrong-files")?;
    rig.start("sluice")?;
    rig.start("probe")?;
    write(&rig, "text.pcap", b"this is no capture\n")?;
    write(&rig, "empty.pcap", b"")?;
    // A pcap header with link type 147, which is for private use, and one packet of one byte.
    let mut private = b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00\0\0\0\0\0\0\0\0\xff\xff\0\0\x93\0\0\0".to_vec();
    private.extend(b"\0\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x00");
    write(&rig, "private.pcap", &private)?;
    write(&rig, "broken.toml", b"default = \n")?;
    write(&rig, "key.toml", b"default = \"permit\"\n[[rule]]\nid = 1\naction = \"block\"\nport = 80\n")?;
    fails(&rig, 2, &["classify", "absent.pcap"], &["absent.pcap"])?;
    fails(&rig, 2, &["classify", "text.pcap"], &["text.pcap"])?;
    fails(&rig, 2, &["classify", "empty.pcap"], &["empty.pcap"])?;
    fails(&rig, 2, &["classify", "private.pcap"], &["147"])?;
    fails(&rig, 2, &["policy", "load", "absent.toml"], &["absent.toml"])?;
    fails(&rig, 2, &["policy", "load", "broken.toml"], &["broken.toml", "1"])?;
    fails(&rig, 2, &["policy", "load", "key.toml"], &["key.toml", "port", "5"])?;
    fails(&rig, 2, &["classify", "--no-such-option"], &["--no-such-option"])?;
    assert_eq!(verdicts(&rig, "probe")?, verdicts_offline(&rig, None)?);
    for driver in ["sluice", "probe"] {
        assert_eq!(rig.state(driver)?, State::Running);
        assert!(rig.stop(driver)?.is_nothing());
    }
    Ok(())
}

/// The devices of both drivers, under the names that a program opens.
const DEVICES: [&str; 2] = ["Sluice", "probe"];

#[test]
fn requests_of_every_wrong_size_are_refused_and_change_nothing() -> Result<()> {
    let rig = machine("sizes")?;
    rig.start("sluice")?;
    rig.start("probe")?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    let before = verdicts(&rig, "probe")?;
    for device in DEVICES {
        let report = hostile(&rig, &["sizes", device])?;
        assert!(report.contains("requests: 15714"), "{report}");
    }
    // The only thing that a right request of the program does: it takes the policy out of force.
    assert_eq!(verdicts(&rig, "probe")?, verdicts_offline(&rig, None)?);
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    assert_eq!(verdicts(&rig, "probe")?, before);
    ends_clean(&rig)
}

#[test]
fn arbitrary_requests_from_many_threads_leave_the_drivers_alive_and_nothing_behind() -> Result<()> {
    let rig = machine("random")?;
    rig.start("sluice")?;
    rig.start("probe")?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    for device in DEVICES {
        let report = hostile(&rig, &["random", device, "5", "1"])?;
        println!("{device}:\n{report}");
        // Some requests are right, so the dispatchers were not kept from their work by a check in front of them.
        assert!(report.contains(": done: "), "{report}");
    }
    sluicectl_ok(&rig, &["policy", "clear"])?;
    assert_eq!(verdicts(&rig, "probe")?, verdicts_offline(&rig, None)?);
    ends_clean(&rig)
}

fn ends_clean(rig: &Rig) -> Result<()> {
    for driver in ["sluice", "probe"] {
        assert_eq!(rig.state(driver)?, State::Running);
        let left = rig.stop(driver)?;
        assert!(left.is_nothing(), "{driver} left {left}");
    }
    assert!(rig.alive()?.is_nothing());
    Ok(())
}
