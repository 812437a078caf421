//! What the tests share: a host in the place of the kernel, a Sluice that blocks what begins with a certain byte behind
//! its IP header or asks for more, and packets.

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use nmr_registrar::Session;
use sluice_control::gate::{GateCounters, GateStatus};
use sluice_control::wire::Wire;
use sluice_control::{Buffered, Buffers, Completion, NTSTATUS, Request};
use sluice_gate::{Callouts, GATHERED, Gate, HEAD, Platform, SHORT, Settings};
use sluice_npi::{
    Answered, ClassifyCall, Header, Invalid, MAX_BATCH, ProviderCharacteristics, SluiceNpi, SluiceProvider, Statistics,
    action, flags, provider_dispatch,
};
use wdk_nmr::{
    ClientOffer, ModuleId, Passive, Provider, ProviderRegistration, ProviderTable, Refusal, RegistrationOptions,
    Resident, Single,
};
use wdk_wfp::{Device, GUID, Layer};
use wdk_wfp_sys::*;
use wfp_engine::{DISPATCH_LEVEL, Engine, Indication, PacketList, Piece, Verdict, irql};

/// What stands behind the IP header of a packet that Sluice blocks.
pub(crate) const BAD: u8 = 0xBB;
/// What stands there in others.
pub(crate) const GOOD: u8 = 0x60;
/// What stands there in a packet of which Sluice looks at the last byte, which is [`BAD`] if the packet is blocked.
pub(crate) const LONG: u8 = 0xAA;

/// The host.
pub(crate) enum Host {}

static NOW_MS: AtomicU64 = AtomicU64::new(1_000_000);

/// Lets time go by.
pub(crate) fn advance(milliseconds: u64) {
    NOW_MS.fetch_add(milliseconds, Ordering::Relaxed);
}

impl Platform for Host {
    type Image = Program;
    type Guard = Single;

    fn at_dispatch_level<R>(work: impl FnOnce() -> R) -> R {
        let _raised = irql::raise(DISPATCH_LEVEL);
        work()
    }

    fn uptime_ms() -> u64 {
        NOW_MS.load(Ordering::Relaxed)
    }

    fn processors() -> usize {
        2
    }
}

pub(crate) struct Program;

// SAFETY: a program is never unloaded while it runs.
unsafe impl Resident for Program {}

pub(crate) fn passive() -> Passive<'static> {
    // SAFETY: the thread of a test is in no callback.
    unsafe { Passive::new() }
}

/// What Sluice was shown of a packet: link type, direction, wire length and bytes.
pub(crate) type Shown = (u16, u16, u32, Vec<u8>);

/// What Sluice was asked: the packets of each call that it decided about.
pub(crate) type Calls = Arc<Mutex<Vec<Vec<Shown>>>>;

/// A Sluice that notes what it is asked.
pub(crate) struct FakeSluice(Calls);

impl Provider for FakeSluice {
    type Npi = SluiceNpi;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_dispatch()
    }

    fn attach(&self, client: &ClientOffer<'_, SluiceNpi>) -> Result<(), Refusal> {
        assert_eq!(&client.characteristics()?.name[..5], b"gate\0");
        Ok(())
    }
}

impl SluiceProvider for FakeSluice {
    fn classify<'a>(&self, (): &(), call: ClassifyCall<'a>) -> Result<Answered<'a>, Invalid> {
        assert_eq!(irql::current(), DISPATCH_LEVEL, "a thread that is suspended here holds Sluice");
        let packets = call.packets();
        let asked_for = packets.iter().position(|packet| packet.is_head() && asks(packet.bytes()));
        let (decided, _) = packets.split_at(asked_for.unwrap_or(packets.len()));
        let noted = decided
            .iter()
            .map(|packet| (packet.link_type(), packet.direction(), packet.wire_length(), packet.bytes().to_vec()));
        self.0.lock().unwrap().push(noted.collect());
        Ok(call.answer(|_, verdicts| {
            let (of_decided, undecided) = verdicts.split_at_mut(decided.len());
            for (packet, verdict) in decided.iter().zip(of_decided) {
                verdict.action = if is_bad(packet.bytes()) { action::BLOCK } else { action::PERMIT };
            }
            for verdict in undecided {
                verdict.action = action::BLOCK;
                verdict.flow.flags = flags::UNDECIDED;
            }
        }))
    }

    fn statistics(&self, (): &()) -> Statistics {
        Statistics::default()
    }

    fn rejected(&self, (): &()) {}
}

