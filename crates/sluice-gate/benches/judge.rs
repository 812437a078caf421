//! What a list costs from the entry of a callout to its answer, beside the same callout that permits everything, and
//! beside Sluice's own `Classify`: 1,000 rules, packets in one MDL and in three, alone and in lists of 32.

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/gate/host.rs"]
mod host;

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::time::Instant;

use sluice_core::compile::{Conditions, Prefix, Rule, compile};
use sluice_core::{Action, CapturedPacket, Direction, Policy, RuleAction};
use sluice_gate::{Callouts, Decide, Gate, Settings};
use sluice_npi::{
    Answered, CallSluice, ClassifyCall, ClientCharacteristics, Header, Invalid, MAX_BATCH, PacketRef,
    ProviderCharacteristics, SluiceClient, SluiceNpi, SluiceProvider, Statistics, Verdict, client_dispatch, direction,
    link_type, provider_dispatch,
};
use wdk_nmr::{
    Client, ClientCall, ClientOffer, ClientRegistration, ClientTable, GUID, ModuleId, Provider, ProviderOffer,
    ProviderRegistration, ProviderTable, Refusal, RegistrationOptions, Single,
};
use wdk_wfp::{Answer, Classification, Device, Layer};
use wfp_engine::{DISPATCH_LEVEL, PacketList, Piece, irql};

use crate::host::{Host, Machine, Program, metadata, passive, show};

const RULES: u32 = 1_000;
const ROUNDS: usize = 41;
/// Lists in one round.
const LISTS: usize = 400;

/// A Sluice with a policy and nothing else.
struct Rules(Policy<Vec<u8>>);

impl Provider for Rules {
    type Npi = SluiceNpi;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_dispatch()
    }

    fn attach(&self, _: &ClientOffer<'_, SluiceNpi>) -> Result<(), Refusal> {
        Ok(())
    }
}

impl SluiceProvider for Rules {
    fn classify<'a>(&self, (): &(), call: ClassifyCall<'a>) -> Result<Answered<'a>, Invalid> {
        Ok(call.answer(|packets, verdicts| {
            let captured = packets.iter().map(|packet| CapturedPacket {
                direction: Direction::from_number(packet.direction()).unwrap_or_default(),
                link_type: packet.link_type(),
                wire_length: packet.wire_length(),
                bytes: packet.bytes(),
                is_head: packet.is_head(),
            });
            sluice_core::classify(&self.0, 1, captured, verdicts).expect("a known link type");
        }))
    }

    fn statistics(&self, (): &()) -> Statistics {
        Statistics::default()
    }

    fn rejected(&self, (): &()) {}
}

/// A client that asks without a callout around it.
struct Direct;

impl Client for Direct {
    type Npi = SluiceNpi;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        client_dispatch()
    }

    fn attach(&self, _: &ProviderOffer<'_, SluiceNpi>) -> Result<(), Refusal> {
        Ok(())
    }
}

impl SluiceClient for Direct {
    fn policy_changed(_: &ClientCall<'_, Self>, _: u64) {}
}

/// What the callouts permit without looking, as long as it is set.
struct Either {
    gate: Gate<Host>,
    permits: std::sync::atomic::AtomicBool,
}

impl Decide for Either {
    fn decide(&self, shown: &Classification<'_>) -> Answer {
        if self.permits.load(std::sync::atomic::Ordering::Relaxed) { Answer::Permit } else { self.gate.decide(shown) }
    }
}

/// Rules for networks and ports that none of the packets is of.
fn policy() -> Policy<Vec<u8>> {
    let rules: Vec<Rule> = (0..RULES)
        .map(|number| {
            let [_, _, high, low] = number.to_be_bytes();
            let prefix = Prefix { address: [10, high, low, 0].into(), length: 24 };
            let port = 1_000 + (number % 500) as u16;
            let conditions = Conditions {
                destinations: vec![prefix],
                destination_ports: vec![port..=port],
                ..Conditions::default()
            };
            Rule { id: number + 1, action: RuleAction::Block, conditions }
        })
        .collect();
    Policy::new(compile(&rules, Action::Permit).expect("it compiles")).expect("it is valid")
}

/// A TCP segment of 1,400 bytes from 10.1.2.number.
fn segment(number: u8) -> Vec<u8> {
    let mut packet = vec![0; 1_400];
    packet[..20].copy_from_slice(&[0x45, 0, 0x05, 0x78, 0, 0, 0, 0, 64, 6, 0, 0, 10, 1, 2, number, 10, 0, number, 9]);
    packet[20..24].copy_from_slice(&[0xC0, number, 0x1F, 0x90]);
    packet[32] = 0x50;
    packet
}

fn list(packets: &[Vec<u8>], pieces: usize) -> PacketList {
    let mut list = PacketList::new();
    for packet in packets {
        let chain: Vec<Piece> = match pieces {
            1 => vec![Piece::mapped(packet)],
            _ => [&packet[..20], &packet[20..40], &packet[40..]].map(Piece::mapped).into(),
        };
        list.add_packet(&chain, 0, packet.len() as u32);
    }
    list
}

/// The fastest and the median time of each candidate for one list, in nanoseconds.
fn measure<const N: usize>(mut candidates: [&mut dyn FnMut(); N]) -> [(f64, f64); N] {
    let mut times = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for (candidate, times) in candidates.iter_mut().zip(&mut times) {
            let start = Instant::now();
            for _ in 0..LISTS {
                candidate();
            }
            times.push(start.elapsed().as_nanos() as f64 / LISTS as f64);
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        (times[0], times[times.len() / 2])
    })
}

