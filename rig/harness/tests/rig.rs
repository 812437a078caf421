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

/// Mistakes that drivers make when they are started: the service that makes one, what the bug check says, the function
/// that is called (nothing where an instruction is the mistake), and the file of misfit where that happens.
type Mistake = (&'static str, &'static str, &'static str, &'static str);

/// Starts the service of each mistake: the error has to name driver, rule, function, file and line.
fn every_start_is_a_bug_check(rig: &Rig, mistakes: &[Mistake]) -> Result<()> {
    let mut unnoticed = Vec::new();
    for (service, says, function, file) in mistakes {
        rig.install_misfit(service)?;
        match rig.start(service) {
            Ok(_) => unnoticed.push(format!("{service} was started")),
            Err(error) => unnoticed.extend(missing(&format!("{error:#}"), service, says, function, file)),
        }
    }
    assert!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
    Ok(())
}

/// What the report of a broken rule should say and does not.
fn missing(report: &str, service: &str, says: &str, function: &str, file: &str) -> Option<String> {
    let driver = format!("{service}.sys caused bug check 0x");
    let call = if function.is_empty() { String::new() } else { format!(", in the call of {function} at ") };
    let place = format!("rig/drivers/misfit/src/{file}:");
    let missing = [&driver, says, &call, &place].into_iter().find(|part| !report.contains(*part))?;
    Some(format!("{service}: expected `{missing}` in {report}"))
}

