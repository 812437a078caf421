//! The safe calls of both sides against each other, and what a client in C may pass that it should not.

use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use nmr_registrar::Session;
use sluice_npi::nmr::{
    Answered, CallClient, CallSluice, ClassifyCall, Failed, Invalid, PacketRef, SluiceClient, SluiceNpi,
    SluiceProvider, client_dispatch, provider_dispatch,
};
use sluice_npi::{
    ClientCharacteristics, Flow, Header, MAX_BATCH, Packet, ProviderCharacteristics, ProviderDispatch, Statistics,
    Verdict, action, direction, link_type,
};
use wdk_nmr::{
    Client, ClientCall, ClientOffer, ClientRegistration, ClientTable, GUID, ModuleId, Passive, Provider, ProviderOffer,
    ProviderRegistration, ProviderTable, Refusal, RegistrationOptions, Resident, ShardIndex, Sharded, Single,
};

const INVALID_PARAMETER: i32 = 0xC000_000D_u32.cast_signed();

/// Blocks packets of an odd length and knows Ethernet alone.
struct Odd;

#[derive(Default)]
struct Counters {
    packets: AtomicU64,
    rejected: AtomicU64,
}

fn verdict(packet: &PacketRef<'_>) -> Verdict {
    let length = packet.bytes().len() as u32;
    Verdict {
        header: Header::of::<Verdict>(),
        action: if length % 2 == 1 { action::BLOCK } else { action::PERMIT },
        reserved: [0; 3],
        rule_id: length,
        generation: u64::from(packet.wire_length()),
        flow: Flow::default(),
    }
}

impl Provider for Odd {
    type Npi = SluiceNpi;
    type Binding = Counters;
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_dispatch()
    }

    fn attach(&self, client: &ClientOffer<'_, SluiceNpi>) -> Result<Counters, Refusal> {
        assert_eq!(&client.characteristics()?.name[..4], b"test");
        Ok(Counters::default())
    }
}

impl SluiceProvider for Odd {
    fn classify<'a>(&self, counters: &Counters, call: ClassifyCall<'a>) -> Result<Answered<'a>, Invalid> {
        if call.packets().iter().any(|packet| packet.link_type() != link_type::ETHERNET) {
            return Err(Invalid);
        }
        counters.packets.fetch_add(call.packets().len() as u64, Ordering::Relaxed);
        Ok(call.answer(|packets, places| {
            for (packet, place) in packets.iter().zip(places) {
                *place = verdict(packet);
            }
        }))
    }

    fn statistics(&self, counters: &Counters) -> Statistics {
        Statistics {
            header: Header::of::<Statistics>(),
            reserved: 0,
            packets: counters.packets.load(Ordering::Relaxed),
            permitted: 0,
            blocked: 0,
            malformed: 0,
            truncated: 0,
            rejected_calls: counters.rejected.load(Ordering::Relaxed),
        }
    }

    fn rejected(&self, counters: &Counters) {
        counters.rejected.fetch_add(1, Ordering::Relaxed);
    }
}

/// Notes the generation and classifies a packet when it changes.
#[derive(Default)]
struct Watcher {
    generation: AtomicU64,
}

struct One;

impl ShardIndex for One {
    fn current() -> usize {
        0
    }
}

impl Client for Watcher {
    type Npi = SluiceNpi;
    type Binding = ();
    type Guard = Sharded<One, 2>;

    fn dispatch(&self) -> ClientTable<Self> {
        client_dispatch()
    }

    fn attach(&self, provider: &ProviderOffer<'_, SluiceNpi>) -> Result<(), Refusal> {
        assert_eq!(provider.characteristics()?.max_batch, MAX_BATCH);
        Ok(())
    }
}

impl SluiceClient for Watcher {
    fn policy_changed(call: &ClientCall<'_, Self>, generation: u64) {
        let provider = call.provider().expect("attached");
        let packet = PacketRef::new(link_type::ETHERNET, direction::INBOUND, &[1], 1).unwrap();
        assert_eq!(provider.classify(&[packet], &mut [MaybeUninit::uninit()]).unwrap()[0].action, action::BLOCK);
        call.client().generation.store(generation, Ordering::Relaxed);
    }
}

struct Program;

// SAFETY: a program is never unloaded while it runs.
unsafe impl Resident for Program {}