/// What stands behind the IP header.
fn marker(packet: &[u8]) -> Option<u8> {
    let header = if packet.first().is_some_and(|first| first >> 4 == 6) { 40 } else { 20 };
    packet.get(header).copied()
}

/// Whether Sluice asks for the rest of a packet with this head.
pub(crate) fn asks(head: &[u8]) -> bool {
    marker(head) == Some(LONG)
}

/// Whether Sluice blocks a packet: one that ends before it has said so passes.
pub(crate) fn is_bad(packet: &[u8]) -> bool {
    let says_it = if asks(packet) { packet.last().copied() } else { marker(packet) };
    says_it == Some(BAD)
}

/// What Sluice has to be shown of a packet that can be read, given all that it was shown: all of the packet, or its
/// head if that lies apart and Sluice does not ask for more.
pub(crate) fn is_shown(shown: &[u8], packet: &[u8]) -> bool {
    let may_be_head = (SHORT + 1..=GATHERED).contains(&packet.len()) && !asks(packet);
    shown == packet || may_be_head && shown == &packet[..HEAD]
}

pub(crate) struct Sluice {
    registration: ProviderRegistration<FakeSluice, Program>,
    calls: Calls,
}

impl Sluice {
    pub(crate) fn start() -> Self {
        let calls = Calls::default();
        let header = Header::of::<ProviderCharacteristics>();
        let characteristics = ProviderCharacteristics { header, max_batch: MAX_BATCH };
        let id = ModuleId::Guid(wdk_nmr::GUID { Data1: 0x51, ..wdk_nmr::GUID::default() });
        let options = RegistrationOptions::new(id, characteristics);
        let fake = FakeSluice(calls.clone());
        let registration = ProviderRegistration::register(fake, options, Program, passive()).unwrap();
        Self { registration, calls }
    }

    /// What it was asked since the last time.
    pub(crate) fn take_calls(&self) -> Vec<Vec<Shown>> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    pub(crate) fn stop(self) {
        self.registration.deregister(passive()).unwrap();
    }
}

/// A machine: the filter engine and NMR.
pub(crate) struct Machine {
    pub(crate) engine: Engine,
    _nmr: Session,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { engine: Engine::start(), _nmr: Session::new() }
    }
}

/// The driver while it runs.
pub(crate) struct Driver {
    pub(crate) gate: &'static Gate<Host>,
    callouts: Option<Callouts>,
}

fn device() -> Device {
    // SAFETY: the engine never looks at the device, and every test stops its driver.
    unsafe { Device::new(ptr::dangling_mut()) }
}

impl Driver {
    pub(crate) fn start(settings: Settings) -> Self {
        Self::try_start(settings).unwrap()
    }

    /// As the driver starts: registered with NMR, then with WFP.
    pub(crate) fn try_start(settings: Settings) -> Result<Self, NTSTATUS> {
        let gate = Gate::start(settings, Program, passive()).map_err(|error| error.status())?;
        let gate: &'static Gate<Host> = Box::leak(Box::new(gate));
        match Callouts::register(gate, device(), passive()) {
            Ok(callouts) => Ok(Self { gate, callouts: Some(callouts) }),
            Err(status) => {
                Self { gate, callouts: None }.stop();
                Err(status)
            }
        }
    }

    /// Started, and filters.
    pub(crate) fn enabled(settings: Settings) -> Self {
        let driver = Self::start(settings);
        driver.gate.enable(None, passive()).unwrap();
        driver
    }

    /// As the driver stops.
    pub(crate) fn stop(self) {
        self.gate.disable(passive()).unwrap();
        if let Some(callouts) = self.callouts {
            callouts.unregister(passive());
        }
        // SAFETY: from `Box::leak` in `try_start`, and the callouts that used it are gone.
        let gate = unsafe { Box::from_raw(ptr::from_ref(self.gate).cast_mut()) };
        gate.stop(passive()).unwrap();
    }

