//! The driver without Windows, against a strict filter engine, which reports lists that are changed, rights that are
//! ignored, levels that are not kept and callouts that are left behind, and a strict registrar in the place of NMR.
//! Mistakes that callout drivers have shipped with are tests by name.

mod fuzzed;
mod host;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sluice_control::code;
use sluice_control::gate::{GateCounters, GateEnable, GateStatus, MAX_SECONDS, flags, settings};
use sluice_control::message::header_of;
use sluice_control::status::{
    STATUS_BUFFER_TOO_SMALL, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_PARAMETER, STATUS_REVISION_MISMATCH, STATUS_SUCCESS,
};
use sluice_control::wire::Wire;
use sluice_gate::{GATHERED, HEAD, Judged, PACKETS, Rejected, SHORT, Settings, Treatment};
use sluice_npi::{Header, direction, link_type};
use wdk_wfp::Layer;
use wdk_wfp_sys::FWP_CONDITION_FLAG_IS_LOOPBACK;
use wfp_engine::{DISPATCH_LEVEL, Engine, PASSIVE_LEVEL, PacketList, Piece, Verdict, irql};

use crate::host::{
    BAD, Driver, GOOD, LONG, Machine, Sluice, advance, asks, cut, frame, frame_metadata, is_bad, list, metadata,
    passive, send, show, v4, v6,
};

/// Where a test fails if nothing happens.
const PATIENCE: Duration = Duration::from_secs(30);

fn blocked(absorbed: bool) -> Verdict {
    Verdict { passes: false, absorbed, asked: 1 }
}

#[test]
fn sluice_decides_about_packets_of_every_layer_wherever_they_are_cut() {
    let machine = Machine::new();
    let sluice = Sluice::start();
    let driver = Driver::enabled(Settings::default());
    let (v4_type, v6_type) = (link_type::IPV4, link_type::IPV6);
    let layers = [
        (Layer::InboundIpV4, v4_type, direction::INBOUND, Some(20)),
        (Layer::InboundIpV6, v6_type, direction::INBOUND, Some(40)),
        (Layer::OutboundIpV4, v4_type, direction::OUTBOUND, None),
        (Layer::OutboundIpV6, v6_type, direction::OUTBOUND, None),
        (Layer::ForwardIpV4, v4_type, direction::UNSPECIFIED, None),
        (Layer::ForwardIpV6, v6_type, direction::UNSPECIFIED, None),
    ];
    for (layer, link_type, direction, header) in layers {
        let of = |marker, length| if link_type == v4_type { v4(marker, length) } else { v6(marker, length) };
        let long = |last| {
            let mut packet = of(LONG, 300);
            *packet.last_mut().unwrap() = last;
            packet
        };
        for packet in [of(GOOD, 60), of(BAD, 60), of(GOOD, 300), of(BAD, 300), long(GOOD), long(BAD)] {
            let length = packet.len() as u32;
            for at in 0..=packet.len() {
                // WinDivert #110: a list that is retreated to the header is reported (W13).
                let list = PacketList::of(&cut(&packet, at), header.unwrap_or(0));
                let level = if at % 2 == 0 { PASSIVE_LEVEL } else { DISPATCH_LEVEL };
                let raised = irql::raise(level);
                let verdict = show(&machine.engine, layer, 0, &metadata(header), list.as_ptr());
                drop(raised);
                assert_eq!(verdict.passes, !is_bad(&packet), "{layer:?}, cut at {at}");
                let shown = sluice.take_calls().concat();
                // A long packet that lies apart is shown by its head, if Sluice does not ask for more.
                let is_head = packet.len() > SHORT && !asks(&packet) && !(at == 0 || at == packet.len());
                let bytes = if is_head { &packet[..HEAD] } else { &packet[..] };
                assert_eq!(shown, [(link_type, direction, length, bytes.to_vec())], "{layer:?}, cut at {at}");
            }
        }
    }
    let counters = driver.counters();
    assert_eq!((counters.permitted, counters.blocked), (6 * (61 + 2 * 301), 6 * (61 + 2 * 301)));
    driver.stop();
    sluice.stop();
}

