//! Lists of packets that bytes say, as NDIS could never make them, beside what has to become of them; between them,
//! requests to the device.

use sluice_control::code;
use sluice_control::gate::{GateEnable, GateStatus, MAX_SECONDS, flags};
use sluice_control::message::header_of;
use sluice_control::status::STATUS_SUCCESS;
use sluice_control::wire::Wire;
use sluice_gate::{Judged, Settings, Treatment};
use wdk_wfp::Layer;
use wdk_wfp_sys::FWP_CONDITION_FLAG_IS_LOOPBACK;
use wfp_engine::{DISPATCH_LEVEL, PASSIVE_LEVEL, PacketList, Piece, irql};

use crate::host::{BAD, Driver, GOOD, LONG, Machine, Sluice, frame_metadata, is_bad, is_shown, metadata, show};

const OF_PACKETS: [Layer; 6] = [
    Layer::InboundIpV4,
    Layer::InboundIpV6,
    Layer::OutboundIpV4,
    Layer::OutboundIpV6,
    Layer::ForwardIpV4,
    Layer::ForwardIpV6,
];
const OF_FRAMES: [Layer; 2] = [Layer::InboundEthernet, Layer::OutboundEthernet];

/// The rest of an input; zeros behind its end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()])) % limit
    }

    /// True once in so many times.
    fn once_in(&mut self, times: u8) -> bool {
        self.byte() % times == 1
    }
}

/// What an input reached.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) passed: u64,
    pub(crate) blocked: u64,
    pub(crate) malformed: u64,
}

/// What becomes of a packet whose bytes lie in a chain like this: the bytes that Sluice is shown, if it can be read.
fn read(chain: &[u8], offset: u32, length: u32, before: u32) -> Option<Vec<u8>> {
    let start = offset.checked_sub(before)? as usize;
    let length = length.checked_add(before)? as usize;
    if length == 0 {
        return Some(Vec::new());
    }
    chain.get(start..start.checked_add(length)?).map(<[u8]>::to_vec)
}

/// Sends what the bytes say.
///
/// # Panics
///
/// A list was treated otherwise than it has to be, or a rule of the engine was broken.
pub(crate) fn run(input: &[u8]) -> Done {
    let mut bytes = Bytes(input);
    let machine = Machine::new();
    let sluice = Sluice::start();
    let settings = bytes.byte();
    let on_malformed = if settings % 2 == 1 { Treatment::Permit } else { Treatment::Block };
    let has_frames = settings >= 0x80;
    let (judged, layers) = match has_frames {
        true => (Judged::EthernetFrames, &OF_FRAMES[..]),
        false => (Judged::IpPackets, &OF_PACKETS[..]),
    };
    let driver = Driver::enabled(Settings { on_malformed, judged, ..Settings::default() });
    let mut done = Done::default();
    let mut is_enabled = true;
    while !bytes.0.is_empty() {
        if bytes.once_in(8) {
            request(&mut bytes, &driver, &mut is_enabled);
        }
        let layer = layers[bytes.below(layers.len())];
        let header = match bytes.byte() {
            0..16 => None,
            16..32 => Some(u32::from(bytes.byte()) << bytes.below(25)),
            _ if has_frames => Some(14),
            _ => Some(if layer == Layer::InboundIpV6 { 40 } else { 20 }),
        };
        let is_inbound = matches!(layer, Layer::InboundIpV4 | Layer::InboundIpV6 | Layer::InboundEthernet);
        let before = if is_inbound { header } else { Some(0) };
        let mut list = PacketList::new();
        let mut packets = Vec::new();
        for _ in 0..bytes.below(6) {
            if bytes.once_in(8) {
                list.add_list();
            }
            packets.push(add_packet(&mut bytes, &mut list, before.unwrap_or(0)));
        }
        // Frames do not say so.
        let is_loopback = bytes.once_in(16) && !has_frames;
        let is_null = bytes.once_in(32);
        let pointer = if is_null { std::ptr::null_mut() } else { list.as_ptr() };
        let raised = irql::raise(if bytes.once_in(2) { DISPATCH_LEVEL } else { PASSIVE_LEVEL });
        let flags = if is_loopback { FWP_CONDITION_FLAG_IS_LOOPBACK } else { 0 };
        let metadata_of = if has_frames { frame_metadata } else { metadata };
        let malformed_before = driver.counters().malformed;
        let verdict = show(&machine.engine, layer, flags, &metadata_of(header), pointer);
        drop(raised);
        let malformed = driver.counters().malformed - malformed_before;
        let shown: Vec<_> = sluice.take_calls().concat().into_iter().map(|(.., bytes)| bytes).collect();

        let (expected, expected_malformed) = if is_loopback || !is_enabled {
            (Vec::new(), 0)
        } else if is_null || before.is_none() || packets.is_empty() {
            (Vec::new(), 1)
        } else {
            let unreadable = packets.iter().filter(|packet| packet.is_none()).count() as u64;
            (packets.into_iter().flatten().collect(), unreadable)
        };
        let is_blocked = expected.iter().any(|packet: &Vec<u8>| is_bad(packet))
            || expected_malformed > 0 && on_malformed == Treatment::Block;
        let is_shown = shown.len() == expected.len() && shown.iter().zip(&expected).all(|(s, e)| is_shown(s, e));
        assert!(is_shown, "{shown:x?} of {expected:x?}");
        assert_eq!((malformed, verdict.passes), (expected_malformed, !is_blocked));
        done.malformed += malformed;
        *(if verdict.passes { &mut done.passed } else { &mut done.blocked }) += 1;
    }
    driver.stop();
    sluice.stop();
    done
}

