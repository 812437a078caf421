//! Every call of a driver that can fail, failed in turn: the answer is a clean one, nothing stays behind, and the next
//! try succeeds.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rstest::rstest;
use sluice_rig::{Network, Rig, State};
use system_tests::{
    BOTH, C, Clients, EndOfRequests, RUST, arbitrary_requests, data, end, install_gate, install_second, machine,
    number, send, set_parameter, sluicectl, sluicectl_ok, start_gate, started, stop, stop_gate, verdicts,
    verdicts_offline,
};

/// What a scenario came to while a call in it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// It succeeded: the driver can do without.
    Through,
    /// It was refused, with a status.
    Refused,
}

/// Runs `scenario` with the first, the second, ... call of `driver` failed, until it has no further call. `recover`
/// gets what became of it, and has to leave everything as it was before. Returns how many calls there were.
fn sweep(
    rig: &Rig,
    name: &str,
    driver: &str,
    scenario: impl Fn() -> Result<Came>,
    recover: impl Fn(Came) -> Result<()>,
) -> Result<u64> {
    let (mut number, mut refused) = (0, 0);
    loop {
        number += 1;
        let mut run = || {
            rig.verifier().fail_call(driver, number)?;
            let came = scenario()?;
            let failed = rig.verifier().fail_none()?;
            ensure!(failed > 0 || came == Came::Through, "refused with no call failed");
            refused += u64::from(came == Came::Refused);
            recover(came)?;
            let bug_check = rig.bug_check()?;
            ensure!(bug_check.is_none(), "{bug_check:?}");
            Ok(failed)
        };
        let failed = run().with_context(|| {
            let events = rig.events().unwrap_or_default();
            let fault = events.iter().rfind(|event| event.name == "fault");
            let call = fault.and_then(|fault| rig.place(fault)).unwrap_or_default();
            format!("{name}: the call {number} of {driver} that can fail was failed, {call}")
        })?;
        if failed == 0 {
            let calls = number - 1;
            println!("{name}: {calls} calls of {driver} were failed in turn, {refused} of them to a refusal");
            return Ok(calls);
        }
    }
}

/// `sc start`, which may fail in one way alone: the driver answers a status, and is gone with nothing left.
fn start(rig: &Rig, driver: &str) -> Result<Came> {
    /// What `sc` says when the process of the drivers has ended, or does not answer (docs/rig.md).
    const CRASHED: [&str; 3] = ["109", "232", "1053"];
    let unloads =
        |rig: &Rig| -> Result<usize> { Ok(rig.events()?.iter().filter(|event| event.is(driver, "unload")).count()) };
    let before = unloads(rig)?;
    let outcome = rig.sc(&["start", driver])?;
    if outcome.succeeded() {
        return Ok(Came::Through);
    }
    let number = outcome.stderr.trim_end().rsplit(' ').next().unwrap_or_default();
    ensure!(!CRASHED.contains(&number), "`{}` ended with {}", outcome.line, outcome.stderr);
    let events =
        rig.wait_for("the unload", |events| events.iter().filter(|event| event.is(driver, "unload")).count() > before)?;
    let unload = events.iter().rfind(|event| event.is(driver, "unload")).context("waited for")?;
    let left = sluice_rig::Left::of(unload);
    ensure!(left.is_nothing(), "{driver} left {left}");
    Ok(Came::Refused)
}

/// sluicectl, which may fail in one way alone: it says what the driver answered.
fn tool(rig: &Rig, arguments: &[&str]) -> Result<Came> {
    let outcome = sluicectl(rig, arguments)?;
    match outcome.code {
        Some(0) => Ok(Came::Through),
        Some(1) if !outcome.stderr.trim().is_empty() => Ok(Came::Refused),
        code => anyhow::bail!("`{}` ended with {code:?}: {}", outcome.line, outcome.stderr),
    }
}

/// Starts a driver again after a try that came to that, and stops it.
fn start_and_stop(rig: &Rig, driver: &str, came: Came) -> Result<()> {
    if came == Came::Refused {
        ensure!(rig.state(driver)? == State::Stopped, "{driver} does not count as stopped");
        rig.start(driver)?;
    }
    stop(rig, driver)
}

