//! What the rig says of a driver that it has never heard of: the rule, the function, the file and the line.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use wdk_rig::Rig;

/// Starts breaker.sys under that name; returns what the error says.
fn start_fails(rig: &Rig, service: &str) -> Result<String> {
    rig.install_file(&rig.product("breaker.sys"), service)?;
    Ok(format!("{:#}", rig.start(service).expect_err("a driver that does this must not start")))
}

#[test]
fn a_write_past_the_end_of_a_block() -> Result<()> {
    let error = start_fails(&Rig::boot("past")?, "past_end")?;
    assert!(error.contains("past_end.sys caused bug check 0xd6: write to address "), "{error}");
    assert!(error.contains(" behind the end of a block of tag Brkr and 32 bytes, "), "{error}");
    assert!(error.contains("breaker/src/lib.rs:"), "{error}");
    Ok(())
}

#[test]
fn a_call_at_the_wrong_irql() -> Result<()> {
    let error = start_fails(&Rig::boot("high")?, "too_high")?;
    assert!(error.contains("too_high.sys caused bug check 0xc4: ZwClose called at IRQL 2"), "{error}");
    assert!(error.contains(", in the call of ZwClose at ") && error.contains("breaker/src/lib.rs:"), "{error}");
    Ok(())
}

#[test]
fn a_handle_that_is_left_open() -> Result<()> {
    let rig = Rig::boot("left")?;
    rig.install_file(&rig.product("breaker.sys"), "left_open")?;
    rig.start("left_open")?;
    assert_eq!(rig.stop("left_open")?.handles, 1);
    let events = rig.events()?;
    let left = events.iter().find(|event| event.is("left_open", "left")).expect("what was left");
    let place = rig.place(left).expect("where it was opened");
    assert!(place.starts_with("in the call of ZwCreateFile at ") && place.contains("breaker/src/lib.rs:"), "{place}");
    Ok(())
}

#[test]
fn a_request_that_is_suspended() -> Result<()> {
    let rig = Rig::boot("served")?;
    rig.install_file(&rig.product("breaker.sys"), "served")?;
    rig.start("served")?;
    let limit = rig.scaled(Duration::from_secs(60));
    rig.verifier().suspend_call("served", 1)?;
    thread::scope(|scope| {
        let reading = scope.spawn(|| rig.run("cmd", &["/c", "type", r"\\.\breaker"], limit));
        let suspended = rig.wait_for("the suspension", |events| events.iter().any(|event| event.name == "suspended"));
        let is_running = !reading.is_finished();
        rig.verifier().suspend_call("served", 0)?;
        reading.join().expect("a program does not panic")?;
        let events = suspended?;
        let suspended = events.iter().find(|event| event.is("served", "suspended")).expect("waited for");
        let place = rig.place(suspended).expect("where it is");
        assert!(is_running && place.starts_with("in the call of DbgPrint at "), "{place}");
        assert!(place.contains("breaker/src/lib.rs:"), "{place}");
        Ok::<_, anyhow::Error>(())
    })?;
    let left = rig.stop("served")?;
    assert!(left.is_nothing(), "{left}");
    Ok(())
}