#[test]
fn packets_of_which_sluice_asks_for_the_rest_are_decided_in_order_and_once() {
    let machine = Machine::new();
    let sluice = Sluice::start();
    let driver = Driver::enabled(Settings::default());
    let number = |packet: &mut Vec<u8>, number: usize| packet[30..32].copy_from_slice(&(number as u16).to_be_bytes());
    let mut expected = GateCounters::default();
    // Where the packets are of which Sluice asks for more.
    let patterns: [fn(usize) -> bool; 5] =
        [|_| true, |place| place == 0, |place| place % 7 == 3, |place| place % PACKETS == 31, |place| place > 50];
    for asks_at in patterns {
        for is_blocked in [false, true] {
            let packets: Vec<_> = (0..2 * PACKETS + 5)
                .map(|place| {
                    let mut packet = v4(if asks_at(place) { LONG } else { GOOD }, 1400 + place);
                    number(&mut packet, place);
                    *packet.last_mut().unwrap() = if is_blocked { BAD } else { GOOD };
                    packet
                })
                .collect();
            let bad = packets.iter().filter(|packet| is_bad(packet)).count() as u64;
            assert_eq!(send(&machine.engine, &packets), bad == 0);
            let shown: Vec<_> = sluice.take_calls().concat().into_iter().map(|(.., bytes)| bytes).collect();
            assert_eq!(shown.len(), packets.len());
            for (shown, packet) in shown.iter().zip(&packets) {
                assert_eq!(shown, if asks(packet) { &packet[..] } else { &packet[..HEAD] });
            }
            expected.lists += 1;
            expected.permitted += packets.len() as u64 - bad;
            expected.blocked += bad;
            expected.blocked_lists += u64::from(bad > 0);
            expected.mixed_lists += u64::from(bad > 0 && bad < packets.len() as u64);
        }
    }
    assert_eq!(driver.counters(), expected);
    driver.stop();
    sluice.stop();
}

#[test]
fn the_packets_of_a_list_are_shown_in_one_call_and_one_that_is_blocked_takes_the_others_with_it() {
    let machine = Machine::new();
    let sluice = Sluice::start();
    let driver = Driver::enabled(Settings::default());
    for position in [0, 1, PACKETS - 1] {
        let packets: Vec<_> =
            (0..PACKETS).map(|index| v4(if index == position { BAD } else { GOOD }, 40 + index)).collect();
        assert!(!send(&machine.engine, &packets), "the packet at {position}");
        let calls = sluice.take_calls();
        let seen: Vec<_> = calls.concat().into_iter().map(|(.., bytes)| bytes).collect();
        assert_eq!((calls.len(), seen), (1, packets));
    }
    let others = (PACKETS as u64 - 1) * 3;
    let expected = GateCounters {
        lists: 3,
        blocked_lists: 3,
        mixed_lists: 3,
        permitted: others,
        blocked: 3,
        ..GateCounters::default()
    };
    assert_eq!(driver.counters(), expected);
    assert!(send(&machine.engine, &[v4(GOOD, 40), v4(GOOD, 41)]));
    assert!(!send(&machine.engine, &[v4(BAD, 40)]), "blocked alone, so not mixed");
    let GateCounters { blocked_lists, mixed_lists, .. } = driver.counters();
    assert_eq!((blocked_lists, mixed_lists), (4, 3));
    driver.stop();
    sluice.stop();
}

#[test]
fn a_list_of_more_packets_than_one_call_takes_is_shown_whole() {
    let machine = Machine::new();
    let sluice = Sluice::start();
    let driver = Driver::enabled(Settings::default());
    let mut packets = vec![v4(GOOD, 40); 3 * PACKETS + 1];
    assert!(send(&machine.engine, &packets));
    let calls = sluice.take_calls();
    assert_eq!(calls.iter().map(Vec::len).collect::<Vec<_>>(), [PACKETS, PACKETS, PACKETS, 1]);
    *packets.last_mut().unwrap() = v4(BAD, 40);
    assert!(!send(&machine.engine, &packets), "the last one is blocked");
    // Packets that have to be brought together, and together need more room than there is.
    sluice.take_calls();
    let long = vec![v4(LONG, 1500); PACKETS];
    assert!(send(&machine.engine, &long));
    let calls = sluice.take_calls().concat();
    assert!(calls.len() == PACKETS && calls.iter().all(|(.., bytes)| *bytes == long[0]));
    driver.stop();
    sluice.stop();
}