#[test]
fn every_start_of_gate_without_a_resource_is_refused_or_whole() -> Result<()> {
    let rig = machine("low-gate")?;
    let network = install_gate(&rig)?;
    let recover = |came| {
        start_and_stop(&rig, "gate", came)?;
        ensure!(network.state()? == [0; 5], "callouts are left");
        Ok(())
    };
    let calls = sweep(&rig, "start", "gate", || start(&rig, "gate"), recover)?;
    ensure!(calls > 0, "no call of a start can fail");
    Ok(())
}

#[test]
fn every_start_of_sluice_without_a_resource_is_refused_or_whole() -> Result<()> {
    let rig = machine("low-start")?;
    // Two groups of the assembler instead of two hundred: each is an allocation.
    set_parameter(&rig, "AssemblyMemory", "REG_DWORD", "49152")?;
    sweep(&rig, "start", "sluice", || start(&rig, "sluice"), |came| start_and_stop(&rig, "sluice", came))?;
    // With a persisted policy: a driver that starts has it in force.
    rig.start("sluice")?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml", "--persist"])?;
    stop(&rig, "sluice")?;
    let start_persisted = || {
        let came = start(&rig, "sluice")?;
        if came == Came::Through {
            rig.verifier().fail_none()?;
        }
        Ok(came)
    };
    let recover = |came| {
        if came == Came::Through {
            let status = sluicectl_ok(&rig, &["status", "--json"])?;
            ensure!(
                status.contains(r#""persisted":true,"persisted_damaged":false"#),
                "started without its policy: {status}"
            );
        }
        start_and_stop(&rig, "sluice", came)
    };
    sweep(&rig, "start with a persisted policy", "sluice", start_persisted, recover)?;
    ensure!(rig.alive()?.is_nothing());
    Ok(())
}

#[rstest]
fn every_attach_without_a_resource_is_refused_or_whole(#[values(RUST, C)] clients: Clients) -> Result<()> {
    let client = clients.first();
    let rig = machine("low-attach")?;
    rig.start("sluice")?;
    let expected = sluicectl_ok(&rig, &["classify", "--json", "--offline", "demo.pcapng"])?;
    // A client that could not attach says so; one that is attached has all verdicts.
    let recover = |came| {
        if came == Came::Through {
            let outcome = sluicectl(&rig, &["classify", "--json", "--device", client, "demo.pcapng"])?;
            let whole = outcome.succeeded() && outcome.stdout == expected;
            let refused = outcome.code == Some(1) && outcome.stderr.contains("attached to no provider");
            ensure!(whole || refused, "{client} answered {:?}: {}", outcome.code, outcome.stderr);
        }
        start_and_stop(&rig, client, came)
    };
    for driver in [client, "sluice"] {
        sweep(&rig, "attach", driver, || start(&rig, client), recover)?;
    }
    rig.start(client)?;
    ensure!(verdicts(&rig, client)? == expected);
    end(&rig, clients)
}

#[rstest]
fn every_request_without_a_resource_is_refused_or_whole(#[values(RUST, C)] clients: Clients) -> Result<()> {
    let rig = machine("low-requests")?;
    rig.start("sluice")?;
    clients.start(&rig)?;
    let client = clients.first();
    let requests: [&[&str]; 4] = [
        &["policy", "load", "demo.toml"],
        &["policy", "load", "demo.toml", "--persist"],
        &["policy", "show"],
        &["status"],
    ];
    for request in requests {
        let scenario = || tool(&rig, request);
        // The next try succeeds.
        let recover = |came| if came == Came::Refused { sluicectl_ok(&rig, request).map(drop) } else { Ok(()) };
        sweep(&rig, &request.join(" "), "sluice", scenario, recover)?;
    }
    let expected = verdicts(&rig, client)?;
    let classify: &[&str] = &["classify", "--json", "--device", client, "demo.pcapng"];
    let recover = |_| {
        ensure!(verdicts(&rig, client)? == expected, "the verdicts have changed");
        Ok(())
    };
    for driver in [client, "sluice"] {
        sweep(&rig, "classify", driver, || tool(&rig, classify), recover)?;
    }
    end(&rig, clients)
}

#[test]
fn every_request_and_every_unload_of_gate_without_a_resource_is_refused_or_whole() -> Result<()> {
    let rig = machine("low-gate-requests")?;
    let network = install_gate(&rig)?;
    rig.start("sluice")?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    rig.start("gate")?;
    let sending = send(network)?;
    // Only what makes something can be short of it.
    for (request, makes) in [(["gate", "enable"], true), (["gate", "status"], false), (["gate", "disable"], false)] {
        let recover = |_| {
            // The next try succeeds, and so does the way back.
            for way in [request, ["gate", "disable"]] {
                sluicectl_ok(&rig, &way)?;
            }
            Ok(())
        };
        let calls = sweep(&rig, &request.join(" "), "gate", || tool(&rig, &request), recover)?;
        ensure!(!makes || calls > 0, "no call of `{}` can fail", request.join(" "));
    }
    // An unload cannot be refused, not while packets are filtered either.
    let unload = || stop(&rig, "gate").map(|()| Came::Through);
    sluicectl_ok(&rig, &["gate", "enable"])?;
    sweep(&rig, "unload", "gate", unload, |_| start_gate(&rig))?;
    sending.stop()?;
    stop_gate(&rig, network)?;
    stop(&rig, "sluice")
}

#[rstest]
fn every_unload_without_a_resource_ends_with_nothing_left(#[values(RUST, C, BOTH)] clients: Clients) -> Result<()> {
    let rig = machine("low-unload")?;
    rig.start("sluice")?;
    clients.start(&rig)?;
    // An unload cannot be refused: nothing in it may need what may be short.
    for driver in clients.names().iter().chain(&["sluice"]) {
        let unload = || stop(&rig, driver).map(|()| Came::Through);
        sweep(&rig, "unload", driver, unload, |_| rig.start(driver).map(drop))?;
    }
    end(&rig, clients)
}

/// A life of all drivers in which any step may be refused.
fn live(rig: &Rig, network: Network<'_>) -> Result<()> {
    let drivers = BOTH.names().iter().chain(&["gate"]);
    for driver in ["sluice"].iter().chain(drivers.clone()) {
        start(rig, driver)?;
    }
    tool(rig, &["gate", "enable"])?;
    let sending = if rig.state("gate")? == State::Running { Some(send(network)?) } else { None };
    tool(rig, &["policy", "load", "demo.toml", "--persist"])?;
    for client in BOTH.names() {
        tool(rig, &["classify", "--device", client, "demo.pcapng"])?;
    }
    if let Some(sending) = sending {
        sending.stop()?;
    }
    for driver in drivers.chain(&["sluice"]) {
        if rig.state(driver)? == State::Running {
            stop(rig, driver)?;
        }
    }
    Ok(())
}

#[test]
fn whatever_is_refused_by_chance_leaves_nothing_and_the_next_try_succeeds() -> Result<()> {
    // One call in 20.
    const CHANCE: u16 = 3276;
    let (seed, rounds) = (number("SLUICE_RIG_SEED", 1)?, number("SLUICE_RIG_ROUNDS", 2)?);
    let rig = machine("low-chance")?;
    let network = install_gate(&rig)?;
    let expected = sluicectl_ok(&rig, &["classify", "--json", "--offline", "demo.pcapng", "--policy", "demo.toml"])?;
    for seed in seed..seed + rounds {
        rig.verifier().fail_randomly("", CHANCE, seed)?;
        let lived = live(&rig, network);
        let failed = rig.verifier().fail_none()?;
        lived.with_context(|| format!("{failed} calls were failed by chance; SLUICE_RIG_SEED={seed} repeats it"))?;
        ensure!(rig.alive()?.is_nothing());
        println!("seed {seed}: {failed} calls were failed");
    }
    rig.start("sluice")?;
    BOTH.start(&rig)?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    ensure!(BOTH.verdicts(&rig)? == expected);
    end(&rig, BOTH)
}

#[test]
fn calls_that_fail_and_are_delayed_by_chance_in_a_storm_leave_everything_working() -> Result<()> {
    // One call in 50 fails, one in 50 takes longer.
    const CHANCE: u16 = 1311;
    let (seed, rounds) = (number("SLUICE_RIG_SEED", 1)?, number("SLUICE_RIG_ROUNDS", 2)?);
    let rig = started("low-storm", BOTH)?;
    let network = install_gate(&rig)?;
    start_gate(&rig)?;
    let sending = send(network)?;
    let second = install_second(&rig, BOTH.first())?;
    let expected = verdicts_offline(&rig, Some("demo.toml"))?;
    let time = Duration::from_secs(2 * rounds);
    let longest = time + rig.scaled(Duration::from_secs(60));
    rig.verifier().fail_randomly("", CHANCE, seed)?;
    rig.verifier().delay_randomly(CHANCE, seed)?;
    let started = Instant::now();
    let goes_on = || started.elapsed() < time;
    let stormed = thread::scope(|scope| {
        let end = EndOfRequests::new(&rig)?;
        let requests: Vec<_> = ["Sluice", "gate"]
            .iter()
            .chain(BOTH.names())
            .map(|device| scope.spawn(|| arbitrary_requests(&rig, device, longest, seed)))
            .collect();
        let loads = scope.spawn(|| {
            let ways: [&[&str]; 3] = [
                &["policy", "load", "demo.toml"],
                &["policy", "load", "demo.toml", "--persist"],
                &["policy", "clear", "--persist"],
            ];
            ways.iter().cycle().take_while(|_| goes_on()).try_for_each(|way| tool(&rig, way).map(drop))
        });
        let lives = scope.spawn(|| {
            while goes_on() {
                if start(&rig, &second)? == Came::Through {
                    tool(&rig, &["classify", "--device", &second, "demo.pcapng"])?;
                    stop(&rig, &second)?;
                }
            }
            Ok::<_, anyhow::Error>(())
        });
        let joined = "the thread does not panic";
        let (loads, lives) = (loads.join().expect(joined), lives.join().expect(joined));
        drop(end);
        for sender in requests {
            sender.join().expect(joined)?;
        }
        loads.and(lives)
    });
    let (failed, delayed) = (rig.verifier().fail_none()?, rig.verifier().delay_randomly(0, 0)?);
    stormed.with_context(|| format!("{failed} calls were failed, {delayed} delayed; SLUICE_RIG_SEED={seed}"))?;
    ensure!(failed > 0 && delayed > 0, "{failed} calls were failed, {delayed} delayed");
    println!("seed {seed}: {failed} calls were failed, {delayed} delayed");
    let bug_check = rig.bug_check()?;
    ensure!(bug_check.is_none(), "{bug_check:?}");
    sending.stop()?;
    stop_gate(&rig, network)?;
    sluicectl_ok(&rig, &["policy", "load", "demo.toml"])?;
    ensure!(BOTH.verdicts(&rig)? == expected, "the verdicts are not the right ones any more");
    end(&rig, BOTH)
}

#[rstest]
fn a_verification_without_a_resource_says_so_and_undoes_everything(
    #[values("sluice", "probe")] driver: &str,
) -> Result<()> {
    let rig = Rig::boot("low-verify")?;
    for file in ["sluicectl.exe", "sluice.sys", "probe.sys"] {
        rig.copy_file(&rig.product(file))?;
    }
    for file in ["demo.pcapng", "demo.toml"] {
        rig.copy_file(&data(file))?;
    }
    let verify = || {
        let arguments = [
            "verify",
            "--capture",
            "demo.pcapng",
            "--policy",
            "demo.toml",
            "--drivers",
            "C:\\rig",
            "--rounds",
            "1",
            "--threads",
            "1",
        ];
        rig.run("sluicectl.exe", &arguments, rig.scaled(Duration::from_secs(300)))
    };
    rig.verifier().fail_call(driver, 0)?;
    ensure!(verify()?.succeeded(), "a verification with every resource failed");
    let calls = rig.verifier().calls()?;
    // Thousands, since a verification is many lives: as many of them as there are rounds, spread over all of it.
    let (seed, rounds) = (number("SLUICE_RIG_SEED", 1)?, number("SLUICE_RIG_ROUNDS", 2)?);
    let mut refused = 0;
    for round in 0..rounds {
        let call = 1 + (seed + round * calls / rounds) % calls;
        rig.verifier().fail_call(driver, call)?;
        let outcome = verify()?;
        // Where the threads of the program meet decides how many calls there are.
        let failed = rig.verifier().fail_none()?;
        let undone = || {
            ensure!(matches!(outcome.code, Some(0 | 1)), "{:?}: {}{}", outcome.code, outcome.stdout, outcome.stderr);
            ensure!(failed > 0 || outcome.succeeded(), "it failed with no call failed: {}", outcome.stdout);
            ensure!(rig.alive()?.is_nothing(), "something is left");
            ensure!(rig.bug_check()?.is_none(), "{:?}", rig.bug_check()?);
            for service in ["sluice", "probe"] {
                ensure!(rig.sc(&["query", service])?.stderr.contains("1060"), "there is still a service {service}");
            }
            Ok(())
        };
        undone().with_context(|| format!("the call {call} of {driver} that can fail was failed"))?;
        refused += u64::from(!outcome.succeeded());
    }
    println!("verify: {rounds} of {calls} calls of {driver} were failed, {refused} of them to a failure");
    Ok(())
}
