//! What the registrar has to say reaches people although libtest keeps the output of a test to itself until the test
//! has failed, and loses it when the process ends before. Each test runs a part of itself in a process of its own.

mod support;
use std::env;
use std::process::{Command, Output};
use std::ptr::null_mut;
use std::time::Duration;

use nmr_registrar::{Threads, registrar};
use support::*;

/// The variable that says which part is to run.
const PART: &str = "NMR_REGISTRAR_TEST_PART";

/// Whether this is the process for `part`.
fn is(part: &str) -> bool {
    env::var(PART).is_ok_and(|found| found == part)
}

/// Runs the test `name` alone, under libtest as it is.
fn run(name: &str) -> Output {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args([name, "--exact", "--test-threads=1"]).env(PART, name).output().expect("it can be run")
}

/// What a process that ended by itself has written to stderr.
fn aborted(name: &str) -> String {
    let output = run(name);
    assert!(output.status.code().is_none_or(|code| code != 0 && code != 101), "it ends with {}", output.status);
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_violation_without_a_session_is_read_before_the_process_ends() {
    if is("a_violation_without_a_session_is_read_before_the_process_ends") {
        deregister(Side::Client, null_mut());
    }
    let errors = aborted("a_violation_without_a_session_is_read_before_the_process_ends");
    assert!(errors.contains("nmr-registrar: R68 broken in NmrDeregisterClient: a NULL handle"), "{errors}");
    assert!(errors.contains("see docs/nmr-rules.md#r68"), "{errors}");
}

#[test]
fn threads_that_stand_still_are_read_of_before_the_process_ends() {
    if is("threads_that_stand_still_are_read_of_before_the_process_ends") {
        let session = Session::adversary();
        session.set_patience(Duration::from_millis(100));
        let mut threads = session.threads();
        // The registrar does not see what the first one waits for.
        for name in ["one", "two"] {
            threads.add(name, || std::thread::sleep(Duration::from_secs(60)));
        }
        threads.run();
    }
    let errors = aborted("threads_that_stand_still_are_read_of_before_the_process_ends");
    assert!(errors.contains("nmr-registrar: the threads of the test stand still (seed "), "{errors}");
    assert!(errors.contains("running: one") || errors.contains("running: two"), "{errors}");
}

#[test]
fn threads_that_all_give_way_stand_still() {
    if is("threads_that_all_give_way_stand_still") {
        let session = Session::new();
        session.set_patience(Duration::from_millis(100));
        let mut threads = session.threads();
        for name in ["one", "two"] {
            threads.add(name, || {
                loop {
                    Threads::give_way();
                }
            });
        }
        threads.run();
    }
    let errors = aborted("threads_that_all_give_way_stand_still");
    assert!(
        errors.contains("the threads of the test stand still (the fixed order); running: all give way"),
        "{errors}"
    );
    assert!(errors.contains("two: gives way"), "{errors}");
}

#[test]
fn a_panic_inside_a_callback_is_read_with_the_violations_before_it() {
    if is("a_panic_inside_a_callback_is_read_with_the_violations_before_it") {
        let _session = Session::new();
        let log = Log::default();
        let npi = unique_npi();
        let mut client = client("C", npi, &log);
        client.on_client_attach = Box::new(|_| {
            deregister(Side::Client, null_mut());
            panic!("the driver's own assertion");
        });
        let _provider = provider("P", npi, &log).registered();
        client.register();
    }
    let errors = aborted("a_panic_inside_a_callback_is_read_with_the_violations_before_it");
    assert!(errors.contains("nmr-registrar: a panic inside ClientAttachProvider, which cannot be unwound"), "{errors}");
    assert!(errors.contains("the driver's own assertion"), "{errors}");
    assert!(errors.contains("nmr-registrar: before that: R68 broken in NmrDeregisterClient"), "{errors}");
}

#[test]
fn a_panic_after_a_callback_is_none_inside_of_it() {
    if is("a_panic_after_a_callback_is_none_inside_of_it") {
        let session = Session::new();
        drop(attached_pair(&Log::default()));
        drop(session);
        panic!("the test's own assertion");
    }
    let output = run("a_panic_after_a_callback_is_none_inside_of_it");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("the test's own assertion"), "{text}");
    assert!(!errors.contains("a panic inside"), "{errors}");
}

#[test]
fn a_violation_is_read_when_it_happens_unless_the_session_is_silent() {
    let name = "a_violation_is_read_when_it_happens_unless_the_session_is_silent";
    if is(name) {
        for side in [Side::Client, Side::Provider] {
            let session = Session::new();
            if side == Side::Provider {
                session.silence();
            }
            deregister(side, null_mut());
            session.expect_violation(68);
        }
        // What the test has printed is shown because it fails.
        panic!("the end");
    }
    let output = run(name);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.matches("nmr-registrar: R68 broken in NmrDeregister").count(), 1, "{text}");
    assert!(text.contains("nmr-registrar: R68 broken in NmrDeregisterClient"), "{text}");
}

/// Ends a client and a provider, which takes so long to detach.
fn detach_for(time: Duration) {
    let log = Log::default();
    let npi = unique_npi();
    let provider = provider("P", npi, &log).detaching_with(STATUS_PENDING).registered();
    let client = client("C", npi, &log).registered();
    let handle = Pointer(provider.binding(0).handle());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let Pointer(handle) = { handle };
            std::thread::sleep(time);
            complete(Side::Provider, handle);
        });
        client.end();
    });
    provider.end();
}

#[test]
fn a_wait_without_a_limit_lasts_as_long_as_it_has_to_and_says_nothing() {
    let session = Session::new();
    registrar().set_slow_wait(None);
    detach_for(Duration::from_millis(50));
    assert_eq!(session.slow_waits().len(), 0);
}

#[test]
fn a_slow_wait_is_read_while_it_lasts() {
    let slow = |set: &dyn Fn(Duration)| {
        set(Duration::from_millis(20));
        detach_for(Duration::from_millis(200));
    };
    if is("a_slow_wait_is_read_while_it_lasts") {
        // With a session, and then without one.
        let session = Session::new();
        slow(&|limit| session.set_slow_wait(limit));
        drop(session);
        return slow(&|limit| registrar().set_slow_wait(Some(limit)));
    }
    let output = run("a_slow_wait_is_read_while_it_lasts");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let registrations: std::collections::BTreeSet<&str> = errors
        .lines()
        .filter(|line| line.starts_with("nmr-registrar: waiting for "))
        .filter_map(|line| line.split("NPI ").nth(1))
        .collect();
    assert_eq!(registrations.len(), 2, "{errors}");
}