fn main() {
    let machine = Machine::new();
    let id = |number| ModuleId::Guid(GUID { Data1: number, ..GUID::default() });
    let characteristics =
        ProviderCharacteristics { header: Header::of::<ProviderCharacteristics>(), max_batch: MAX_BATCH };
    let options = RegistrationOptions::new(id(1), characteristics);
    let sluice = ProviderRegistration::register(Rules(policy()), options, Program, passive()).expect("registered");
    let header = Header::of::<ClientCharacteristics>();
    let characteristics = ClientCharacteristics { header, driver_version: 1, name: [0; 32] };
    let options = RegistrationOptions::new(id(2), characteristics);
    let direct = ClientRegistration::register(Direct, options, Program, passive()).expect("registered");

    let gate = Gate::start(Settings::default(), Program, passive()).expect("started");
    let either: &'static Either = Box::leak(Box::new(Either { gate, permits: false.into() }));
    // SAFETY: the engine never looks at the device, and the callouts are unregistered below.
    let device = unsafe { Device::new(std::ptr::dangling_mut()) };
    let callouts = Callouts::register(either, device, passive()).expect("registered");
    either.gate.enable(None, passive()).expect("enabled");
    let permits = |permits| either.permits.store(permits, std::sync::atomic::Ordering::Relaxed);

    println!("{RULES} rules; nanoseconds a list, the fastest and the median of {ROUNDS} rounds of {LISTS}");
    let metadata = metadata(None);
    // As packets come from the network, and without the cost of raising the level.
    let raised = irql::raise(DISPATCH_LEVEL);
    for count in [1, 32] {
        for pieces in [1, 3] {
            let packets: Vec<Vec<u8>> = (0..count).map(segment).collect();
            let list = list(&packets, pieces);
            let packet = |bytes| PacketRef::new(link_type::IPV4, direction::OUTBOUND, bytes, 1_400).expect("whole");
            let refs: Vec<PacketRef<'_>> = packets.iter().map(|bytes| packet(bytes)).collect();
            let mut verdicts: Vec<MaybeUninit<Verdict>> = vec![MaybeUninit::uninit(); packets.len()];
            let send = || show(&machine.engine, Layer::OutboundIpV4, 0, &metadata, list.as_ptr());
            let [everything, gate, classify] = measure([
                &mut || {
                    permits(true);
                    assert!(black_box(send()).passes);
                },
                &mut || {
                    permits(false);
                    assert!(black_box(send()).passes);
                },
                &mut || {
                    let sluice = direct.providers().next().expect("attached");
                    black_box(sluice.classify(&refs, &mut verdicts).expect("valid packets"));
                },
            ]);
            // Lines for `cargo xtask bench` (xtask/src/figures.rs).
            let row = format!("packets: {count}, MDLs each: {pieces}");
            for (column, (fastest, median)) in
                [("permits everything", everything), ("gate", gate), ("`Classify`", classify)]
            {
                println!("figure | gate | {row} | {column} | {fastest:.0} ns | median {median:.0}");
            }
            let ratio = (gate.0 - everything.0) / classify.0;
            println!("figure | gate | {row} | gate − permits | {ratio:.2} | to `Classify`");
        }
    }
    drop(raised);
    either.gate.disable(passive()).expect("disabled");
    callouts.unregister(passive());
    // The gate is left to the end of the program, and with it its registration.
    let _ = (sluice, direct);
    std::process::exit(0);
}
