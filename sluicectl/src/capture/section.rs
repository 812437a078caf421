//! What the blocks of a pcapng file say: the interfaces of a section, and the packets.

use jiff::Timestamp;
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, PcapHeader};
use sluice_npi::{direction, link_type};

/// The block type of the obsolete Packet Block of pcapng, which pcap-parser leaves to its user.
const PACKET_BLOCK: u32 = 2;

/// The option of an Enhanced Packet Block whose lowest two bits are the direction.
const EPB_FLAGS: u16 = 2;

/// What some systems write for raw IP: their own DLT_RAW in place of LINKTYPE_RAW.
const RAW_ALIASES: [u32; 2] = [12, 14];

/// The part of a pcapng file that is being read. A pcap file is a section with a single interface.
#[derive(Default)]
pub(super) struct Section {
    big_endian: bool,
    pub(super) interfaces: Vec<Interface>,
}

/// Where packets were captured.
pub(super) struct Interface {
    pub(super) link_type: u32,
    /// 0 means no limit.
    snap_length: u32,
    clock: Clock,
}

impl Interface {
    fn new(link_type: u32, snap_length: u32, clock: Clock) -> Self {
        // The upper 16 bits give the length of a frame check sequence.
        let link_type = link_type & 0xFFFF;
        let link_type = if RAW_ALIASES.contains(&link_type) { link_type::RAW.into() } else { link_type };
        Self { link_type, snap_length, clock }
    }
}

/// How the timestamps of an interface are counted.
struct Clock {
    units_per_second: u128,
    /// In seconds.
    offset: i64,
}

impl Clock {
    const MICROSECONDS: Self = Self { units_per_second: 1_000_000, offset: 0 };
    const NANOSECONDS: Self = Self { units_per_second: 1_000_000_000, offset: 0 };

    /// `resolution` is the option if_tsresol: an exponent of 10, or with the highest bit set of 2.
    fn of_interface(resolution: u8, offset: i64) -> Self {
        let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
        let units_per_second = base.checked_pow((resolution & 0x7F).into()).unwrap_or(u128::MAX);
        Self { units_per_second, offset }
    }

    fn time(&self, units: u64) -> Option<Timestamp> {
        let units = u128::from(units);
        let seconds = i64::try_from(units / self.units_per_second).ok()?.checked_add(self.offset)?;
        let rest = units % self.units_per_second;
        let nanoseconds = rest.checked_mul(1_000_000_000)? / self.units_per_second;
        Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()
    }
}

/// A packet as the file describes it.
pub(super) struct Found {
    /// The index of its interface in the section.
    pub(super) interface: u32,
    /// In units of the clock of its interface.
    units: Option<u64>,
    pub(super) direction: u16,
    pub(super) wire_length: u32,
    pub(super) bytes: Vec<u8>,
}

impl Found {
    pub(super) fn new(interface: u32, units: Option<u64>, wire_length: u32, bytes: &[u8]) -> Self {
        Self { interface, units, direction: direction::UNSPECIFIED, wire_length, bytes: bytes.to_vec() }
    }

    /// When it was captured, by the clock of its interface.
    pub(super) fn time(&self, interface: &Interface) -> Option<Timestamp> {
        interface.clock.time(self.units?)
    }
}

impl Section {
    /// The whole of a pcap file.
    pub(super) fn of_pcap(header: &PcapHeader) -> Self {
        let clock = if header.is_nanosecond_precision() { Clock::NANOSECONDS } else { Clock::MICROSECONDS };
        Self { big_endian: false, interfaces: vec![Interface::new(header.network.0.cast_unsigned(), 0, clock)] }
    }

    /// The timestamp of a pcap record, in units of the clock of the file.
    pub(super) fn pcap_units(&self, seconds: u32, fraction: u32) -> Option<u64> {
        let clock = &self.interfaces.first()?.clock;
        let units = u128::from(seconds).checked_mul(clock.units_per_second)?.checked_add(fraction.into())?;
        u64::try_from(units).ok()
    }

    /// Notes what `block` says of the section, or returns the packet in it.
    pub(super) fn packet_in(&mut self, block: &Block<'_>) -> Option<Found> {
        match block {
            Block::SectionHeader(section) => {
                self.big_endian = section.big_endian();
                self.interfaces.clear();
                None
            }
            Block::InterfaceDescription(interface) => {
                let clock = Clock::of_interface(interface.if_tsresol, interface.if_tsoffset);
                let link_type = interface.linktype.0.cast_unsigned();
                self.interfaces.push(Interface::new(link_type, interface.snaplen, clock));
                None
            }
            Block::EnhancedPacket(packet) => {
                let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let found = Found::new(packet.if_id, Some(units), packet.origlen, packet.packet_data());
                let flags = packet.options.iter().find(|option| option.code.0 == EPB_FLAGS);
                let flags = flags.and_then(|option| self.word(option.value.as_ref(), 0)).unwrap_or(0);
                let direction = match flags & 3 {
                    1 => direction::INBOUND,
                    2 => direction::OUTBOUND,
                    _ => direction::UNSPECIFIED,
                };
                Some(Found { direction, ..found })
            }
            Block::SimplePacket(packet) => {
                let bytes = packet.packet_data();
                let snap_length = self.interfaces.first().map_or(0, |interface| interface.snap_length) as usize;
                let length = if snap_length == 0 { bytes.len() } else { bytes.len().min(snap_length) };
                Some(Found::new(0, None, packet.origlen, &bytes[..length]))
            }
            Block::Unknown(block) if self.block_type(block.block_type) == PACKET_BLOCK => self.packet_block(block.data),
            _ => None,
        }
    }

    /// pcap-parser reads the type of an unknown block as little-endian, whatever the byte order of the section.
    fn block_type(&self, as_little_endian: u32) -> u32 {
        if self.big_endian { as_little_endian.swap_bytes() } else { as_little_endian }
    }

    fn packet_block(&self, data: &[u8]) -> Option<Found> {
        // Interface and drop count share the first word, the interface first.
        let first = self.word(data, 0)?;
        let interface = if self.big_endian { first >> 16 } else { first & 0xFFFF };
        let units = u64::from(self.word(data, 4)?) << 32 | u64::from(self.word(data, 8)?);
        let captured_length = self.word(data, 12)? as usize;
        let bytes = data.get(20..)?;
        Some(Found::new(interface, Some(units), self.word(data, 16)?, &bytes[..bytes.len().min(captured_length)]))
    }

    fn word(&self, data: &[u8], offset: usize) -> Option<u32> {
        let bytes: [u8; 4] = data.get(offset..offset + 4)?.try_into().ok()?;
        Some(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }
}