    pub(crate) fn counters(&self) -> GateCounters {
        self.gate.status().counters
    }

    /// Sends a request as sluicectl and the I/O manager do, with room for `room` bytes of answer.
    pub(crate) fn request(&self, code: u32, input: &[u8], room: usize) -> (NTSTATUS, Option<GateStatus>) {
        let mut buffer = input.to_vec();
        buffer.resize(input.len().max(room), 0xEE);
        let buffers = Buffers::Buffered(Buffered::new(&mut buffer, input.len(), room).unwrap());
        let Completion { status, information } = self.gate.answer(Request { code, buffers }, passive());
        (status, GateStatus::read(&mut buffer.get(..information).unwrap()))
    }
}

/// An IPv4 packet of `length` bytes with this byte behind its header.
pub(crate) fn v4(marker: u8, length: usize) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..length).map(|index| index as u8).collect();
    packet[0] = 0x45;
    packet[20] = marker;
    packet
}

/// An IPv6 packet of `length` bytes with this byte behind its header.
pub(crate) fn v6(marker: u8, length: usize) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..length).map(|index| index as u8).collect();
    packet[0] = 0x60;
    packet[40] = marker;
    packet
}

/// An Ethernet frame of `length` bytes with this byte where packets have it.
pub(crate) fn frame(marker: u8, length: usize) -> Vec<u8> {
    let mut frame = v4(marker, length);
    frame[0] = 0x02;
    frame
}

/// The bytes of a packet in two MDLs.
pub(crate) fn cut(packet: &[u8], at: usize) -> [Piece; 2] {
    [Piece::mapped(&packet[..at]), Piece::mapped(&packet[at..])]
}

/// Packets in one list, each in two MDLs, as a layer has them: of received packets, the header lies before the data.
pub(crate) fn list(packets: &[Vec<u8>], before_data: u32) -> PacketList {
    let mut list = PacketList::new();
    for packet in packets {
        let length = packet.len() as u32 - before_data;
        list.add_packet(&cut(packet, packet.len() / 2), before_data, length);
    }
    list
}

/// Metadata that say where the header begins.
pub(crate) fn metadata(ip_header: Option<u32>) -> FWPS_INCOMING_METADATA_VALUES0 {
    // SAFETY: numbers, and pointers that may be NULL.
    let mut metadata: FWPS_INCOMING_METADATA_VALUES0 = unsafe { std::mem::zeroed() };
    if let Some(size) = ip_header {
        metadata.currentMetadataValues = FWPS_METADATA_FIELD_IP_HEADER_SIZE;
        metadata.ipHeaderSize = size;
    }
    metadata
}

/// Metadata that say where the MAC header begins.
pub(crate) fn frame_metadata(mac_header: Option<u32>) -> FWPS_INCOMING_METADATA_VALUES0 {
    let mut metadata = metadata(None);
    if let Some(size) = mac_header {
        metadata.currentL2MetadataValues = FWPS_L2_METADATA_FIELD_ETHERNET_MAC_HEADER_SIZE;
        metadata.ethernetMacHeaderSize = size;
    }
    metadata
}

/// Shows a list to a layer, with these flags.
pub(crate) fn show(
    engine: &Engine,
    layer: Layer,
    flags: u32,
    metadata: &FWPS_INCOMING_METADATA_VALUES0,
    list: *mut NET_BUFFER_LIST,
) -> Verdict {
    let value = |number| FWPS_INCOMING_VALUE0 {
        value: FWP_VALUE0 { r#type: FWP_UINT32, Anonymous: FWP_VALUE0_0 { uint32: number } },
    };
    let mut values = [value(0); 16];
    if let Some(index) = layer.flags() {
        values[index] = value(flags);
    }
    let key: GUID = layer.key();
    engine.classify(Indication { layer: &key, values: &values, flags: layer.flags(), metadata, list })
}

/// Sends packets out in one list. Whether they pass.
pub(crate) fn send(engine: &Engine, packets: &[Vec<u8>]) -> bool {
    show(engine, Layer::OutboundIpV4, 0, &metadata(None), list(packets, 0).as_ptr()).passes
}
