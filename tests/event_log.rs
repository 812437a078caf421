//! What an administrator finds in the System log. The rig keeps what was written, and the texts are those in the .sys
//! file, put together as the Event Viewer does it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use driver_check::image;
use sluice_rig::{Event, Rig};
use system_tests::{error_of, machine, set_parameter, sluicectl, sluicectl_ok, stop};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The entries of sluice.sys since the last question.
struct SystemLog<'a> {
    rig: &'a Rig,
    messages: BTreeMap<u32, String>,
    seen: usize,
}

impl<'a> SystemLog<'a> {
    fn new(rig: &'a Rig) -> Result<Self> {
        Ok(Self { rig, messages: image::messages(&rig.product("sluice.sys"))?, seen: rig.events()?.len() })
    }

    /// The number and the text of each.
    fn next(&mut self) -> Result<Vec<(u32, String)>> {
        let events = self.rig.events()?;
        let new = events[self.seen..].iter().filter(|event| event.is("sluice", "event_log"));
        let entries = new.map(|event| self.shown(event)).collect();
        self.seen = events.len();
        entries
    }

    /// An entry as the Event Viewer shows it.
    fn shown(&self, entry: &Event) -> Result<(u32, String)> {
        let code = entry.get("code").and_then(|code| u32::from_str_radix(code.strip_prefix("0x")?, 16).ok());
        let code = code.with_context(|| format!("no code: {entry}"))?;
        let mut text = self.messages.get(&code).with_context(|| format!("no text for {entry}"))?.clone();
        for (name, string) in entry.properties.iter().filter(|(name, _)| name.starts_with('s')) {
            let place = format!("%{}", &name[1..]);
            ensure!(text.contains(&place), "{place} of {entry} is not in: {text}");
            text = text.replace(&place, string);
        }
        ensure!(!text.contains('%'), "{entry} does not fill in: {text}");
        Ok((code & 0xFFFF, text.trim_end().to_owned()))
    }

    /// The one entry since the last question.
    fn one(&mut self) -> Result<(u32, String)> {
        let mut entries = self.next()?;
        ensure!(entries.len() == 1, "not one entry but {entries:#?}");
        entries.pop().context("there is one")
    }
}

fn entry(number: u32, text: impl Into<String>) -> (u32, String) {
    (number, text.into())
}

#[test]
fn start_policies_and_stop_are_told_to_administrators() -> Result<()> {
    let rig = machine("event-log")?;
    let mut log = SystemLog::new(&rig)?;
    rig.start("sluice")?;
    let without = "Policy generation 0 is in force: 0 rules, and a packet that no rule matches is permitted.";
    assert_eq!(log.one()?, entry(1, format!("Sluice {VERSION} has started. {without}")));

    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    let (number, loaded) = log.one()?;
    assert_eq!(number, 7);
    assert!(loaded.starts_with("Policy generation 1 is in force until Sluice stops: "), "{loaded}");
    let by = loaded.split("The change was made by process ").nth(1).context("by whom")?;
    let (process, user) = by.split_once(" of user ").context("process and user")?;
    assert!(process.parse::<u32>().is_ok_and(|process| process != 0), "{by}");
    // Wine gives its user the SID of an account of the local machine.
    assert!(user.starts_with("S-1-5-21-") && user.ends_with('.'), "{by}");

    sluicectl_ok(&rig, &["policy", "load", "demo.toml", "--persist"])?;
    let (_, persisted) = log.one()?;
    assert!(persisted.starts_with("Policy generation 2 is in force, also after the next start: "), "{persisted}");
    stop(&rig, "sluice")?;
    assert_eq!(log.one()?, entry(3, "Sluice has stopped."));

    rig.start("sluice")?;
    let (number, started) = log.one()?;
    let rules = loaded.split(": ").nth(1).and_then(|rest| rest.split(" rules").next()).context("rules")?;
    let with = format!("Sluice {VERSION} has started. Policy generation 1 is in force: {rules} rules, ");
    assert!(number == 1 && started.starts_with(&with), "{started}");
    stop(&rig, "sluice")
}

#[test]
fn a_policy_that_cannot_be_used_is_told_to_administrators_with_what_comes_of_it() -> Result<()> {
    let rig = machine("event-log-damaged")?;
    rig.start("sluice")?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml", "--persist"])?;
    stop(&rig, "sluice")?;
    let file = persisted_file(&rig)?;
    std::fs::write(&file, "no policy, in as many bytes as a seal has")?;
    let mut log = SystemLog::new(&rig)?;

    error_of(rig.start("sluice"))?;
    let why = "the persisted policy cannot be used (status 0xc0000102)";
    assert_eq!(log.one()?, entry(2, format!("Sluice has not started: {why}.")));

    for (reaction, number, does, done) in [("1", 5, "permits", "permitted"), ("2", 6, "blocks", "blocked")] {
        set_parameter(&rig, "OnPolicyError", "REG_DWORD", reaction)?;
        rig.start("sluice")?;
        let error = format!(
            "The persisted policy cannot be used (status 0xc0000102). Until a policy is loaded, Sluice {does} every \
             packet, as the setting OnPolicyError demands."
        );
        let entries = log.next()?;
        assert_eq!(entries[0], entry(number, error));
        assert_eq!(entries.len(), 2, "{entries:#?}");
        assert!(entries[1].1.ends_with(&format!("0 rules, and a packet that no rule matches is {done}.")));
        stop(&rig, "sluice")?;
        log.next()?;
    }

    set_parameter(&rig, "OnPolicyError", "REG_DWORD", "3")?;
    error_of(rig.start("sluice"))?;
    assert_eq!(log.one()?, entry(2, "Sluice has not started: OnPolicyError cannot be used (status 0xc000000d)."));
    Ok(())
}

#[test]
fn entries_for_which_there_is_no_memory_are_counted_and_told_of() -> Result<()> {
    let rig = machine("event-log-memory")?;
    rig.start("sluice")?;
    let mut log = SystemLog::new(&rig)?;
    let mut missed = 0;
    for number in 1.. {
        let before = rig.events()?.len();
        rig.verifier().fail_call("sluice", number)?;
        sluicectl(&rig, &["policy", "clear"])?;
        if rig.verifier().fail_none()? == 0 {
            break;
        }
        let events = rig.events()?;
        let fault = events[before..].iter().find(|event| event.name == "fault").context("nothing failed")?;
        let entries = log.next()?;
        match fault.get("function") {
            Some("IoAllocateErrorLogEntry") => {
                assert_eq!(entries, []);
                missed += 1;
                sluicectl_ok(&rig, &["policy", "clear"])?;
                let entries = log.next()?;
                assert_eq!(entries.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [8, 7], "{entries:#?}");
                assert!(entries[0].1.starts_with("1 entries of Sluice are missing before this one: "), "{entries:#?}");
            }
            // Nobody takes the process for the one who asked if the kernel does not say whom a thread acts for.
            Some("ZwOpenThreadTokenEx" | "ZwQueryInformationToken" | "RtlConvertSidToUnicodeString") => {
                assert!(entries[0].1.ends_with(" of user unknown."), "{entries:#?}");
            }
            _ => {}
        }
    }
    assert_eq!(missed, 1, "an entry is one allocation");
    stop(&rig, "sluice")
}

/// Where the policy is persisted on this machine.
fn persisted_file(rig: &Rig) -> Result<PathBuf> {
    let file = rig.file("../windows/system32/drivers/DriverData/sluice/policy");
    ensure!(file.exists(), "{} does not exist", file.display());
    Ok(file)
}