/// The report of a broken rule names driver, rule, function, file and line.
fn names(report: &str, service: &str, says: &str, function: &str, file: &str) {
    assert_eq!(missing(report, service, says, function, file), None);
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

/// By which call a driver got something of that kind which it has left behind.
fn place_left(rig: &Rig, driver: &str, kind: &str) -> Result<String> {
    let events = rig.events()?;
    let left = events.iter().find(|event| event.is(driver, "left") && event.get("kind") == Some(kind));
    let place = left.and_then(|event| rig.place(event)).expect("it is reported where it was made");
    assert!(place.contains("rig/drivers/misfit/src/"), "{place}");
    Ok(place)
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
    assert!(place_left(&rig, "leaker", "block")?.starts_with("in the call of ExAllocatePool2 at "));
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
    let says = "0xc2: block of tag Leak and 32 bytes freed twice";
    let mistake = ("doublefreer", says, "ExFreePoolWithTag", "wdm.rs");
    every_start_is_a_bug_check(&Rig::boot("double-free")?, &[mistake])
}

#[test]
fn a_crash_is_a_bug_check_of_its_driver_and_others_can_be_started_afterwards() -> Result<()> {
    let rig = Rig::boot("crash")?;
    every_start_is_a_bug_check(&rig, &[("crasher", "0x1e: read of address 0x0", "", "lib.rs")])?;
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
fn every_call_at_the_wrong_irql_is_a_bug_check_of_its_driver() -> Result<()> {
    let mistakes = [
        ("irql-close", "0xc4: ZwClose called at IRQL 2; it may be called up to 0", "ZwClose", "wdm.rs"),
        ("irql-raise", "0xa: IRQL raised from 2 to 1", "KfRaiseIrql", "wdm.rs"),
        ("irql-lower", "0xa: IRQL lowered from 0 to 2", "KeLowerIrql", "wdm.rs"),
        (
            "irql-wait",
            "0xc4: a wait at IRQL 2; with a timeout of 0 it would be none",
            "KeWaitForSingleObject",
            "locks.rs",
        ),
        ("irql-waits", "0xc4: a wait at IRQL 2", "KeWaitForMultipleObjects", "level.rs"),
        (
            "irql-event",
            "0xc4: called with Wait at IRQL 2; with that it may be called up to 1",
            "KeSetEvent",
            "level.rs",
        ),
        ("irql-map", "0xc4: called with UserMode at IRQL 2", "MmMapLockedPagesSpecifyCache", "level.rs"),
        ("irql-activity", "0xc4: called with a code other than", "EtwActivityIdControl", "level.rs"),
        ("irql-print", "0xc4: called with %-8ws at IRQL 2; with that it may be called up to 0", "DbgPrint", "level.rs"),
        ("region-left", "0xc4: a critical region left that the thread is not in", "KeLeaveCriticalRegion", "wdm.rs"),
    ];
    every_start_is_a_bug_check(&Rig::boot("levels")?, &mistakes)
}

#[test]
fn whatever_is_kept_for_later_is_checked_when_it_is_given() -> Result<()> {
    let mistakes = [
        ("log-size", "0xc4: an entry of 47 bytes for the error log", "IoAllocateErrorLogEntry", "records.rs"),
        ("log-entry", "written to the error log, which is no entry of it", "IoWriteErrorLogEntry", "records.rs"),
        ("log-strings", "0xc4: strings of an entry of the error log lie outside", "IoWriteErrorLogEntry", "records.rs"),
        (
            "dump-reason",
            "0xc4: a bug-check callback for reason 99, not known here",
            "KeRegisterBugCheckReasonCallback",
            "records.rs",
        ),
        ("crash-code", "0xe2: KeBugCheck", "KeBugCheck", "records.rs"),
        ("crash-codes", "0xe2: KeBugCheckEx with 0x1234, 0x5", "KeBugCheckEx", "records.rs"),
    ];
    let rig = Rig::boot("records")?;
    every_start_is_a_bug_check(&rig, &mistakes)?;
    rig.install_misfit("etw-left")?;
    rig.start("etw-left")?;
    assert_eq!(rig.stop("etw-left")?, Left { etw_providers: 1, ..Left::default() });
    assert!(place_left(&rig, "etw-left", "etw_provider")?.starts_with("in the call of EtwRegister at "));
    rig.install_misfit("dump-left")?;
    rig.start("dump-left")?;
    let error = format!("{:#}", rig.stop("dump-left").expect_err("a callback would be called where nothing is"));
    names(&error, "dump-left", "0xce: unloaded with a bug-check callback registered", "", "records.rs");
    Ok(())
}

#[test]
fn a_crash_in_a_function_that_a_driver_has_called_is_one_of_the_driver() -> Result<()> {
    let mistake = ("print-nowhere", "0x1e: read of address 0x1010", "", "wdm.rs");
    every_start_is_a_bug_check(&Rig::boot("inside")?, &[mistake])
}

#[test]
fn a_request_that_is_never_completed_is_a_bug_check_at_the_unload() -> Result<()> {
    let rig = Rig::boot("kept")?;
    rig.install_misfit("io-kept")?;
    rig.start("io-kept")?;
    let limit = rig.scaled(Duration::from_secs(1));
    rig.run("cmd", &["/c", "type", "\\\\.\\misfit"], limit).expect_err("nobody completes the request");
    let error = format!("{:#}", rig.stop("io-kept").expect_err("a request would be completed where nothing is"));
    names(&error, "io-kept", "0xce: unloaded with 1 requests that were not completed", "", "lib.rs");
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
fn a_driver_that_goes_on_after_a_failure_ends_there_or_shows_what_it_went_on_without() -> Result<()> {
    let rig = Rig::boot("unchecked")?;
    rig.install_misfit("low-unchecked")?;
    rig.verifier().fail_call("low-unchecked", 1)?;
    let error = format!("{:#}", rig.start("low-unchecked").expect_err("there is no memory to write to"));
    names(&error, "low-unchecked", "0x1e: write to address 0x0", "", "kernel.rs");
    // What a driver may do without, only its author knows: the start succeeds, and the log says what had failed.
    rig.install_misfit("low-open")?;
    rig.verifier().fail_call("low-open", 1)?;
    rig.start("low-open")?;
    assert_eq!(rig.verifier().fail_none()?, 1);
    let events = rig.events()?;
    let fault = events.iter().rfind(|event| event.is("low-open", "fault")).expect("a call was failed");
    let place = rig.place(fault).expect("the call is known");
    assert!(place.starts_with("in the call of ZwCreateFile at ") && place.contains("misfit/src/wdm.rs:"), "{place}");
    Ok(())
}

#[test]
fn every_misuse_of_the_pool_is_a_bug_check_of_its_driver() -> Result<()> {
    const FREE: &str = "ExFreePoolWithTag";
    let misuses = [
        ("pool-slack", "0x19: block of tag Kern and 20 bytes was written to behind its end", FREE, "wdm.rs"),
        ("pool-before", "0x19: block of tag Kern and 32 bytes was written to in front of it", FREE, "wdm.rs"),
        ("pool-tag", "0xc2: block of tag Kern freed with tag Gnat", FREE, "wdm.rs"),
        ("pool-inside", ", which is not the beginning of a block", FREE, "wdm.rs"),
        ("pool-image", ", which is memory of an image", FREE, "wdm.rs"),
        ("pool-stack", ", which is memory of the stack", FREE, "wdm.rs"),
        ("pool-null", "0xc2: 0x0 freed, which is NULL", FREE, "wdm.rs"),
        ("pool-nowhere", "0xc2: 0x1010 freed, which is no memory", FREE, "wdm.rs"),
        ("pool-level", "0xc2: block of tag Kern and of paged pool freed at IRQL 2", FREE, "wdm.rs"),
        ("pool-allocated", "0xc2: paged pool allocated at IRQL 2", "ExAllocatePool2", "wdm.rs"),
        ("pool-raise", "0xc2: no memory for an allocation that may not fail", "ExAllocatePool2", "wdm.rs"),
        ("pool-untagged", "0x1e: write to address 0x0", "", "kernel.rs"),
        ("pool-freed", " in a block of tag Kern and 32 bytes that was freed, at offset ", "", "kernel.rs"),
        ("pool-guard", " in front of a block of tag Kern and 5000 bytes, at offset ", "", "kernel.rs"),
        ("pool-paged", " in paged pool, a block of tag Kern and 32 bytes, at offset ", "", "kernel.rs"),
    ];
    let rig = Rig::boot("pool")?;
    every_start_is_a_bug_check(&rig, &misuses)?;
    // At the start of a page, a write in front of a block is seen when it happens.
    rig.verifier().pool_at_start(true)?;
    let says = " in front of a block of tag Kern and 32 bytes, at offset ";
    every_start_is_a_bug_check(&rig, &[("pool-under", says, "", "kernel.rs")])?;
    rig.verifier().pool_at_start(false)?;
    // A block that is never freed is looked at when its driver is gone.
    rig.install_misfit("pool-leaked")?;
    rig.start("pool-leaked")?;
    let error = format!("{:#}", rig.stop("pool-leaked").expect_err("its block was written to behind its end"));
    names(&error, "pool-leaked", "0x19: block of tag Kern and 20 bytes was written to behind its end", "", "wdm.rs");
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
    // A section stays in memory as long as it is locked.
    rig.install_misfit("page-locked")?;
    rig.start("page-locked")?;
    let says = " in the pageable section PAGEDATA of page-unlocked.sys, at offset ";
    every_start_is_a_bug_check(&rig, &[("page-unlocked", says, "", "kernel.rs")])
}

#[test]
fn an_unload_while_a_thread_is_in_the_image_is_a_bug_check_of_its_driver() -> Result<()> {
    let rig = Rig::boot("thread")?;
    rig.install_misfit("thread-left")?;
    rig.start("thread-left")?;
    let error = format!("{:#}", rig.stop("thread-left").expect_err("a thread would run on where nothing is"));
    names(&error, "thread-left", "0xce: unloaded while the thread 0x", "", "wdm.rs");
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
    const KEY: &str = "DriverIsolation: key \\Registry\\Machine\\System\\CurrentControlSet\\Services\\";
    const WRITTEN: &str = "DriverIsolation: \\SystemRoot\\misfit.txt is written to";
    const VALUE: &str = "DriverIsolation: key A, relative to 1, is not its own";
    const PROCESS: &str = "\\??\\C:\\misfit.txt is resolved for the process that happens to run";
    let breaks = [
        ("isolation-key", KEY, "ZwOpenKey", "wdm.rs"),
        ("isolation-file", WRITTEN, "ZwCreateFile", "wdm.rs"),
        ("isolation-value", VALUE, "RtlWriteRegistryValue", "wdm.rs"),
        ("isolation-delete", WRITTEN, "ZwDeleteFile", "wdm.rs"),
        ("isolation-process", PROCESS, "ZwCreateFile", "wdm.rs"),
    ];
    let rig = Rig::boot("isolation")?;
    every_start_is_a_bug_check(&rig, &breaks)?;
    rig.verifier().isolate(false)?;
    rig.start("isolation-key").map(drop)
}

#[test]
fn a_handle_that_is_closed_twice_or_never_is_noticed() -> Result<()> {
    let rig = Rig::boot("handles")?;
    every_start_is_a_bug_check(&rig, &[("handle-twice", "closed, which is no handle", "ZwClose", "wdm.rs")])?;
    rig.install_misfit("handle-left")?;
    rig.start("handle-left")?;
    assert_eq!(rig.stop("handle-left")?, Left { handles: 1, ..Left::default() });
    assert!(place_left(&rig, "handle-left", "handle")?.starts_with("in the call of ZwCreateFile at "));
    Ok(())
}

/// What the bug check of a driver says, when it comes.
fn wait_for_bug_check(rig: &Rig, service: &str) -> Result<String> {
    let ended = |event: &&Event| event.is(service, "bugcheck");
    let events = rig.wait_for(&format!("the bug check of {service}"), |events| events.iter().any(|e| ended(&e)))?;
    let event = events.iter().find(ended).expect("waited for");
    Ok(rig.bug_check_text(event))
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
        ("io-unmarked", "0xc4: STATUS_PENDING returned for 0x3, without IoMarkIrpPending"),
        ("io-spin", "0xc4: a request completed while a spin lock is held"),
        ("io-thread", "0xc4: called on the thread of a request; it wants a system thread, in the call of IoGetDriver"),
        ("io-stranger", "0xc4: 0x"),
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
        let text = wait_for_bug_check(&rig, service)?;
        // Where nothing was called, it is the dispatch routine that is named.
        assert!(text.contains("rig/drivers/misfit/src/"), "{text}");
        assert!(text.contains(&format!("{service}.sys caused bug check {says}")), "{text}");
        if service == "io-stranger" {
            assert!(text.contains(" deleted, which is no device of a driver, in the call of IoDeleteDevice"), "{text}");
        }
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
    let text = wait_for_bug_check(&rig, "io-cancel")?;
    let says = "0xc4: the cancel routine has returned and holds the cancel spin lock";
    names(&text, "io-cancel", says, "", "request.rs");
    Ok(())
}

#[test]
fn every_misuse_of_a_lock_or_a_wait_is_a_bug_check_of_its_driver() -> Result<()> {
    const RAISE: &str = "KeAcquireSpinLockRaiseToDpc";
    let misuses = [
        ("lock-order", " is held; KeAcquireSpinLockRaiseToDpc at 0x", RAISE, "locks.rs"),
        ("lock-mutexes", " is held; ExAcquireFastMutex at 0x", "KeWaitForSingleObject", "locks.rs"),
        ("lock-twice", " taken by the thread that holds it", RAISE, "locks.rs"),
        ("lock-foreign", " released by a thread that does not hold it", "KeReleaseSpinLock", "locks.rs"),
        ("lock-level", " released to IRQL 1; it was taken at 0", "KeReleaseSpinLock", "locks.rs"),
        ("lock-cancel", " released to IRQL 1; it was taken at 0", "IoReleaseCancelSpinLock", "locks.rs"),
        ("lock-low", "called at IRQL 0; it may be called from 2", "KeAcquireSpinLockAtDpcLevel", "locks.rs"),
        ("lock-lowered", "called at IRQL 0; it may be called from 2", "KeReleaseSpinLock", "locks.rs"),
        ("lock-fast", "called at IRQL 0; it may be called from 1", "ExReleaseFastMutex", "locks.rs"),
        ("lock-unsafe", "called outside of critical regions", "ExAcquireFastMutexUnsafe", "locks.rs"),
        ("lock-resource", "called outside of critical regions", "ExAcquireResourceExclusiveLite", "locks.rs"),
        ("lock-region", "called outside of critical regions", "ExReleaseResourceLite", "locks.rs"),
        ("lock-freed", " given back while it is held", RAISE, "locks.rs"),
        ("lock-deleted", " given back while it is held", "ExAcquireResourceExclusiveLite", "locks.rs"),
        ("lock-device", " given back while it is held", "KeWaitForSingleObject", "locks.rs"),
    ];
    let rig = Rig::boot("locks")?;
    every_start_is_a_bug_check(&rig, &misuses)?;
    // What an image holds itself is given back when it goes.
    rig.install_misfit("lock-image")?;
    rig.start("lock-image")?;
    let error = format!("{:#}", rig.stop("lock-image").expect_err("its mutex is held"));
    names(&error, "lock-image", " given back while it is held", "KeWaitForSingleObject", "locks.rs");
    Ok(())
}

#[test]
fn a_wait_that_lasts_in_a_callback_of_nmr_is_a_bug_check_of_its_driver() -> Result<()> {
    let rig = Rig::boot("wait")?;
    rig.install_misfit("wait-inside")?;
    // On a slow machine `sc` gives up before that.
    rig.start("wait-inside").expect_err("a driver that does this must not start");
    let text = wait_for_bug_check(&rig, "wait-inside")?;
    names(&text, "wait-inside", "0xc4: a wait in ClientDetachProvider lasts ", "KeWaitForSingleObject", "locks.rs");
    Ok(())
}

#[test]
fn a_driver_stays_until_the_last_handle_to_its_device_is_closed() -> Result<()> {
    let rig = Rig::boot("held")?;
    rig.install_misfit("io-slow")?;
    rig.start("io-slow")?;
    thread::scope(|scope| {
        let reading = scope.spawn(|| read_misfit(&rig));
        rig.wait_for("the request", |events| events.iter().any(|event| event.is("io-slow", "debug")))?;
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
    assert!(place_left(&rig, "io-device", "device")?.starts_with("in the call of IoCreateDevice at "));
    assert!(place_left(&rig, "io-device", "link")?.starts_with("in the call of IoCreateSymbolicLink at "));
    Ok(())
}
