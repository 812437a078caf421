//! The rig itself: whatever a driver does wrong is noticed, and it is said which driver it was.

use std::thread;
use std::time::Duration;

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
fn the_driver_of_the_documentation_of_wdk_nmr_does_without_any_of_its_calls() -> Result<()> {
    let rig = Rig::boot("adding-low")?;
    rig.install_file(&rig.part("adding.sys"), "adding")?;
    rig.verifier().pool_at_start(true)?;
    let mut refused = 0;
    for call in 1.. {
        rig.verifier().fail_call("adding", call)?;
        match rig.start("adding") {
            Ok(_) => {
                let left = rig.stop("adding")?;
                assert!(left.is_nothing(), "{left}");
            }
            Err(_) => refused += 1,
        }
        assert_eq!(rig.bug_check()?, None);
        assert!(rig.alive()?.is_nothing());
        if rig.verifier().fail_none()? == 0 {
            break;
        }
    }
    assert!(refused > 0, "no call of adding can fail");
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
    assert!(error.contains("overrunner.sys caused bug check 0xd6: write to address "), "{error}");
    assert!(error.contains(" behind the end of a block of tag Leak and 32 bytes, "), "{error}");
    assert!(error.contains("rig/drivers/misfit/src/lib.rs:"), "{error}");
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

#[test]
fn a_function_above_its_irql_is_a_bug_check_with_function_and_line() -> Result<()> {
    let error = start_fails(&Rig::boot("irql")?, "irql-close")?;
    assert!(error.contains("irql-close.sys caused bug check 0xc4: ZwClose called at IRQL 2"), "{error}");
    assert!(error.contains("it may be called up to 0, in the call of ZwClose at "), "{error}");
    assert!(error.contains("rig/drivers/misfit/src/wdm.rs:"), "{error}");
    Ok(())
}

#[test]
fn a_level_or_region_that_is_left_in_the_wrong_direction_is_a_bug_check_of_its_driver() -> Result<()> {
    let mistakes = [
        ("irql-raise", "0xa: IRQL raised from 2 to 1, in the call of KfRaiseIrql at "),
        ("irql-lower", "0xa: IRQL lowered from 0 to 2, in the call of KeLowerIrql at "),
        (
            "region-left",
            "0xc4: a critical region left that the thread is not in, in the call of KeLeaveCriticalRegion at ",
        ),
    ];
    let rig = Rig::boot("levels")?;
    for (service, says) in mistakes {
        let error = start_fails(&rig, service)?;
        assert!(error.contains(&format!("{service}.sys caused bug check {says}")), "{error}");
        assert!(error.contains("rig/drivers/misfit/src/wdm.rs:"), "{error}");
    }
    Ok(())
}

#[test]
fn a_request_that_is_never_completed_is_a_bug_check_at_the_unload() -> Result<()> {
    let rig = Rig::boot("kept")?;
    rig.install_misfit("io-kept")?;
    rig.start("io-kept")?;
    let limit = rig.scaled(Duration::from_secs(1));
    rig.run("cmd", &["/c", "type", "\\\\.\\misfit"], limit).expect_err("nobody completes the request");
    let error = format!("{:#}", rig.stop("io-kept").expect_err("a request would be completed where nothing is"));
    assert!(error.contains("io-kept.sys caused bug check 0xce: unloaded with 1 requests that were not"), "{error}");
    Ok(())
}

#[test]
fn each_call_that_can_fail_is_failed_when_it_is_asked_for_and_what_it_leaks_is_reported() -> Result<()> {
    let rig = Rig::boot("low")?;
    rig.install_misfit("low-leak")?;
    for (call, left) in [(1, 0), (2, 1)] {
        rig.verifier().fail_call("low-leak", call)?;
        rig.start("low-leak").expect_err("a driver without its memory");
        assert_eq!((rig.verifier().calls()?, rig.verifier().fail_none()?), (call, 1));
        let events = rig.events()?;
        let fault = events.iter().rfind(|event| event.is("low-leak", "fault")).expect("a call was failed");
        let place = rig.place(fault).expect("the call is known");
        assert!(place.starts_with("in the call of ExAllocatePool2 at ") && place.contains(".rs:"), "{place}");
        let unload = events.iter().rfind(|event| event.is("low-leak", "unload")).expect("it is unloaded");
        assert_eq!(Left::of(unload).allocations, left);
    }
    rig.start("low-leak")?;
    // The seed decides which calls fail.
    rig.stop("low-leak")?;
    rig.verifier().fail_randomly("", u16::MAX, 1)?;
    rig.start("low-leak").expect_err("a driver without its memory");
    assert_eq!(rig.verifier().fail_none()?, 1);
    Ok(())
}

#[test]
fn every_misuse_of_the_pool_is_a_bug_check_of_its_driver() -> Result<()> {
    // What the bug check says, and where, by the service that misuses the pool (rig/drivers/misfit).
    let misuses = [
        ("pool-slack", "0x19: block of tag Kern and 20 bytes was written to behind its end", "ExFreePoolWithTag"),
        ("pool-before", "0x19: block of tag Kern and 32 bytes was written to in front of it", "ExFreePoolWithTag"),
        ("pool-tag", "0xc2: block of tag Kern freed with tag Gnat", "ExFreePoolWithTag"),
        ("pool-inside", ", which is not the beginning of a block", "ExFreePoolWithTag"),
        ("pool-image", ", which is memory of an image", "ExFreePoolWithTag"),
        ("pool-stack", ", which is memory of the stack", "ExFreePoolWithTag"),
        ("pool-level", "0xc2: block of tag Kern and of paged pool freed at IRQL 2", "ExFreePoolWithTag"),
        ("pool-freed", " in a block of tag Kern and 32 bytes that was freed, at offset ", ""),
        ("pool-guard", " in front of a block of tag Kern and 5000 bytes, at offset ", ""),
        ("pool-paged", " in paged pool, a block of tag Kern and 32 bytes, at offset ", ""),
    ];
    let rig = Rig::boot("pool")?;
    for (service, says, function) in misuses {
        let error = start_fails(&rig, service)?;
        assert!(error.contains(&format!("{service}.sys caused bug check 0x")), "{error}");
        assert!(error.contains(says), "{error}");
        assert!(error.contains(&format!(" {function} at ").replace("  ", " ")), "{error}");
        assert!(error.contains("rig/drivers/misfit/src/"), "{error}");
    }
    // At the start of a page, a write in front of a block is seen when it happens.
    rig.verifier().pool_at_start(true)?;
    let error = start_fails(&rig, "pool-under")?;
    assert!(error.contains("pool-under.sys caused bug check 0xd6: write to address "), "{error}");
    assert!(error.contains(" in front of a block of tag Kern and 32 bytes, at offset "), "{error}");
    Ok(())
}

#[test]
fn pageable_code_and_data_at_dispatch_level_are_bug_checks_of_their_driver() -> Result<()> {
    let rig = Rig::boot("paging")?;
    for (service, section) in [("page-code", "PAGE"), ("page-data", "PAGEDATA")] {
        let error = start_fails(&rig, service)?;
        assert!(error.contains(&format!("{service}.sys caused bug check 0xd3: ")), "{error}");
        assert!(error.contains(&format!(" in the pageable section {section} of {service}.sys, at offset ")), "{error}");
        assert!(error.contains("at IRQL 2") && error.contains("rig/drivers/misfit/src/kernel.rs:"), "{error}");
    }
    Ok(())
}

#[test]
fn an_unload_while_a_thread_is_in_the_image_is_a_bug_check_of_its_driver() -> Result<()> {
    let rig = Rig::boot("thread")?;
    rig.install_misfit("thread-left")?;
    rig.start("thread-left")?;
    let error = format!("{:#}", rig.stop("thread-left").expect_err("a thread would run on where nothing is"));
    assert!(error.contains("thread-left.sys caused bug check 0xce: unloaded while the thread 0x"), "{error}");
    assert!(error.contains(" is in it, at ") && error.contains("rig/drivers/misfit/src/"), "{error}");
    Ok(())
}

#[test]
fn delays_show_a_race_and_the_same_seed_delays_the_same_calls() -> Result<()> {
    const HALF: u16 = 1 << 15;
    let rig = Rig::boot("delays")?;
    rig.install_file(&rig.part("adding.sys"), "adding")?;
    // How many calls of a life are delayed, for each of some seeds.
    let delayed = || -> Result<Vec<u64>> {
        (1..=4)
            .map(|seed| {
                rig.verifier().delay_randomly(HALF, seed)?;
                rig.start("adding")?;
                rig.stop("adding")?;
                rig.verifier().delay_randomly(0, 0)
            })
            .collect()
    };
    let counts = delayed()?;
    assert!(counts.iter().sum::<u64>() > 0, "no call was delayed");
    assert_eq!(delayed()?, counts);
    // One of them delays one of two threads, and not the other.
    rig.install_misfit("delay-race")?;
    let shown = |seed: &u64| {
        rig.verifier().delay_randomly(HALF, *seed).expect("a word is written");
        match rig.start("delay-race") {
            Ok(_) => rig.stop("delay-race").is_err(),
            Err(error) => {
                let error = format!("{error:#}");
                assert!(error.contains("delay-race.sys caused bug check 0xc2: "), "{error}");
                assert!(error.contains(" freed twice, in the call of ExFreePoolWithTag at "), "{error}");
                true
            }
        }
    };
    let seed = (1..=40).find(shown).expect("one of 40 seeds shows the race");
    println!("seed {seed} shows the race");
    Ok(())
}

#[test]
fn every_break_of_isolation_is_a_bug_check_of_its_driver_unless_it_is_excused() -> Result<()> {
    let breaks = [
        (
            "isolation-key",
            "DriverIsolation: key \\Registry\\Machine\\System\\CurrentControlSet\\Services\\",
            "ZwOpenKey",
        ),
        ("isolation-file", "DriverIsolation: \\SystemRoot\\misfit.txt is written to", "ZwCreateFile"),
        ("isolation-value", "DriverIsolation: key A, relative to 1, is not its own", "RtlWriteRegistryValue"),
        ("isolation-delete", "DriverIsolation: \\SystemRoot\\misfit.txt is written to", "ZwDeleteFile"),
        ("isolation-process", "\\??\\C:\\misfit.txt is resolved for the process that happens to run", "ZwCreateFile"),
    ];
    let rig = Rig::boot("isolation")?;
    for (service, says, function) in breaks {
        let error = start_fails(&rig, service)?;
        assert!(error.contains(&format!("{service}.sys caused bug check 0xc4: {says}")), "{error}");
        assert!(error.contains(&format!(", in the call of {function} at ")), "{error}");
        assert!(error.contains("rig/drivers/misfit/src/wdm.rs:"), "{error}");
    }
    rig.verifier().isolate(false)?;
    rig.start("isolation-key").map(drop)
}

#[test]
fn a_handle_that_is_closed_twice_or_never_is_noticed() -> Result<()> {
    let rig = Rig::boot("handles")?;
    let error = start_fails(&rig, "handle-twice")?;
    assert!(error.contains("handle-twice.sys caused bug check 0x93: "), "{error}");
    rig.install_misfit("handle-left")?;
    rig.start("handle-left")?;
    assert_eq!(rig.stop("handle-left")?, Left { handles: 1, ..Left::default() });
    let events = rig.events()?;
    let left = events.iter().find(|event| event.is("handle-left", "left")).expect("what was left");
    let place = rig.place(left).expect("where it was made");
    assert!(place.starts_with("in the call of ZwCreateFile at ") && place.contains(".rs:"), "{place}");
    Ok(())
}

/// Opens and reads the device of misfit, as `type` does.
fn read_misfit(rig: &Rig) -> Result<()> {
    rig.run("cmd", &["/c", "type", "\\\\.\\misfit"], rig.scaled(Duration::from_secs(30))).map(drop)
}

#[test]
fn every_mistreated_request_is_a_bug_check_of_its_driver() -> Result<()> {
    let mistakes = [
        ("io-twice", "0x44: a request completed that the driver does not have, in the call of IofCompleteRequest at "),
        ("io-pending", "0xc4: STATUS_PENDING returned for 0x0, without IoMarkIrpPending"),
        ("io-status", "0xc4: 0xc0000001 returned for 0x0, which was completed with 0x00000000"),
        ("io-forgotten", "0xc4: 0x00000000 returned for 0x0, which was neither completed nor left pending"),
        ("io-late", "0xd5: write to address "),
        ("io-lock", "0xc4: the dispatch routine for 0x3 returned with 1 locks held, not 0"),
        ("io-region", "0xc4: the dispatch routine for 0x3 returned in 1 critical regions, not 0"),
        ("io-unfinished", "0xc4: a request completed with STATUS_PENDING, in the call of IofCompleteRequest at "),
        ("io-marked", "0xc4: 0x00000000 returned for 0x3, after IoMarkIrpPending"),
        ("io-level", "0xc4: the dispatch routine for 0x0 was called at IRQL 0 and returned at 2"),
        ("io-information", "0xc4: Information is 1048576, for an output of "),
        ("io-stale", "0xc4: 32 bytes of output, of which those at "),
    ];
    for (service, says) in mistakes {
        // A new one each time: Wine sends the next start to the process that has ended.
        let rig = Rig::boot("requests")?;
        rig.install_misfit(service)?;
        rig.start(service)?;
        read_misfit(&rig)?;
        let ended = |events: &[Event]| events.iter().any(|event| event.is(service, "bugcheck"));
        let events = rig.wait_for(&format!("the bug check of {service}"), ended)?;
        let event = events.iter().find(|event| event.is(service, "bugcheck")).expect("waited for");
        let text = rig.bug_check_text(event);
        assert!(text.contains(&format!("{service}.sys caused bug check {says}")), "{text}");
        assert!(text.contains("rig/drivers/misfit/src/request.rs:"), "{text}");
    }
    Ok(())
}

#[test]
fn a_cancel_routine_that_keeps_the_cancel_spin_lock_is_a_bug_check_of_its_driver() -> Result<()> {
    let rig = Rig::boot("cancel")?;
    rig.install_misfit("io-cancel")?;
    rig.start("io-cancel")?;
    // The program is ended, and with it its request.
    let limit = rig.scaled(Duration::from_secs(1));
    rig.run("cmd", &["/c", "type", "\\\\.\\misfit"], limit).expect_err("nobody completes the request");
    let ended = |events: &[Event]| events.iter().any(|event| event.is("io-cancel", "bugcheck"));
    let events = rig.wait_for("the bug check of io-cancel", ended)?;
    let event = events.iter().find(|event| event.is("io-cancel", "bugcheck")).expect("waited for");
    let text = rig.bug_check_text(event);
    assert!(text.contains("0xc4: the cancel routine has returned and holds the cancel spin lock"), "{text}");
    assert!(text.contains("rig/drivers/misfit/src/request.rs:"), "{text}");
    Ok(())
}

#[test]
fn every_misuse_of_a_lock_or_a_wait_is_a_bug_check_of_its_driver() -> Result<()> {
    // What the bug check says, and in which call, by the service that does it (rig/drivers/misfit).
    let misuses = [
        ("lock-order", " is held; KeAcquireSpinLockRaiseToDpc at 0x", "KeAcquireSpinLockRaiseToDpc"),
        ("lock-mutexes", " is held; ExAcquireFastMutex at 0x", "KeWaitForSingleObject"),
        ("lock-twice", " taken by the thread that holds it", "KeAcquireSpinLockRaiseToDpc"),
        ("lock-foreign", " released by a thread that does not hold it", "KeReleaseSpinLock"),
        ("lock-level", " released to IRQL 1; it was taken at 0", "KeReleaseSpinLock"),
        ("lock-low", "called at IRQL 0; it may be called from 2", "KeAcquireSpinLockAtDpcLevel"),
        ("lock-freed", " given back while it is held", "KeAcquireSpinLockRaiseToDpc"),
        ("lock-resource", "called outside of critical regions", "ExAcquireResourceExclusiveLite"),
        ("irql-wait", "a wait at IRQL 2; with a timeout of 0 it would be none", "KeWaitForSingleObject"),
        ("wait-inside", "a wait in ClientDetachProvider lasts 5 s", "KeWaitForSingleObject"),
    ];
    let rig = Rig::boot("locks")?;
    for (service, says, function) in misuses {
        let error = start_fails(&rig, service)?;
        assert!(error.contains(&format!("{service}.sys caused bug check 0xc4: ")), "{error}");
        assert!(error.contains(says), "{error}");
        assert!(error.contains(&format!(", in the call of {function} at ")), "{error}");
        assert!(error.contains("rig/drivers/misfit/src/locks.rs:"), "{error}");
    }
    Ok(())
}

#[test]
fn a_driver_stays_until_the_last_handle_to_its_device_is_closed() -> Result<()> {
    let rig = Rig::boot("held")?;
    rig.install_misfit("io-slow")?;
    rig.start("io-slow")?;
    thread::scope(|scope| {
        let reading = scope.spawn(|| read_misfit(&rig));
        thread::sleep(Duration::from_secs(1));
        let left = rig.stop("io-slow")?;
        assert!(left.is_nothing(), "{left}");
        reading.join().expect("read_misfit() does not panic")
    })?;
    assert!(rig.events()?.iter().any(|event| event.is("io-slow", "unload_waits")));
    Ok(())
}

#[test]
fn a_device_that_is_left_behind_is_noticed() -> Result<()> {
    let rig = Rig::boot("device")?;
    rig.install_misfit("io-device")?;
    rig.start("io-device")?;
    assert_eq!(rig.stop("io-device")?, Left { devices: 1, links: 1, ..Left::default() });
    Ok(())
}