/// What the segmentation of a card is left to do is one packet of up to 64 KiB, its payload in MDLs of its own.
#[test]
fn a_packet_that_is_too_long_to_be_brought_together_is_truncated_with_its_true_length() {
    let machine = Machine::new();
    let sluice = Sluice::start();
    let driver = Driver::enabled(Settings::default());
    let packet = v4(GOOD, 60_000);
    let show_cut = |at| {
        let list = PacketList::of(&cut(&packet, at), 0);
        assert!(show(&machine.engine, Layer::OutboundIpV4, 0, &metadata(None), list.as_ptr()).passes);
        sluice.take_calls().concat().remove(0)
    };
    let (.., wire_length, bytes) = show_cut(54);
    assert_eq!((wire_length, &bytes[..]), (60_000, &packet[..GATHERED]));
    let (.., wire_length, bytes) = show_cut(0);
    assert_eq!((wire_length, bytes), (60_000, packet.clone()), "in one MDL, so not copied");
    driver.stop();
    sluice.stop();
}

#[test]
fn whether_the_sender_of_a_blocked_packet_is_told_is_a_setting() {
    for reports_blocked in [false, true] {
        let machine = Machine::new();
        let sluice = Sluice::start();
        let driver = Driver::enabled(Settings { reports_blocked, ..Settings::default() });
        let list = list(&[v4(BAD, 40)], 0);
        let verdict = show(&machine.engine, Layer::OutboundIpV4, 0, &metadata(None), list.as_ptr());
        assert_eq!(verdict, blocked(!reports_blocked));
        assert_eq!(driver.gate.status().flags & flags::REPORTS_BLOCKED != 0, reports_blocked);
        driver.stop();
        sluice.stop();
    }
}

#[test]
fn what_becomes_of_packets_without_a_sluice_is_a_setting() {
    for when_no_sluice in [Treatment::Permit, Treatment::Block] {
        let machine = Machine::new();
        let driver = Driver::enabled(Settings { when_no_sluice, ..Settings::default() });
        let passes = when_no_sluice == Treatment::Permit;
        assert_eq!(send(&machine.engine, &[v4(BAD, 40), v4(GOOD, 40)]), passes);
        let status = driver.gate.status();
        assert_eq!((status.counters.unanswered, status.counters.blocked_lists), (2, u64::from(!passes)));
        assert_eq!(status.flags & flags::BLOCKS_WHEN_NO_SLUICE != 0, !passes);
        assert_eq!(status.flags & flags::ATTACHED, 0);
        let sluice = Sluice::start();
        assert_ne!(driver.gate.status().flags & flags::ATTACHED, 0);
        assert_eq!([BAD, GOOD].map(|marker| send(&machine.engine, &[v4(marker, 40)])), [false, true]);
        sluice.stop();
        assert_eq!(send(&machine.engine, &[v4(BAD, 40)]), passes);
        driver.stop();
    }
}

/// Lists of which something is wrong, each as a layer may pass it.
fn malformed_lists() -> Vec<(&'static str, Layer, Option<u32>, Option<PacketList>)> {
    let good = v4(GOOD, 40);
    let said = |offset, length| {
        let mut list = PacketList::new();
        list.add_packet(&cut(&good, 10), offset, length);
        Some(list)
    };
    let mut circle = PacketList::new();
    circle.add_packet(&[Piece::mapped(&[])], 0, 1);
    circle.close_the_chain();
    let mut empty = PacketList::new();
    empty.add_packet(&[Piece::mapped(&[]), Piece::mapped(&[])], 0, 1);
    let out = Layer::OutboundIpV4;
    vec![
        ("no list", out, None, None),
        ("no buffers", out, None, Some(PacketList::new())),
        ("data longer than the chain", out, None, said(0, 41)),
        ("data beyond the chain", out, None, said(41, 1)),
        ("a length that overflows", Layer::InboundIpV4, Some(20), said(20, u32::MAX)),
        ("a header before the chain", Layer::InboundIpV4, Some(20), said(19, 21)),
        ("no metadata", Layer::InboundIpV4, None, said(20, 20)),
        ("MDLs without bytes", out, None, Some(empty)),
        ("a chain without an end", out, None, Some(circle)),
    ]
}

