//! The drivers, with their calls delayed by a seed, do what they do otherwise: threads meet in places where they rarely
//! do.

use std::thread;

use anyhow::{Context, Result, ensure};
use sluice_rig::{Network, Rig};
use system_tests::{
    BOTH, end, install_gate, machine, number, send, sluicectl_ok, start_gate, stop, stop_gate, verdicts_offline,
};

/// Verdicts through both clients at once, and on packets that gate.sys sees, while the policy is replaced and
/// sluice.sys is restarted.
fn live(rig: &Rig, network: Network<'_>, expected: &str) -> Result<()> {
    rig.start("sluice")?;
    sluicectl_ok(rig, &["policy", "load", "demo.toml", "--persist"])?;
    BOTH.start(rig)?;
    start_gate(rig)?;
    let sending = send(network)?;
    thread::scope(|scope| {
        let clients = BOTH.names().iter().map(|client| {
            let classify = move || sluicectl_ok(rig, &["classify", "--json", "--device", client, "demo.pcapng"]);
            (client, scope.spawn(classify))
        });
        let clients: Vec<_> = clients.collect();
        sluicectl_ok(rig, &["policy", "load", "demo.toml"])?;
        for (client, verdicts) in clients {
            let verdicts = verdicts.join().expect("a program does not panic")?;
            ensure!(verdicts == expected, "{client} has other verdicts");
        }
        // Calls are refused while nobody provides, and nothing else is wrong with them.
        let ask = |client| system_tests::sluicectl(rig, &["classify", "--device", client, "demo.pcapng"]);
        let asking: Vec<_> = BOTH.names().iter().map(|client| scope.spawn(move || ask(client))).collect();
        stop(rig, "sluice")?;
        rig.start("sluice")?;
        for outcome in asking {
            let outcome = outcome.join().expect("a program does not panic")?;
            let refused = outcome.code == Some(1) && outcome.stderr.contains("attached to no provider");
            ensure!(outcome.succeeded() || refused, "`{}` ended with {}", outcome.line, outcome.stderr);
        }
        Ok(())
    })?;
    let sent = sending.stop()?;
    let judged = |blocked| sent.packets.iter().any(|packet| packet.asked > 0 && (packet.blocked > 0) == blocked);
    ensure!(judged(true) && judged(false), "gate.sys has not judged packets of both kinds: {:?}", sent.packets);
    stop_gate(rig, network)?;
    for driver in BOTH.names().iter().chain(&["sluice"]) {
        stop(rig, driver)?;
    }
    Ok(())
}

#[test]
fn drivers_whose_calls_are_delayed_do_what_they_do_otherwise() -> Result<()> {
    // One call in 16.
    const CHANCE: u16 = 1 << 12;
    let (seed, rounds) = (number("SLUICE_RIG_SEED", 1)?, number("SLUICE_RIG_ROUNDS", 2)?);
    let rig = machine("delays")?;
    let network = install_gate(&rig)?;
    let expected = verdicts_offline(&rig, Some("demo.toml"))?;
    for seed in seed..seed + rounds {
        // Each kind of placement shows at once what the other shows when a block is freed.
        rig.verifier().pool_at_start(seed % 2 == 0)?;
        rig.verifier().delay_randomly(CHANCE, seed)?;
        let lived = live(&rig, network, &expected);
        let delayed = rig.verifier().delay_randomly(0, 0)?;
        lived.with_context(|| format!("{delayed} calls were delayed; SLUICE_RIG_SEED={seed} repeats it"))?;
        ensure!(delayed > 0, "no call was delayed");
        ensure!(rig.alive()?.is_nothing());
        println!("seed {seed}: {delayed} calls were delayed");
    }
    rig.start("sluice")?;
    BOTH.start(&rig)?;
    end(&rig, BOTH)
}
