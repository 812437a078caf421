//! What sluice.sys tells Event Tracing for Windows. The rig is a session that listens to everything.

use std::fs;

use anyhow::{Context, Result};
use rstest::rstest;
use sluice_rig::{Event, Rig, root};
use system_tests::{hostile, machine, sluicectl, sluicectl_ok};

/// The events of sluice.sys, without what came before.
struct Trace<'a> {
    rig: &'a Rig,
    seen: usize,
}

impl<'a> Trace<'a> {
    fn new(rig: &'a Rig) -> Result<Self> {
        Ok(Self { rig, seen: rig.events()?.len() })
    }

    fn next(&mut self) -> Result<Vec<Event>> {
        let events = self.rig.events()?;
        let new = events[self.seen..].iter().filter(|event| event.is("sluice", "trace")).cloned().collect();
        self.seen = events.len();
        Ok(new)
    }

    /// The one event since the last question: its name, and some of its fields.
    fn assert_one(&mut self, name: &str, fields: &[(&str, &str)]) -> Result<Event> {
        let events = self.next()?;
        let [event] = &events[..] else { panic!("not one event {name} but {events:#?}") };
        assert_eq!(event.get("event"), Some(name), "{event}");
        for (field, value) in fields {
            assert_eq!(event.get(field), Some(*value), "{field} of {event}");
        }
        Ok(event.clone())
    }
}

/// The clients, and their module ids as a trace shows them.
const PROBE: (&str, &str) = ("probe", "918576ed-61a6-4846-bdb1-1c7dab032993");
const PROBE_C: (&str, &str) = ("probe-c", "d60f96e3-e6a4-4368-8806-528d8cac6b8c");

#[rstest]
fn the_life_of_driver_clients_and_policy_is_traced(
    #[values(&[PROBE], &[PROBE_C], &[PROBE, PROBE_C])] clients: &[(&str, &str)],
) -> Result<()> {
    let rig = machine("trace")?;
    let mut trace = Trace::new(&rig)?;
    rig.start("sluice")?;
    trace.assert_one("DriverLoad", &[("level", "4"), ("keyword", "0x1"), ("Version", env!("CARGO_PKG_VERSION"))])?;

    for (name, id) in clients {
        rig.start(name)?;
        let attach = [("level", "4"), ("keyword", "0x2"), ("ModuleId", *id), ("Name", *name), ("DriverVersion", "1")];
        trace.assert_one("ClientAttach", &attach)?;
    }

    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    let event =
        trace.assert_one("PolicyChange", &[("Generation", "1"), ("DefaultAction", "1"), ("Persisted", "false")])?;
    assert!(event.number("Rules") > 0 && event.number("TableLength") > 0, "{event}");
    for (name, _) in clients {
        sluicectl_ok(&rig, &["classify", "demo.pcapng", "--summary", "--device", name])?;
    }
    sluicectl_ok(&rig, &["policy", "clear"])?;
    trace.assert_one("PolicyChange", &[("Generation", "2"), ("Rules", "0"), ("TableLength", "0")])?;

    for (name, id) in clients {
        assert!(rig.stop(name)?.is_nothing());
        let event = trace.assert_one("ClientDetach", &[("ModuleId", *id), ("Name", *name)])?;
        assert!(event.number("AttachedMs") > 0 && event.number("Packets") > 0, "{event}");
        // Nothing was in progress.
        assert!(event.number("DetachingMs") < 1000, "{event}");
    }

    assert!(rig.stop("sluice")?.is_nothing());
    trace.assert_one("DriverUnload", &[("Leaked", "false")])?;
    Ok(())
}

#[test]
fn a_refused_client_is_traced_with_what_it_was_answered() -> Result<()> {
    let rig = machine("trace-refuse")?;
    rig.install_misfit("stranger")?;
    rig.start("sluice")?;
    let mut trace = Trace::new(&rig)?;
    rig.start("stranger")?;
    let event = trace.assert_one("ClientRefuse", &[("level", "3"), ("keyword", "0x2"), ("Status", "0xc00002b9")])?;
    assert!(event.get("ModuleId").is_some_and(|id| id != "00000000-0000-0000-0000-000000000000"), "{event}");
    Ok(())
}

#[test]
fn a_slow_detach_is_traced_with_how_long_it_took() -> Result<()> {
    let rig = machine("trace-slow")?;
    rig.install_misfit("sluggard")?;
    rig.start("sluice")?;
    rig.start("sluggard")?;
    let mut trace = Trace::new(&rig)?;
    assert!(rig.stop("sluice")?.is_nothing());
    let events = trace.next()?;
    let detach = events.iter().find(|event| event.get("event") == Some("ClientDetach")).context("no detach")?;
    assert!(detach.number("DetachingMs") >= 50, "{detach}");
    Ok(())
}

#[test]
fn requests_that_are_rejected_cannot_flood_the_trace() -> Result<()> {
    let rig = machine("trace-flood")?;
    rig.start("sluice")?;
    let mut trace = Trace::new(&rig)?;
    let outcome = sluicectl(&rig, &["classify", "--device", "Sluice", "demo.pcapng"])?;
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    trace.assert_one("RequestReject", &[("level", "3"), ("keyword", "0x8"), ("Code", "0x00126040")])?;
    let report = hostile(&rig, &["random", "Sluice", "3", "5"])?;
    let events = trace.next()?;
    let of_kind =
        |name: &str| events.iter().filter(|event| event.get("event") == Some(name)).cloned().collect::<Vec<_>>();
    let rejects = of_kind("RequestReject");
    assert!((1..=5).contains(&rejects.len()), "{} events for:\n{report}", rejects.len());
    let unreported: u64 = rejects.iter().map(|event| event.number("Unreported")).sum();
    assert!(unreported > 100, "{unreported} of:\n{report}");
    Ok(())
}

#[test]
fn the_provider_is_the_one_that_the_documentation_names() -> Result<()> {
    let rig = machine("trace-provider")?;
    rig.start("sluice")?;
    let events = rig.events()?;
    let registered = events.iter().find(|event| event.is("sluice", "etw_register")).context("no provider")?;
    let provider = registered.get("provider").context("no identifier")?;
    let page = fs::read_to_string(root().join("docs/tracing.md"))?;
    assert!(page.contains(provider), "docs/tracing.md does not name {provider}");
    Ok(())
}