#[test]
fn what_becomes_of_lists_that_contradict_themselves_is_a_setting_and_they_are_counted() {
    for on_malformed in [Treatment::Permit, Treatment::Block] {
        let machine = Machine::new();
        let sluice = Sluice::start();
        let driver = Driver::enabled(Settings { on_malformed, ..Settings::default() });
        for (count, (what, layer, header, list)) in (1..).zip(malformed_lists()) {
            let list = list.as_ref().map_or(std::ptr::null_mut(), PacketList::as_ptr);
            let verdict = show(&machine.engine, layer, 0, &metadata(header), list);
            assert_eq!(verdict.passes, on_malformed == Treatment::Permit, "{what}");
            assert_eq!(driver.counters().malformed, count, "{what}");
            assert_eq!(sluice.take_calls(), Vec::<Vec<_>>::new(), "{what}");
        }
        // What is right in such a list is judged all the same.
        let mut mixed = list(&[v4(GOOD, 40)], 0);
        mixed.add_packet(&[Piece::mapped(&[1])], 0, 2);
        mixed.add_packet(&cut(&v4(BAD, 40), 7), 0, 40);
        assert!(!show(&machine.engine, Layer::OutboundIpV4, 0, &metadata(None), mixed.as_ptr()).passes);
        assert_eq!(sluice.take_calls().concat().len(), 2);
        let GateCounters { permitted, blocked, .. } = driver.counters();
        assert_eq!((permitted, blocked), (1, 1));
        driver.stop();
        sluice.stop();
    }
}

#[test]
fn a_list_without_an_end_is_left_after_a_while() {
    let machine = Machine::new();
    let sluice = Sluice::start();
    let driver = Driver::enabled(Settings::default());
    let mut list = list(&[v4(GOOD, 40), v4(GOOD, 41)], 0);
    list.close_the_list();
    assert!(!show(&machine.engine, Layer::OutboundIpV4, 0, &metadata(None), list.as_ptr()).passes);
    assert_eq!(driver.counters().malformed, 1);
    driver.stop();
    sluice.stop();
}

#[test]
fn packets_that_stay_on_this_machine_are_left_alone_unless_asked() {
    for judges_loopback in [false, true] {
        let machine = Machine::new();
        let sluice = Sluice::start();
        let driver = Driver::enabled(Settings { judges_loopback, ..Settings::default() });
        let list = list(&[v4(BAD, 40)], 0);
        let flags = FWP_CONDITION_FLAG_IS_LOOPBACK;
        let verdict = show(&machine.engine, Layer::OutboundIpV4, flags, &metadata(None), list.as_ptr());
        assert_eq!((verdict.passes, verdict.asked), (!judges_loopback, usize::from(judges_loopback)));
        driver.stop();
        sluice.stop();
    }
}

#[test]
fn ethernet_frames_are_judged_instead_of_packets_if_that_is_set() {
    let machine = Machine::new();
    let sluice = Sluice::start();
    let driver = Driver::enabled(Settings { judged: Judged::EthernetFrames, ..Settings::default() });
    assert_eq!(machine.engine.objects(), [1, 1, 2, 2]);
    assert_ne!(driver.gate.status().flags & flags::JUDGES_FRAMES, 0);
    let layers =
        [(Layer::InboundEthernet, direction::INBOUND, Some(14)), (Layer::OutboundEthernet, direction::OUTBOUND, None)];
    for (layer, direction, header) in layers {
        for marker in [GOOD, BAD] {
            let frame = frame(marker, 60);
            for at in 0..=frame.len() {
                let list = PacketList::of(&cut(&frame, at), header.unwrap_or(0));
                let verdict = show(&machine.engine, layer, 0, &frame_metadata(header), list.as_ptr());
                assert_eq!(verdict.passes, marker == GOOD, "{layer:?}, cut at {at}");
                assert_eq!(sluice.take_calls(), [[(link_type::ETHERNET, direction, 60, frame.clone())]]);
            }
        }
    }
    assert_eq!(driver.counters().malformed, 0);
    let list = list(&[frame(GOOD, 60)], 14);
    assert!(!show(&machine.engine, Layer::InboundEthernet, 0, &frame_metadata(None), list.as_ptr()).passes);
    assert_eq!(driver.counters().malformed, 1, "nobody says where its MAC header begins");
    assert!(send(&machine.engine, &[v4(BAD, 40)]), "packets are left alone");
    driver.stop();
    sluice.stop();
}

