//! sluice.sys and its clients find each other and part from each other, in every order, and leave nothing behind.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rstest::rstest;
use sluice_rig::{Event, Rig, State};
use system_tests::{
    BOTH, C, Clients, EndOfRequests, RUST, arbitrary_requests, calls, end, install_second, machine, sluicectl,
    sluicectl_ok, started, stop, verdicts, verdicts_offline,
};

/// All are attached, and packets go through.
fn assert_attached(rig: &Rig, clients: Clients) -> Result<()> {
    assert_eq!(rig.alive()?.bindings, clients.count() as u64);
    assert_eq!(clients.verdicts(rig)?, verdicts_offline(rig, None)?);
    Ok(())
}

/// Each side was detached and cleaned up as often as it was attached: each client `bindings` times.
fn assert_ended(rig: &Rig, clients: Clients, bindings: usize) -> Result<()> {
    let events = rig.events()?;
    let called = |driver: &str, callbacks: [&str; 3], times: usize| {
        for callback in callbacks {
            assert_eq!(calls(&events, driver, callback), times, "{callback} of {driver}");
        }
    };
    for client in clients.names() {
        let callbacks = ["ClientAttachProvider", "ClientDetachProvider", "ClientCleanupBindingContext"];
        called(client, callbacks, bindings);
    }
    let callbacks = ["ProviderAttachClient", "ProviderDetachClient", "ProviderCleanupBindingContext"];
    called("sluice", callbacks, bindings * clients.count());
    assert!(rig.alive()?.is_nothing());
    Ok(())
}

#[rstest]
fn provider_starts_first_and_stops_first(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = started("pp", clients)?;
    assert_attached(&rig, clients)?;
    stop(&rig, "sluice")?;
    clients.stop(&rig)?;
    assert_ended(&rig, clients, 1)
}

#[rstest]
fn provider_starts_first_and_client_stops_first(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = started("pc", clients)?;
    assert_attached(&rig, clients)?;
    clients.stop(&rig)?;
    stop(&rig, "sluice")?;
    assert_ended(&rig, clients, 1)
}

/// A machine with the clients running, and sluice.sys started after them.
fn started_last(name: &str, clients: Clients) -> Result<Rig> {
    let rig = machine(name)?;
    clients.start(&rig)?;
    rig.start("sluice")?;
    Ok(rig)
}

#[rstest]
fn client_starts_first_and_provider_stops_first(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = started_last("cp", clients)?;
    assert_attached(&rig, clients)?;
    stop(&rig, "sluice")?;
    clients.stop(&rig)?;
    assert_ended(&rig, clients, 1)
}

#[rstest]
fn client_starts_first_and_stops_first(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = started_last("cc", clients)?;
    assert_attached(&rig, clients)?;
    clients.stop(&rig)?;
    stop(&rig, "sluice")?;
    assert_ended(&rig, clients, 1)
}

#[rstest]
fn a_client_survives_the_stop_of_its_provider_and_attaches_again_to_the_next(
    #[values(RUST, C, BOTH)] clients: Clients,
) -> Result<()> {
    let rig = started("restart", clients)?;
    for _ in 0..3 {
        assert_attached(&rig, clients)?;
        stop(&rig, "sluice")?;
        assert_eq!(rig.alive()?.bindings, 0);
        for client in clients.names() {
            assert_eq!(rig.state(client)?, State::Running);
            let outcome = sluicectl(&rig, &["classify", "--device", client, "demo.pcapng"])?;
            assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        }
        rig.start("sluice")?;
    }
    assert_attached(&rig, clients)?;
    clients.stop(&rig)?;
    stop(&rig, "sluice")?;
    assert_ended(&rig, clients, 4)
}

#[rstest]
fn a_provider_serves_one_client_after_the_other(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = machine("clients")?;
    rig.start("sluice")?;
    for _ in 0..3 {
        clients.start(&rig)?;
        assert_attached(&rig, clients)?;
        clients.stop(&rig)?;
    }
    stop(&rig, "sluice")?;
    assert_ended(&rig, clients, 3)
}

#[rstest]
fn a_second_copy_of_a_client_is_served_at_once_and_parts_by_itself(
    #[values(RUST, C, BOTH)] clients: Clients,
) -> Result<()> {
    let rig = started_last("two", clients)?;
    let second = install_second(&rig, clients.first())?;
    rig.start(&second)?;
    assert_eq!(rig.alive()?.bindings, clients.count() as u64 + 1);
    let expected = verdicts_offline(&rig, None)?;
    assert_eq!(clients.verdicts(&rig)?, expected);
    assert_eq!(verdicts(&rig, &second)?, expected);
    clients.stop(&rig)?;
    assert_eq!(verdicts(&rig, &second)?, expected);
    stop(&rig, "sluice")?;
    stop(&rig, &second)?;
    assert!(rig.alive()?.is_nothing());
    Ok(())
}

