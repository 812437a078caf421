//! sluice.sys and probe.sys find each other and part from each other, in every order, and leave nothing behind.

use std::thread;

use anyhow::Result;
use sluice_rig::{Event, Rig, State};
use system_tests::{
    calls, hostile, install_second_probe, machine, sluicectl, sluicectl_ok, verdicts, verdicts_offline,
};

/// Both are attached, and packets go through.
fn assert_attached(rig: &Rig) -> Result<()> {
    assert_eq!(rig.alive()?.bindings, 1);
    assert_eq!(verdicts(rig, "probe")?, verdicts_offline(rig, None)?);
    Ok(())
}

/// Each side was detached and cleaned up as often as it was attached.
fn assert_ended(rig: &Rig, bindings: usize) -> Result<()> {
    let events = rig.events()?;
    for (driver, callbacks) in [
        ("probe", ["ClientAttachProvider", "ClientDetachProvider", "ClientCleanupBindingContext"]),
        ("sluice", ["ProviderAttachClient", "ProviderDetachClient", "ProviderCleanupBindingContext"]),
    ] {
        for callback in callbacks {
            assert_eq!(calls(&events, driver, callback), bindings, "{callback} of {driver}");
        }
    }
    assert!(rig.alive()?.is_nothing());
    Ok(())
}

fn stop(rig: &Rig, driver: &str) -> Result<()> {
    let left = rig.stop(driver)?;
    assert!(left.is_nothing(), "{driver} left {left}");
    assert_eq!(rig.state(driver)?, State::Stopped);
    Ok(())
}

/// Starts both in one order and stops them in one order.
fn start_and_stop(name: &str, start: [&str; 2], end: [&str; 2]) -> Result<()> {
    let rig = machine(name)?;
    for driver in start {
        rig.start(driver)?;
    }
    assert_attached(&rig)?;
    for driver in end {
        stop(&rig, driver)?;
    }
    assert_ended(&rig, 1)
}

#[test]
fn provider_starts_first_and_stops_first() -> Result<()> {
    start_and_stop("pp", ["sluice", "probe"], ["sluice", "probe"])
}

#[test]
fn provider_starts_first_and_client_stops_first() -> Result<()> {
    start_and_stop("pc", ["sluice", "probe"], ["probe", "sluice"])
}

#[test]
fn client_starts_first_and_provider_stops_first() -> Result<()> {
    start_and_stop("cp", ["probe", "sluice"], ["sluice", "probe"])
}

#[test]
fn client_starts_first_and_stops_first() -> Result<()> {
    start_and_stop("cc", ["probe", "sluice"], ["probe", "sluice"])
}

#[test]
fn a_client_survives_the_stop_of_its_provider_and_attaches_again_to_the_next() -> Result<()> {
    let rig = machine("restart")?;
    rig.start("sluice")?;
    rig.start("probe")?;
    for _ in 0..3 {
        assert_attached(&rig)?;
        stop(&rig, "sluice")?;
        assert_eq!(rig.state("probe")?, State::Running);
        assert_eq!(rig.alive()?.bindings, 0);
        let outcome = sluicectl(&rig, &["classify", "demo.pcapng"])?;
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        rig.start("sluice")?;
    }
    assert_attached(&rig)?;
    stop(&rig, "probe")?;
    stop(&rig, "sluice")?;
    assert_ended(&rig, 4)
}

#[test]
fn a_provider_serves_one_client_after_the_other() -> Result<()> {
    let rig = machine("clients")?;
    rig.start("sluice")?;
    for _ in 0..3 {
        rig.start("probe")?;
        assert_attached(&rig)?;
        stop(&rig, "probe")?;
    }
    stop(&rig, "sluice")?;
    assert_ended(&rig, 3)
}

#[test]
fn two_clients_are_served_at_once_and_part_independently() -> Result<()> {
    let rig = machine("two")?;
    install_second_probe(&rig)?;
    rig.start("probe")?;
    rig.start("sluice")?;
    rig.start("probe2")?;
    assert_eq!(rig.alive()?.bindings, 2);
    let expected = verdicts_offline(&rig, None)?;
    assert_eq!(verdicts(&rig, "probe")?, expected);
    assert_eq!(verdicts(&rig, "probe2")?, expected);
    stop(&rig, "probe")?;
    assert_eq!(verdicts(&rig, "probe2")?, expected);
    stop(&rig, "sluice")?;
    stop(&rig, "probe2")?;
    assert!(rig.alive()?.is_nothing());
    Ok(())
}

