//! The rig itself: whatever a driver does wrong is noticed, and it is said which driver it was.

use anyhow::Result;
use wdk_rig::{Event, Left, Rig, State};

/// Starts a driver that is expected to end in a bug check; returns what the error says.
fn start_fails(rig: &Rig, behaviour: &str) -> Result<String> {
    rig.install_misfit(behaviour)?;
    let error = rig.start(behaviour).expect_err("a driver that does this must not start");
    Ok(format!("{error:#}"))
}

#[test]
fn the_driver_of_the_documentation_of_wdk_nmr_registers_and_leaves_nothing() -> Result<()> {
    let rig = Rig::boot("adding")?;
    rig.install_file(&rig.part("adding.sys"), "adding")?;
    for registrations in 1..=2 {
        rig.start("adding")?;
        assert_eq!(rig.alive()?.registrations, 1);
        let left = rig.stop("adding")?;
        assert!(left.is_nothing(), "{left}");
        let registered =
            |event: &&Event| event.is("adding", "nmr") && event.get("function") == Some("NmrRegisterProvider");
        assert_eq!(rig.events()?.iter().filter(registered).count(), registrations);
    }
    Ok(())
}

#[test]
fn an_unload_with_a_leak_is_reported_with_count_bytes_and_tag() -> Result<()> {
    let rig = Rig::boot("leak")?;
    rig.install_misfit("leaker")?;
    rig.start("leaker")?;
    assert_eq!(rig.stop("leaker")?, Left { allocations: 3, bytes: 96, ..Left::default() });
    let events = rig.events()?;
    let leak = events.iter().find(|event| event.is("leaker", "leak")).expect("a leak event");
    assert_eq!((leak.get("tag"), leak.number("allocations"), leak.number("bytes")), (Some("Leak"), 3, 96));
    assert_eq!(rig.alive()?, Left { allocations: 3, bytes: 96, ..Left::default() });
    Ok(())
}

#[test]
fn a_start_that_fails_says_so_and_its_leak_is_reported() -> Result<()> {
    let rig = Rig::boot("failer")?;
    let error = start_fails(&rig, "failer")?;
    assert!(error.contains("DriverEntry returned an error"), "{error}");
    assert_eq!(rig.state("failer")?, State::Stopped);
    let events = rig.wait_for("the unload", |events| events.iter().any(|event| event.is("failer", "unload")))?;
    let unload = events.iter().find(|event| event.is("failer", "unload")).expect("waited for");
    assert_eq!(Left::of(unload), Left { allocations: 1, bytes: 32, ..Left::default() });
    Ok(())
}

#[test]
fn a_write_behind_a_block_is_a_bug_check_of_its_driver() -> Result<()> {
    let error = start_fails(&Rig::boot("overrun")?, "overrunner")?;
    assert!(error.contains("overrunner.sys caused bug check 0x19"), "{error}");
    assert!(error.contains("block of tag Leak and 32 bytes was written behind its end"), "{error}");
    Ok(())
}

#[test]
fn a_second_free_is_a_bug_check_of_its_driver() -> Result<()> {
    let error = start_fails(&Rig::boot("double-free")?, "doublefreer")?;
    assert!(error.contains("doublefreer.sys caused bug check 0xc2"), "{error}");
    Ok(())
}

#[test]
fn a_crash_is_a_bug_check_of_its_driver_and_others_can_be_started_afterwards() -> Result<()> {
    let rig = Rig::boot("crash")?;
    let error = start_fails(&rig, "crasher")?;
    assert!(error.contains("crasher.sys caused bug check 0x1e: read of address 0x0"), "{error}");
    rig.install_misfit("leaker")?;
    rig.start("leaker")?;
    assert_eq!(rig.state("leaker")?, State::Running);
    Ok(())
}

#[test]
fn r62_a_wait_without_deregister_is_a_bug_check_of_its_driver() -> Result<()> {
    let error = start_fails(&Rig::boot("r62")?, "rulebreaker")?;
    assert!(error.contains("rulebreaker.sys caused bug check 0x125: R62"), "{error}");
    Ok(())
}