#[rstest]
fn a_client_that_is_refused_runs_without_a_provider(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = machine("refused")?;
    rig.install_misfit("refuser")?;
    rig.start("refuser")?;
    clients.start(&rig)?;
    assert_eq!(rig.printed("refuser")?, vec!["misfit: refused a client 0xC00002B9"; clients.count()]);
    assert_eq!(rig.alive()?.bindings, 0);
    let outcome = sluicectl(&rig, &["classify", "--device", clients.first(), "demo.pcapng"])?;
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    // A provider that accepts is taken as if the other were not there.
    rig.start("sluice")?;
    assert_attached(&rig, clients)?;
    stop(&rig, "refuser")?;
    end(&rig, clients)?;
    let events = rig.events()?;
    for client in clients.names() {
        assert_eq!(calls(&events, client, "ClientCleanupBindingContext"), 1, "{client}");
    }
    Ok(())
}

#[rstest]
fn a_client_that_declines_leaves_sluice_as_it_was(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = machine("declined")?;
    rig.install_misfit("decliner")?;
    rig.start("sluice")?;
    rig.start("decliner")?;
    assert_eq!(calls(&rig.events()?, "sluice", "ProviderAttachClient"), 0);
    clients.start(&rig)?;
    assert_attached(&rig, clients)?;
    stop(&rig, "decliner")?;
    end(&rig, clients)?;
    assert_ended(&rig, clients, 1)
}

#[rstest]
fn a_client_with_a_table_of_an_unknown_version_is_refused_and_nothing_else_happens(
    #[values(RUST, C, BOTH)] clients: Clients,
) -> Result<()> {
    let rig = machine("stranger")?;
    rig.install_misfit("stranger")?;
    rig.start("sluice")?;
    rig.start("stranger")?;
    assert_eq!(rig.printed("stranger")?, ["misfit: the provider answered version 999 with 0xC00002B9"]);
    assert_eq!(rig.alive()?.bindings, 0);
    clients.start(&rig)?;
    assert_attached(&rig, clients)?;
    stop(&rig, "stranger")?;
    end(&rig, clients)?;
    let events = rig.events()?;
    assert_eq!(calls(&events, "sluice", "ProviderCleanupBindingContext"), clients.count());
    assert_eq!(calls(&events, "stranger", "ClientDetachProvider"), 0);
    Ok(())
}

#[rstest]
fn the_provider_comes_and_goes_while_requests_pour_in(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    // At least that many times, and for at least that long.
    const ROUNDS: u32 = 2;
    const TIME: Duration = Duration::from_secs(6);
    let rig = started("load", clients)?;
    let longest = rig.scaled(10 * TIME);
    let report = thread::scope(|scope| {
        let end = EndOfRequests::new(&rig)?;
        let requests = scope.spawn(|| arbitrary_requests(&rig, clients.first(), longest, 7));
        let start = Instant::now();
        let mut rounds = 0;
        while !requests.is_finished() && (rounds < ROUNDS || start.elapsed() < TIME) {
            sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
            stop(&rig, "sluice")?;
            rig.start("sluice")?;
            rounds += 1;
        }
        drop(end);
        let report = requests.join().expect("arbitrary_requests() does not panic")?;
        ensure!(rounds >= ROUNDS, "expected {ROUNDS} rounds in {} s, found {rounds}", longest.as_secs());
        Ok(report)
    })?;
    // Some came while sluice was there.
    assert!(report.contains("PROBE_CLASSIFY: done: "), "{report}");
    // Others while it was not: ERROR_NOT_READY.
    assert!(report.contains("PROBE_CLASSIFY: error 21: "), "{report}");
    end(&rig, clients)
}

#[rstest]
fn a_provider_waits_for_a_slow_client_and_can_be_called_until_it_is_done(
    #[values(RUST, C, BOTH)] clients: Clients,
) -> Result<()> {
    let rig = machine("slow")?;
    rig.install_misfit("sluggard")?;
    rig.start("sluice")?;
    rig.start("sluggard")?;
    clients.start(&rig)?;
    assert_eq!(rig.alive()?.bindings, clients.count() as u64 + 1);
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
    clients.stop(&rig)?;
    assert!(rig.alive()?.is_nothing());
    Ok(())
}