fn with_both(test: impl FnOnce(&ProviderRegistration<Odd, Program>, &ClientRegistration<Watcher, Program>)) {
    let _session = Session::new();
    // SAFETY: the thread of a test.
    let passive = unsafe { Passive::new() };
    let id = |number| ModuleId::Guid(GUID { Data1: number, ..GUID::default() });
    let characteristics =
        ProviderCharacteristics { header: Header::of::<ProviderCharacteristics>(), max_batch: MAX_BATCH };
    let provider =
        ProviderRegistration::register(Odd, RegistrationOptions::new(id(1), characteristics), Program, passive)
            .unwrap();
    let mut name = [0; 32];
    name[..4].copy_from_slice(b"test");
    let characteristics =
        ClientCharacteristics { header: Header::of::<ClientCharacteristics>(), driver_version: 1, name };
    let options = RegistrationOptions::new(id(2), characteristics);
    let client = ClientRegistration::register(Watcher::default(), options, Program, passive).unwrap();
    assert_eq!((provider.clients().count(), client.providers().count()), (1, 1));
    test(&provider, &client);
    client.deregister(passive).unwrap();
    provider.deregister(passive).unwrap();
}

#[test]
fn packets_go_in_and_verdicts_come_out() {
    with_both(|provider, client| {
        let sluice = client.providers().next().unwrap();
        let bytes: Vec<u8> = (0..100).collect();
        let packets: Vec<_> = (0..100)
            .map(|length| PacketRef::new(link_type::ETHERNET, direction::OUTBOUND, &bytes[..length], 1500).unwrap())
            .collect();
        let mut room = [MaybeUninit::uninit(); 128];
        let verdicts = sluice.classify(&packets, &mut room).unwrap();
        assert_eq!(verdicts.len(), 100);
        for (length, found) in verdicts.iter().enumerate() {
            assert_eq!((found.rule_id, found.generation), (length as u32, 1500));
            assert_eq!(found.action, if length % 2 == 1 { action::BLOCK } else { action::PERMIT });
        }
        let statistics = sluice.query_statistics().unwrap();
        assert_eq!((statistics.packets, statistics.rejected_calls), (100, 0));
        for client in provider.clients() {
            client.policy_changed(3);
        }
        assert_eq!(client.client().generation.load(Ordering::Relaxed), 3);
        assert_eq!(sluice.query_statistics().unwrap().packets, 101);
    });
}

#[test]
fn a_packet_has_what_it_was_made_of() {
    let all = [direction::UNSPECIFIED, direction::INBOUND, direction::OUTBOUND];
    for (link_type, direction) in [link_type::RAW, link_type::ETHERNET].into_iter().flat_map(|l| all.map(|d| (l, d))) {
        let packet = PacketRef::new(link_type, direction, &[1, 2, 3], 1500).unwrap();
        assert_eq!((packet.link_type(), packet.direction()), (link_type, direction));
        assert_eq!((packet.bytes(), packet.wire_length()), (&[1, 2, 3][..], 1500));
    }
}

#[test]
fn a_head_is_the_same_packet_with_a_mark() {
    for direction in [direction::UNSPECIFIED, direction::INBOUND, direction::OUTBOUND] {
        let packet = PacketRef::new(link_type::ETHERNET, direction, &[1, 2], 1500).unwrap();
        let head = packet.as_head();
        assert_eq!((packet.is_head(), head.is_head(), head.as_head().is_head()), (false, true, true));
        assert_eq!((head.direction(), head.wire_length(), head.bytes()), (direction, 1500, &[1, 2][..]));
    }
}

#[test]
fn a_batch_of_the_wrong_size_or_link_type_is_refused() {
    with_both(|_, client| {
        let sluice = client.providers().next().unwrap();
        let packet = PacketRef::new(link_type::ETHERNET, direction::INBOUND, &[1, 2], 2).unwrap();
        let mut room = vec![MaybeUninit::uninit(); MAX_BATCH as usize + 1];
        let failed = Some(Failed(INVALID_PARAMETER));
        assert_eq!(sluice.classify(&[], &mut room).err(), failed);
        assert_eq!(sluice.classify(&[packet; 2], &mut room[..1]).err(), failed, "no room");
        assert_eq!(sluice.classify(&vec![packet; MAX_BATCH as usize + 1], &mut room).err(), failed);
        assert_eq!(sluice.classify(&vec![packet; MAX_BATCH as usize], &mut room).unwrap().len(), MAX_BATCH as usize);
        let other = PacketRef::new(link_type::RAW, direction::INBOUND, &[1, 2], 2).unwrap();
        assert_eq!(sluice.classify(&[packet, other], &mut room).err(), failed);
        assert_eq!(sluice.query_statistics().unwrap().rejected_calls, 3, "one of them did not leave the client");
        assert!(PacketRef::new(link_type::RAW, direction::INBOUND, &[1, 2], 1).is_none());
    });
}

