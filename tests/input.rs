//! Whatever somebody types, the answer is clear, the exit code is 2 for wrong input and 1 for a machine that is not in
//! the state for it, and the drivers live on.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context, Result};
use sluice_rig::{Rig, State};
use system_tests::{machine, sluicectl, verdicts, verdicts_offline};

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