/// Sends a request to the device, which is right or almost.
fn request(bytes: &mut Bytes<'_>, driver: &Driver, is_enabled: &mut bool) {
    let code = match bytes.byte() % 8 {
        0 | 1 => code::GATE_STATUS,
        2..5 => code::GATE_ENABLE,
        5 | 6 => code::GATE_DISABLE,
        _ => code::SLUICE_STATUS,
    };
    let mut input = Vec::new();
    let mut is_right = code != code::SLUICE_STATUS;
    if code == code::GATE_ENABLE {
        let seconds = if bytes.once_in(4) { u32::from(bytes.byte()) << bytes.below(25) } else { 0 };
        let message = GateEnable { header: header_of::<GateEnable>(), seconds };
        input = vec![0; GateEnable::SIZE];
        message.write(&mut input.as_mut_slice()).expect("it has room");
        if bytes.once_in(4) {
            let place = bytes.below(8);
            input[place] = bytes.byte();
        }
        let (header, seconds) = input.split_at(4);
        let seconds = u32::from_le_bytes(seconds.try_into().expect("four bytes"));
        is_right = header == [1, 0, 8, 0] && seconds <= MAX_SECONDS;
    }
    if bytes.once_in(8) {
        input.push(0);
        is_right = false;
    }
    let room = if bytes.once_in(8) { bytes.below(GateStatus::SIZE) } else { GateStatus::SIZE };
    is_right &= room == GateStatus::SIZE;
    let (status, answer) = driver.request(code, &input, room);
    assert_eq!((status == STATUS_SUCCESS, answer.is_some()), (is_right, is_right), "{code:x} {input:?} {room}");
    if is_right && code != code::GATE_STATUS {
        *is_enabled = code == code::GATE_ENABLE;
    }
    if let Some(answer) = answer {
        assert_eq!(answer.flags & flags::ENABLED != 0, *is_enabled);
    }
}

/// Adds a packet, and says what Sluice has to be shown of it.
fn add_packet(bytes: &mut Bytes<'_>, list: &mut PacketList, before: u32) -> Option<Vec<u8>> {
    let headroom = bytes.below(20);
    let mut chain = vec![0xEE; headroom];
    let length = bytes.below(120) << if bytes.once_in(3) { bytes.below(5) } else { 0 };
    chain.extend((0..length).map(|index| index as u8));
    if let Some(first) = chain.get_mut(headroom) {
        *first = if bytes.once_in(2) { 0x60 } else { 0x45 };
    }
    let marker = match bytes.byte() % 8 {
        0 | 1 => BAD,
        2 | 3 => LONG,
        _ => GOOD,
    };
    for header in [20, 40] {
        if let Some(place) = chain.get_mut(headroom + header) {
            *place = marker;
        }
    }
    if let Some(last) = chain.last_mut().filter(|_| length > 41) {
        *last = if bytes.once_in(2) { BAD } else { GOOD };
    }
    // The data begin behind the headers that have been taken off, and reach to the end; or wherever.
    let right = (headroom as u32).saturating_add(before);
    let offset = if bytes.once_in(12) { u32::from(bytes.byte()) } else { right };
    let length = match bytes.byte() {
        0..16 => u32::from(bytes.byte()) << bytes.below(25),
        16..64 => u32::from(bytes.byte() % 32),
        _ => (chain.len() as u32).saturating_sub(offset),
    };
    let mut pieces = Vec::new();
    let mut rest = chain.as_slice();
    for _ in 0..bytes.below(4) {
        let (piece, behind) = rest.split_at(bytes.below(rest.len() + 1));
        pieces.push(Piece { bytes: piece.to_vec(), is_mapped: !bytes.once_in(4) });
        rest = behind;
    }
    pieces.push(Piece::mapped(rest));
    list.add_packet(&pieces, offset, length);
    read(&chain, offset, length, before)
}
