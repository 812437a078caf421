//! A callout driver, from start to end, against the filter engine for tests: `driver.rs` is all of it.

mod driver;

use std::ptr;

use driver::start;
use wdk_wfp::{Device, Layer, Passive};
use wdk_wfp_sys::{FWP_UINT32, FWP_VALUE0, FWP_VALUE0_0, FWPS_INCOMING_METADATA_VALUES0, FWPS_INCOMING_VALUE0};
use wfp_engine::{Engine, Indication, PacketList, Piece};

/// A TCP segment to this port.
fn segment(port: u16) -> [u8; 40] {
    let mut packet = [0; 40];
    packet[0] = 0x45;
    packet[9] = 6;
    packet[22..24].copy_from_slice(&port.to_be_bytes());
    packet
}

/// Whether a packet passes, cut into two MDLs at `cut`.
fn passes(engine: &Engine, packet: &[u8], cut: usize) -> bool {
    let list = PacketList::of(&[Piece::mapped(&packet[..cut]), Piece::mapped(&packet[cut..])], 0);
    let value = FWP_VALUE0 { r#type: FWP_UINT32, Anonymous: FWP_VALUE0_0 { uint32: 0 } };
    let values = [FWPS_INCOMING_VALUE0 { value }; 10];
    // SAFETY: numbers, and pointers that may be NULL.
    let metadata: FWPS_INCOMING_METADATA_VALUES0 = unsafe { std::mem::zeroed() };
    let (layer, flags) = (&Layer::OutboundIpV4.key(), Layer::OutboundIpV4.flags());
    engine.classify(Indication { layer, values: &values, flags, metadata: &metadata, list: list.as_ptr() }).passes
}

fn device() -> Device {
    // SAFETY: the engine never looks at the device, and the driver is dropped below.
    unsafe { Device::new(ptr::dangling_mut()) }
}

fn main() {
    let engine = Engine::start();
    // SAFETY: the main thread of a program is in no callback.
    let passive = unsafe { Passive::new() };
    let driver = start(device(), passive).expect("nothing fails here");
    for cut in 0..=40 {
        assert!(passes(&engine, &segment(22), cut) && !passes(&engine, &segment(23), cut), "cut at {cut}");
    }
    assert!(!passes(&engine, &segment(22)[..23], 0), "a port that cannot be read");
    let mut later_fragment = segment(23);
    later_fragment[7] = 1;
    assert!(passes(&engine, &later_fragment, 0), "it has no port");
    drop(driver);
    assert!(passes(&engine, &segment(23), 0));
    println!("22 passes, 23 does not until the driver is gone.");
}

#[test]
fn telnet_is_blocked_while_the_driver_runs_and_nothing_stays_behind() {
    main();
}

/// What the page is called after.
#[test]
fn the_driver_has_no_more_than_80_lines() {
    let lines = include_str!("driver.rs").lines().count();
    assert!(lines <= 80, "{lines} lines");
}

/// Whatever fails while it starts, nothing stays behind: the engine reports what does.
#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    let functions = [
        "FwpsCalloutRegister2",
        "FwpmEngineOpen0",
        "FwpmTransactionBegin0",
        "FwpmFilterAdd0",
        "FwpmTransactionCommit0",
    ];
    for function in functions {
        let engine = Engine::start();
        engine.fail(function, -1);
        // SAFETY: a test is in no callback.
        let passive = unsafe { Passive::new() };
        assert_eq!(start(device(), passive).err(), Some(-1), "{function}");
        assert_eq!((engine.objects(), engine.registered()), ([0; 4], 0), "{function}");
    }
}
