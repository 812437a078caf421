//! A program can be suspended at any call out of a driver that serves it, outside of critical regions: nothing else may
//! wait for it then.

use std::thread;

use anyhow::{Context, Result, ensure};
use rstest::rstest;
use sluice_rig::{Event, Outcome, Rig};
use system_tests::{C, Clients, RUST, end, error_of, install_gate, machine, number, send, sluicectl, stop, stop_gate};

/// Runs `program` with the `number`th call of its driver suspended; while it is, `meanwhile` is run. Returns whether
/// there was such a call.
fn suspended(
    rig: &Rig,
    driver: &str,
    number: u64,
    program: impl Fn(&Rig) -> Result<Outcome> + Sync,
    meanwhile: impl FnOnce(&Rig) -> Result<()>,
) -> Result<bool> {
    let seen =
        |rig: &Rig| -> Result<usize> { Ok(rig.events()?.iter().filter(|event| event.is(driver, "suspended")).count()) };
    let before = seen(rig)?;
    rig.verifier().suspend_call(driver, number)?;
    thread::scope(|scope| {
        let running = scope.spawn(|| program(rig));
        while seen(rig)? == before && !running.is_finished() {
            thread::yield_now();
        }
        let is_suspended = seen(rig)? > before;
        let outcome = if is_suspended { meanwhile(rig) } else { Ok(()) };
        // Before anything else: the thread has to be let go.
        rig.verifier().suspend_call(driver, 0)?;
        let ended = running.join().expect("a program does not panic");
        outcome?;
        ended?;
        Ok(is_suspended)
    })
}

#[rstest]
fn sluice_is_stopped_while_a_request_of_a_client_is_suspended(#[values(RUST, C)] clients: Clients) -> Result<()> {
    let rig = machine("suspended")?;
    let client = clients.first();
    rig.start("sluice")?;
    rig.start(client)?;
    let classify = |rig: &Rig| sluicectl(rig, &["classify", "--device", client, "demo.pcapng"]);
    let restart = |rig: &Rig| {
        stop(rig, "sluice")?;
        rig.start("sluice").map(drop)
    };
    let mut calls = 0;
    while suspended(&rig, client, calls + 1, classify, restart)? {
        calls += 1;
    }
    println!("{client} was suspended at {calls} calls");
    ensure!(calls > 0, "no call of {client} out of a request was suspended");
    // Sluice is called in the client's critical region or at DISPATCH_LEVEL; probe takes turns.
    for _ in 0..2 {
        ensure!(!suspended(&rig, "sluice", 1, classify, restart)?, "sluice was suspended while {client} called it");
    }
    end(&rig, clients)
}

#[test]
fn sluice_is_stopped_while_a_request_of_gate_is_suspended_and_packets_are_sent() -> Result<()> {
    let rig = machine("suspended-gate")?;
    let network = install_gate(&rig)?;
    rig.start("sluice")?;
    rig.start("gate")?;
    let sending = send(network)?;
    let restart = |rig: &Rig| {
        stop(rig, "sluice")?;
        rig.start("sluice").map(drop)
    };
    for request in [["gate", "enable"], ["gate", "status"], ["gate", "disable"]] {
        let ask = |rig: &Rig| sluicectl(rig, &request);
        let mut calls = 0;
        while suspended(&rig, "gate", calls + 1, ask, restart)? {
            calls += 1;
        }
        println!("gate was suspended at {calls} calls of `{}`", request.join(" "));
        ensure!(calls > 0, "no call of gate out of `{}` was suspended", request.join(" "));
    }
    sending.stop()?;
    stop_gate(&rig, network)?;
    stop(&rig, "sluice")
}

#[test]
fn a_client_comes_and_goes_while_a_change_of_the_policy_is_suspended() -> Result<()> {
    let rig = machine("suspended-change")?;
    rig.start("sluice")?;
    rig.start("probe")?;
    let load = |rig: &Rig| sluicectl(rig, &["policy", "load", "demo.toml", "--persist"]);
    let restart = |rig: &Rig| {
        stop(rig, "probe")?;
        rig.start("probe").map(drop)
    };
    // Each call of the request is much like the one before: as many as there are rounds, and further apart each time.
    let mut calls = 0;
    for round in 1..=number("SLUICE_RIG_ROUNDS", 2)? {
        calls += u64::from(suspended(&rig, "sluice", round * (round + 1) / 2, load, restart)?);
    }
    println!("sluice was suspended at {calls} calls of a change of the policy");
    ensure!(calls > 0, "no call of sluice out of a request was suspended");
    end(&rig, RUST)
}

#[test]
fn a_driver_that_is_suspended_with_a_guard_is_blamed_for_the_wait() -> Result<()> {
    let rig = machine("suspended-guard")?;
    rig.install_misfit("io-suspended")?;
    rig.start("sluice")?;
    rig.start("io-suspended")?;
    let read =
        |rig: &Rig| rig.run("cmd", &["/c", "type", r"\\.\misfit"], rig.scaled(std::time::Duration::from_secs(60)));
    // On a slow machine `sc` gives up before the wait has lasted too long.
    let stop = |rig: &Rig| {
        error_of(stop(rig, "sluice"))?;
        let ended = |events: &[Event]| events.iter().any(|event| event.is("io-suspended", "bugcheck"));
        rig.wait_for("the bug check", ended).map(drop)
    };
    // The first call completes the opening of the device; the second is made with the guard.
    ensure!(suspended(&rig, "io-suspended", 2, read, stop)?, "the second call was not suspended");
    let text = rig.bug_check_text(&rig.bug_check()?.context("there is no bug check")?);
    let says = "io-suspended.sys caused bug check 0xc4: others wait for a thread that was suspended";
    ensure!(text.contains(says) && text.contains(", in the call of DbgPrint at "), "{text}");
    Ok(())
}