#[test]
fn r65_an_unload_with_a_registration_is_a_bug_check_of_its_driver() -> Result<()> {
    let rig = Rig::boot("r65")?;
    rig.install_misfit("deserter")?;
    rig.start("deserter")?;
    assert_eq!(rig.alive()?.registrations, 1);
    let error = format!("{:#}", rig.stop("deserter").expect_err("a driver that is gone while registered"));
    assert!(error.contains("deserter.sys caused bug check 0x125: R65"), "{error}");
    // At the unload it is said what is left, and for how long.
    let events = rig.events()?;
    let alive = events.iter().rfind(|event| event.is("deserter", "alive")).and_then(|event| event.get("text"));
    let text = alive.expect("the registration is alive at the unload");
    assert!(text.contains("client module") && text.contains("registered for"), "{text}");
    Ok(())
}

#[test]
fn every_broken_rule_is_a_bug_check_of_its_driver() -> Result<()> {
    // What the bug check says, by the service that breaks the rule (rig/drivers/misfit).
    let broken = [
        ("r10-change", "R10 broken in NmrDeregisterClient: the characteristics, NPIID or module id changed"),
        ("r12-length", "R12 broken in NmrRegisterClient: Length of the characteristics is 71, not 72"),
        ("r12-callback", "R12 broken in NmrRegisterClient: the attach or detach callback is NULL"),
        ("r15-level", "R15 broken in NmrRegisterProvider: it was called at IRQL 2"),
        ("r19-late", "R19 broken in NmrClientAttachProvider"),
        ("r21-unset", "R21 broken in ProviderAttachClient"),
        ("r26-status", "R26 broken in ClientAttachProvider"),
        ("r45-twice", "R45 broken in NmrClientDetachProviderComplete"),
        ("r46-success", "R46 broken in ClientDetachProvider"),
        ("r52-kind", "R52 broken in NmrDeregisterProvider"),
        ("r66-stale", "R66 broken in NmrDeregisterClient"),
        ("r68-null", "R68 broken in NmrDeregisterClient: a NULL handle"),
        ("r74-inside", "R74 broken in NmrWaitForClientDeregisterComplete"),
    ];
    let rig = Rig::boot("rules")?;
    for (service, says) in broken {
        let error = start_fails(&rig, service)?;
        assert!(error.contains(&format!("{service}.sys caused bug check 0x125: {says}")), "{error}");
        assert!(error.contains("expected: "), "{error}");
    }
    Ok(())
}

#[test]
fn r72_a_driver_without_an_unload_routine_cannot_be_unloaded() -> Result<()> {
    let rig = Rig::boot("r72")?;
    rig.install_misfit("resident")?;
    rig.start("resident")?;
    let error = format!("{:#}", rig.stop("resident").expect_err("a driver that cannot be unloaded"));
    assert!(error.contains("it has no unload routine, so it cannot be unloaded (R72)"), "{error}");
    assert_eq!((rig.alive()?.registrations, rig.state("resident")?), (1, State::Running));
    Ok(())
}

#[test]
fn debug_output_is_logged_under_its_driver_and_formatted() -> Result<()> {
    let rig = Rig::boot("debug")?;
    let error = start_fails(&rig, "nothing")?;
    assert_eq!(rig.printed("nothing")?, ["misfit: the service name says nothing 0xC0000001"], "{error}");
    Ok(())
}

#[test]
fn a_service_without_a_file_says_that_the_file_is_missing() -> Result<()> {
    let rig = Rig::boot("no-file")?;
    rig.create_service("absent")?;
    let error = format!("{:#}", rig.start("absent").expect_err("a driver without a file"));
    assert!(error.contains("the driver's file is missing"), "{error}");
    Ok(())
}

#[test]
fn a_driver_that_hangs_in_its_unload_is_an_error_and_not_a_test_that_hangs() -> Result<()> {
    let rig = Rig::boot("hang")?;
    rig.install_misfit("hanger")?;
    rig.start("hanger")?;
    let error = format!("{:#}", rig.stop("hanger").expect_err("a driver that never stops"));
    println!("{error}");
    assert!(error.contains("sc stop hanger"), "{error}");
    Ok(())
}

#[test]
fn netio_is_asked_for_what_is_alive_and_nothing_is() -> Result<()> {
    let rig = Rig::boot("idle")?;
    assert!(rig.alive()?.is_nothing());
    Ok(())
}