/// Calls as C does, with whatever a test wants to pass.
fn raw<R>(
    client: &ClientRegistration<Watcher, Program>,
    call: impl Fn(&ProviderDispatch, *mut core::ffi::c_void) -> R,
) -> R {
    client.providers().next().unwrap().call(call)
}

#[test]
fn what_a_client_passes_is_checked_before_it_is_used() {
    with_both(|_, client| {
        let bytes = [1_u8, 2, 3];
        let good = Packet {
            header: Header::of::<Packet>(),
            link_type: link_type::ETHERNET,
            direction: direction::INBOUND,
            captured_length: 3,
            wire_length: 3,
            data: bytes.as_ptr(),
        };
        let untouched = verdict(&PacketRef::new(1, 0, &[0; 9], 77).unwrap());
        let classify = |packets: *const Packet, count, verdicts: *mut Verdict| {
            raw(client, |table, context| {
                // SAFETY: what is not valid is NULL, misaligned, out of range or says so in its header.
                unsafe { (table.classify)(context, packets, count, verdicts) }
            })
        };
        let mut verdicts = [untouched; 2];
        let place = verdicts.as_mut_ptr();
        assert_eq!(classify(&raw const good, 1, place), 0);
        assert_eq!(verdicts[0].rule_id, 3);
        let mut verdicts = [untouched; 2];
        let place = verdicts.as_mut_ptr();
        let mut refused = 0;
        let mut refuse = |packets: *const Packet, count, verdicts: *mut Verdict| {
            assert_eq!(classify(packets, count, verdicts), INVALID_PARAMETER);
            refused += 1;
        };
        refuse(ptr::null(), 1, place);
        refuse(&raw const good, 1, ptr::null_mut());
        refuse((&raw const good).cast::<u8>().wrapping_add(4).cast(), 1, place);
        refuse(&raw const good, 1, place.cast::<u8>().wrapping_add(4).cast());
        refuse(&raw const good, 0, place);
        refuse(&raw const good, MAX_BATCH + 1, place);
        refuse(&raw const good, u32::MAX, place);
        for bad in [
            Packet { header: Header { version: 2, ..good.header }, ..good },
            Packet { header: Header { size: 16, ..good.header }, ..good },
            Packet { direction: 3, ..good },
            Packet { direction: direction::HEAD | 3, ..good },
            Packet { direction: direction::HEAD >> 1, ..good },
            Packet { direction: direction::HEAD, wire_length: 2, ..good },
            Packet { wire_length: 2, ..good },
            Packet { data: ptr::null(), ..good },
            Packet { link_type: link_type::RAW, ..good },
        ] {
            refuse([good, bad].as_ptr(), 2, place);
        }
        for direction in [direction::UNSPECIFIED, direction::INBOUND, direction::OUTBOUND] {
            let head = Packet { direction: direction::HEAD | direction, ..good };
            assert_eq!(classify(&raw const head, 1, &raw mut verdicts[1]), 0, "{direction}");
        }
        let empty = Packet { data: ptr::null(), captured_length: 0, ..good };
        assert_eq!(classify(&raw const empty, 1, &raw mut verdicts[1]), 0, "nothing captured needs no pointer");
        assert_eq!((verdicts[0], verdicts[1].rule_id), (untouched, 0), "no verdict is written by a refused call");

        let query = |statistics: *mut Statistics| {
            raw(client, |table, context| {
                // SAFETY: as above.
                unsafe { (table.query_statistics)(context, statistics) }
            })
        };
        let mut statistics = client.providers().next().unwrap().query_statistics().unwrap();
        assert_eq!(statistics.rejected_calls, refused);
        assert_eq!(query(ptr::null_mut()), INVALID_PARAMETER);
        statistics.header.size -= 8;
        assert_eq!(query(&raw mut statistics), INVALID_PARAMETER);
        statistics.header = Header::of::<Statistics>();
        assert_eq!(query(&raw mut statistics), 0);
        assert_eq!(statistics.rejected_calls, refused + 2);
    });
}