#[test]
fn a_client_that_is_refused_runs_without_a_provider() -> Result<()> {
    let rig = machine("refused")?;
    rig.install_misfit("refuser")?;
    rig.start("refuser")?;
    rig.start("probe")?;
    assert_eq!(rig.printed("refuser")?, ["misfit: refused a client 0xC00002B9"]);
    assert_eq!(rig.alive()?.bindings, 0);
    let outcome = sluicectl(&rig, &["classify", "demo.pcapng"])?;
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    // A provider that accepts is taken as if the other were not there.
    rig.start("sluice")?;
    assert_attached(&rig)?;
    for driver in ["refuser", "sluice", "probe"] {
        stop(&rig, driver)?;
    }
    assert_eq!(calls(&rig.events()?, "probe", "ClientCleanupBindingContext"), 1);
    Ok(())
}

#[test]
fn a_client_that_declines_leaves_sluice_as_it_was() -> Result<()> {
    let rig = machine("declined")?;
    rig.install_misfit("decliner")?;
    rig.start("sluice")?;
    rig.start("decliner")?;
    assert_eq!(calls(&rig.events()?, "sluice", "ProviderAttachClient"), 0);
    rig.start("probe")?;
    assert_attached(&rig)?;
    for driver in ["decliner", "probe", "sluice"] {
        stop(&rig, driver)?;
    }
    assert_ended(&rig, 1)
}

#[test]
fn a_client_with_a_table_of_an_unknown_version_is_refused_and_nothing_else_happens() -> Result<()> {
    let rig = machine("stranger")?;
    rig.install_misfit("stranger")?;
    rig.start("sluice")?;
    rig.start("stranger")?;
    assert_eq!(rig.printed("stranger")?, ["misfit: the provider answered version 999 with 0xC00002B9"]);
    assert_eq!(rig.alive()?.bindings, 0);
    rig.start("probe")?;
    assert_attached(&rig)?;
    for driver in ["stranger", "sluice", "probe"] {
        stop(&rig, driver)?;
    }
    let events = rig.events()?;
    assert_eq!(calls(&events, "sluice", "ProviderCleanupBindingContext"), 1);
    assert_eq!(calls(&events, "stranger", "ClientDetachProvider"), 0);
    Ok(())
}

#[test]
fn the_provider_comes_and_goes_while_requests_pour_in() -> Result<()> {
    let rig = machine("load")?;
    rig.start("sluice")?;
    rig.start("probe")?;
    let report = thread::scope(|scope| {
        let requests = scope.spawn(|| hostile(&rig, &["random", "probe", "8", "7"]));
        let mut rounds = 0;
        while !requests.is_finished() {
            sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
            stop(&rig, "sluice")?;
            rig.start("sluice")?;
            rounds += 1;
        }
        assert!(rounds > 1, "the requests ended too soon");
        requests.join().expect("hostile() does not panic")
    })?;
    // Some came while sluice was there.
    assert!(report.contains("PROBE_CLASSIFY: done: "), "{report}");
    // Others while it was not: ERROR_NOT_READY.
    assert!(report.contains("PROBE_CLASSIFY: error 21: "), "{report}");
    stop(&rig, "probe")?;
    stop(&rig, "sluice")?;
    assert!(rig.alive()?.is_nothing());
    Ok(())
}

#[test]
fn a_provider_waits_for_a_slow_client_and_can_be_called_until_it_is_done() -> Result<()> {
    let rig = machine("slow")?;
    rig.install_misfit("sluggard")?;
    rig.start("sluice")?;
    rig.start("sluggard")?;
    rig.start("probe")?;
    assert_eq!(rig.alive()?.bindings, 2);
    stop(&rig, "sluice")?;
    // What the client did between its detach callback and its completion, all of it before sluice was gone.
    let events = rig.events()?;
    let position = |driver: &str, name: &str, value: &str| {
        let found = |event: &Event| event.is(driver, name) && event.properties.iter().any(|(_, text)| text == value);
        events.iter().position(found).unwrap_or_else(|| panic!("{driver} {name} {value} is not in the log"))
    };
    let order = [
        position("sluggard", "callback", "ClientDetachProvider"),
        position("sluggard", "debug", "misfit: the provider still answers 0x00000000"),
        position("sluggard", "nmr", "NmrClientDetachProviderComplete"),
        position("sluice", "nmr", "NmrWaitForProviderDeregisterComplete"),
    ];
    assert!(order.is_sorted(), "{order:?}");
    stop(&rig, "sluggard")?;
    stop(&rig, "probe")?;
    assert!(rig.alive()?.is_nothing());
    Ok(())
}