#[test]
fn filtering_that_is_not_confirmed_ends_by_itself() {
    let machine = Machine::new();
    let sluice = Sluice::start();
    let driver = Driver::start(Settings::default());
    let passes = || send(&machine.engine, &[v4(BAD, 40)]);
    let is_enabled = || driver.gate.status().flags & flags::ENABLED != 0;
    assert!(passes() && !is_enabled(), "a driver that has just started does not filter");
    driver.gate.enable(Some(60), passive()).unwrap();
    assert!(!passes() && is_enabled());
    advance(59_999);
    assert_eq!(driver.gate.status().remaining_ms, 1);
    assert!(!passes());
    advance(1);
    assert!(passes() && !is_enabled());
    assert_eq!(driver.gate.status().remaining_ms, 0);
    // Confirmed in time, it goes on; and again with an end, it ends.
    driver.gate.enable(Some(60), passive()).unwrap();
    driver.gate.enable(None, passive()).unwrap();
    advance(3_600_000);
    assert!(!passes() && is_enabled());
    assert_eq!(driver.gate.status().remaining_ms, 0);
    driver.gate.enable(Some(1), passive()).unwrap();
    advance(1_000);
    assert!(passes());
    driver.gate.disable(passive()).unwrap();
    assert_eq!(machine.engine.objects(), [0; 4]);
    driver.stop();
    sluice.stop();
}

/// ebpf-for-windows #5486, #5496: filters outlived their callouts, and the machine was cut off.
#[test]
fn no_filter_outlives_the_driver() {
    let machine = Machine::new();
    let driver = Driver::enabled(Settings { when_no_sluice: Treatment::Block, ..Settings::default() });
    assert_eq!(machine.engine.objects(), [1, 1, 6, 6]);
    assert!(!send(&machine.engine, &[v4(GOOD, 40)]));
    driver.stop();
    assert_eq!((machine.engine.objects(), machine.engine.registered()), ([0; 4], 0));
    assert!(send(&machine.engine, &[v4(GOOD, 40)]));
}

#[test]
fn a_failure_while_it_starts_or_begins_to_filter_leaves_nothing_behind() {
    let machine = Machine::new();
    machine.engine.fail("FwpsCalloutRegister2", -1);
    assert_eq!(Driver::try_start(Settings::default()).err(), Some(-1));
    assert_eq!(machine.engine.registered(), 0);
    let driver = Driver::start(Settings::default());
    let functions = [
        "FwpmEngineOpen0",
        "FwpmTransactionBegin0",
        "FwpmProviderAdd0",
        "FwpmSubLayerAdd0",
        "FwpmCalloutAdd0",
        "FwpmFilterAdd0",
        "FwpmTransactionCommit0",
    ];
    for function in functions {
        machine.engine.fail(function, -2);
        assert_eq!(driver.gate.enable(None, passive()), Err(-2), "{function}");
        assert_eq!(machine.engine.objects(), [0; 4], "{function}");
        assert_eq!(driver.gate.status().flags & flags::ENABLED, 0, "{function}");
    }
    driver.gate.enable(None, passive()).unwrap();
    driver.stop();
}

/// npcap #341, ebpf-for-windows #1272: ended in every order, with packets all the time.
#[test]
fn every_order_of_ending_works_under_traffic() {
    for gate_first in [true, false] {
        for busy in [0, 3] {
            let machine = Machine::new();
            let sluice = Sluice::start();
            let driver = Driver::enabled(Settings::default());
            let (is_over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| traffic(&machine.engine, &is_over, &sent));
                }
                let wait = || {
                    let (target, began) = (sent.load(Ordering::Relaxed) + 20, Instant::now());
                    while sent.load(Ordering::Relaxed) < target {
                        // The threads would send for ever if this one failed.
                        if began.elapsed() > PATIENCE {
                            is_over.store(true, Ordering::Relaxed);
                            panic!("no packets are sent any more");
                        }
                        thread::yield_now();
                    }
                };
                wait();
                machine.engine.busy(busy);
                if gate_first {
                    driver.stop();
                    wait();
                    sluice.stop();
                } else {
                    sluice.stop();
                    wait();
                    driver.stop();
                }
                wait();
                is_over.store(true, Ordering::Relaxed);
            });
            assert_eq!((machine.engine.objects(), machine.engine.registered()), ([0; 4], 0));
        }
    }
}

/// Sends packets that pass whoever is there, until it is over.
fn traffic(engine: &Engine, is_over: &AtomicBool, sent: &AtomicUsize) {
    while !is_over.load(Ordering::Relaxed) {
        assert!(send(engine, &[v4(GOOD, 40), v4(GOOD, 50)]));
        sent.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn sluice_may_come_and_go_while_packets_are_judged() {
    let machine = Machine::new();
    let driver = Driver::enabled(Settings::default());
    let (is_over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| traffic(&machine.engine, &is_over, &sent));
        for _ in 0..20 {
            Sluice::start().stop();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let GateCounters { lists, permitted, unanswered, blocked, .. } = driver.counters();
    assert_eq!((permitted + unanswered, blocked), (2 * lists, 0));
    assert_eq!(lists, sent.load(Ordering::Relaxed) as u64);
    driver.stop();
}

#[test]
fn a_request_is_answered_with_the_status_and_a_wrong_one_changes_nothing() {
    let machine = Machine::new();
    let driver = Driver::start(Settings::default());
    let room = GateStatus::SIZE;
    let enable = |header, seconds| {
        let mut bytes = vec![0; GateEnable::SIZE];
        GateEnable { header, seconds }.write(&mut bytes.as_mut_slice()).unwrap();
        bytes
    };
    let header = header_of::<GateEnable>();
    let right = enable(header, 60);
    let status = |code, input: &[u8], room| driver.request(code, input, room).0;
    for (what, code, input, room, expected) in [
        ("another code", code::PROBE_STATUS, &[][..], room, STATUS_INVALID_DEVICE_REQUEST),
        ("input to a status", code::GATE_STATUS, &[0], room, STATUS_INVALID_BUFFER_SIZE),
        ("no room for a status", code::GATE_STATUS, &[], room - 1, STATUS_BUFFER_TOO_SMALL),
        ("no input to enable", code::GATE_ENABLE, &[], room, STATUS_INVALID_BUFFER_SIZE),
        ("a short input", code::GATE_ENABLE, &right[..7], room, STATUS_INVALID_BUFFER_SIZE),
        ("a long input", code::GATE_ENABLE, &[&right[..], &[0]].concat(), room, STATUS_INVALID_BUFFER_SIZE),
        ("no room to enable", code::GATE_ENABLE, &right, room - 1, STATUS_BUFFER_TOO_SMALL),
        (
            "another version",
            code::GATE_ENABLE,
            &enable(Header { version: header.version + 1, ..header }, 60),
            room,
            STATUS_REVISION_MISMATCH,
        ),
        (
            "another size",
            code::GATE_ENABLE,
            &enable(Header { size: header.size + 1, ..header }, 60),
            room,
            STATUS_INVALID_PARAMETER,
        ),
        ("too long", code::GATE_ENABLE, &enable(header, MAX_SECONDS + 1), room, STATUS_INVALID_PARAMETER),
        ("input to disable", code::GATE_DISABLE, &[0], room, STATUS_INVALID_BUFFER_SIZE),
        ("no room to disable", code::GATE_DISABLE, &[], room - 1, STATUS_BUFFER_TOO_SMALL),
    ] {
        assert_eq!(status(code, input, room), expected, "{what}");
        assert_eq!(machine.engine.objects(), [0; 4], "{what}");
    }
    let (status, answer) = driver.request(code::GATE_ENABLE, &right, room);
    assert_eq!((status, answer.unwrap().remaining_ms), (STATUS_SUCCESS, 60_000));
    let (_, answer) = driver.request(code::GATE_ENABLE, &enable(header, 0), room);
    assert_eq!((answer.unwrap().flags & flags::ENABLED, answer.unwrap().remaining_ms), (flags::ENABLED, 0));
    assert_eq!(machine.engine.objects(), [1, 1, 6, 6]);
    let (_, answer) = driver.request(code::GATE_STATUS, &[], room);
    assert_eq!(answer.unwrap(), driver.gate.status());
    let (_, answer) = driver.request(code::GATE_DISABLE, &[], room);
    assert_eq!((answer.unwrap().flags & flags::ENABLED, machine.engine.objects()), (0, [0; 4]));
    driver.stop();
}

/// Every function of the engine that can fail does, one after the other, while the driver starts and begins to filter.
#[test]
fn whatever_call_of_the_engine_fails_nothing_is_left_of_the_attempt() {
    // Eight callouts; a session, a transaction, a provider, a sublayer, and a callout and a filter for each layer.
    for (judged, expected) in [(Judged::IpPackets, 8 + 4 + 2 * 6 + 1), (Judged::EthernetFrames, 8 + 4 + 2 * 2 + 1)] {
        let settings = Settings { judged, ..Settings::default() };
        let machine = Machine::new();
        let mut failed = 0;
        loop {
            machine.engine.fail_call(failed, STATUS_INSUFFICIENT_RESOURCES);
            let outcome = match Driver::try_start(settings) {
                Ok(driver) => {
                    let enabled = driver.gate.enable(None, passive());
                    assert_eq!(driver.gate.status().flags & flags::ENABLED != 0, enabled.is_ok());
                    if enabled.is_err() {
                        assert_eq!((machine.engine.objects(), machine.engine.registered()), ([0; 4], 8));
                        driver.gate.enable(None, passive()).expect("nothing fails any more");
                    }
                    driver.stop();
                    enabled
                }
                Err(status) => Err(status),
            };
            assert_eq!((machine.engine.objects(), machine.engine.registered()), ([0; 4], 0), "call {failed}");
            if outcome.is_ok() {
                assert!(machine.engine.forget_failing_call(), "a failure was ignored");
                break;
            }
            assert_eq!(outcome, Err(STATUS_INSUFFICIENT_RESOURCES), "call {failed}");
            failed += 1;
        }
        assert_eq!(failed, expected);
    }
}

#[test]
fn settings_are_what_is_documented_and_a_wrong_one_is_named() {
    let read = |name: &'static str, number: u32| Settings::read(|asked| Ok((asked == name).then_some(number)));
    assert_eq!(Settings::read(|_| Ok(None)), Ok(Settings::default()));
    let default = Settings::default();
    let block = Settings { when_no_sluice: Treatment::Block, ..default };
    assert_eq!(read(settings::WHEN_NO_SLUICE, settings::BLOCK), Ok(block));
    let permit = Settings { on_malformed: Treatment::Permit, ..default };
    assert_eq!(read(settings::ON_MALFORMED, settings::PERMIT), Ok(permit));
    assert_eq!(read(settings::REPORT_BLOCKED, 1), Ok(Settings { reports_blocked: true, ..default }));
    assert_eq!(read(settings::LOOPBACK, 1), Ok(Settings { judges_loopback: true, ..default }));
    assert_eq!(read(settings::ENABLE_AT_START, 1), Ok(Settings { enable_at_start: true, ..default }));
    let frames = Settings { judged: Judged::EthernetFrames, ..default };
    assert_eq!(read(settings::LAYERS, settings::ETHERNET_FRAMES), Ok(frames));
    assert_eq!(read(settings::LAYERS, settings::IP_PACKETS), Ok(default));
    let wrong = [
        (settings::WHEN_NO_SLUICE, 0),
        (settings::ON_MALFORMED, 3),
        (settings::REPORT_BLOCKED, 2),
        (settings::LOOPBACK, 2),
        (settings::LAYERS, 0),
        (settings::LAYERS, 3),
        (settings::ENABLE_AT_START, 2),
    ];
    for (setting, number) in wrong {
        assert_eq!(read(setting, number), Err(Rejected { setting, status: STATUS_INVALID_PARAMETER }));
    }
    let unreadable = Settings::read(|_| Err(-7));
    assert_eq!(unreadable, Err(Rejected { setting: settings::WHEN_NO_SLUICE, status: -7 }));
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, not a number")),
        Err(_) => otherwise,
    }
}

/// The fuzz target `lists` with a random generator: bounded, seeded, in every test run. `FUZZ_ROUNDS` and `FUZZ_SEED`
/// make it longer and different.
#[test]
fn arbitrary_lists_are_treated_as_their_packets_say() {
    let rounds = from_environment("FUZZ_ROUNDS", 300);
    let mut state = from_environment("FUZZ_SEED", 0x5EED) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    let mut reached = fuzzed::Done::default();
    for _ in 0..rounds {
        let input: Vec<u8> = (0..600).map(|_| byte()).collect();
        let done = fuzzed::run(&input);
        reached.passed += done.passed;
        reached.blocked += done.blocked;
        reached.malformed += done.malformed;
    }
    // The inputs reach what they are for.
    assert!(reached.passed.min(reached.blocked).min(reached.malformed) > rounds, "only {reached:?}");
}

/// What the fuzzer begins with, in `fuzz/corpus/lists`.
#[test]
fn the_corpus_of_the_fuzzer_is_treated_as_its_packets_say() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/lists");
    let inputs = std::fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let paths: Vec<_> = inputs.map(|input| input.expect("the folder can be read").path()).collect();
    assert!(paths.len() >= 20, "only {} inputs in {}", paths.len(), corpus.display());
    for path in paths {
        fuzzed::run(&std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    }
}
