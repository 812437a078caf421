//! Packets from a pcap or pcapng file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};
use sluice_npi::{direction, link_type};

use crate::failure::Failure;

/// The size of the buffer at first, and at most: no real packet is longer.
const BUFFER: usize = 1 << 20;
const LARGEST_BUFFER: usize = 64 << 20;

/// The block type of the obsolete Packet Block of pcapng, which pcap-parser leaves to its user.
const PACKET_BLOCK: u32 = 2;

/// The option of an Enhanced Packet Block whose lowest two bits are the direction.
const EPB_FLAGS: u16 = 2;

/// One packet of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordedPacket {
    /// Its number in the file, counted from 1.
    pub(crate) number: u64,
    /// One of [`link_type::NAMES`].
    pub(crate) link_type: u16,
    /// One of [`direction`], as far as the file says.
    pub(crate) direction: u16,
    /// Its length on the wire, in bytes: at least that of `bytes`.
    pub(crate) wire_length: u32,
    /// What was captured of it.
    pub(crate) bytes: Vec<u8>,
}

/// A capture file, read packet by packet. It ends with the first error.
pub(crate) struct Capture {
    path: PathBuf,
    blocks: Box<dyn PcapReaderIterator + Send>,
    buffer: usize,
    section: Section,
    packets: u64,
    done: bool,
}

/// The part of a pcapng file that is being read; a pcap file is one with a single interface.
#[derive(Default)]
struct Section {
    big_endian: bool,
    interfaces: Vec<Interface>,
}

/// Where packets were captured.
struct Interface {
    link_type: u32,
    /// 0 means no limit.
    snap_length: u32,
}

impl Capture {
    /// Opens `path`; `-` is the standard input.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let unreadable = |error| Failure::unreadable(path, &error);
        let source: Box<dyn Read + Send> = if path.as_os_str() == "-" {
            Box::new(io::stdin())
        } else {
            // Some systems open a folder and then fail to read it, which pcap-parser would report without a reason.
            if std::fs::metadata(path).map_err(unreadable)?.is_dir() {
                return Err(unreadable(io::ErrorKind::IsADirectory.into()));
            }
            Box::new(File::open(path).map_err(unreadable)?)
        };
        Self::read(path, source)
    }

    fn read(path: &Path, source: Box<dyn Read + Send>) -> Result<Self, Failure> {
        let blocks = create_reader(BUFFER, Whole(source)).map_err(|error| match error {
            PcapError::ReadError => Failure::Input(format!("cannot read {}", path.display())),
            _ => Failure::Input(format!("{} is not a capture: expected a pcap or pcapng file", path.display())),
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            blocks,
            buffer: BUFFER,
            section: Section::default(),
            packets: 0,
            done: false,
        })
    }

    /// How many bytes of the file have been read.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.blocks.consumed() as u64
    }

    fn next_packet(&mut self) -> Result<Option<RecordedPacket>, Failure> {
        loop {
            match self.blocks.next() {
                Ok((length, block)) => {
                    let found = match block {
                        PcapBlockOwned::LegacyHeader(header) => {
                            let link_type = header.network.0.cast_unsigned();
                            self.section.interfaces = vec![Interface { link_type, snap_length: 0 }];
                            None
                        }
                        PcapBlockOwned::Legacy(packet) => Some(Found::new(0, packet.origlen, packet.data)),
                        PcapBlockOwned::NG(block) => self.section.packet_in(&block),
                    };
                    self.blocks.consume(length);
                    if let Some(found) = found {
                        return self.packet(found).map(Some);
                    }
                }
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_) | PcapError::BufferTooSmall) => self.read_on()?,
                Err(PcapError::UnexpectedEof) => {
                    return Err(self.broken("the file ends within the next record"));
                }
                Err(PcapError::ReadError) => return Err(self.broken("the file cannot be read any further")),
                Err(_) => return Err(self.broken("the next record is not a valid packet or block")),
            }
        }
    }

    /// The error for a file whose next record cannot be read.
    fn broken(&self, why: &str) -> Failure {
        Failure::Input(format!(
            "{} is damaged after packet {} (byte {}): {why}",
            self.path.display(),
            self.packets,
            self.bytes_read()
        ))
    }

    fn read_on(&mut self) -> Result<(), Failure> {
        let before = self.blocks.data().len();
        if self.blocks.refill().is_err() {
            return Err(self.broken("the file cannot be read any further"));
        }
        if self.blocks.data().len() > before || self.blocks.reader_exhausted() {
            return Ok(());
        }
        if self.buffer >= LARGEST_BUFFER {
            return Err(self.broken(&format!("the next record claims to be longer than {LARGEST_BUFFER} bytes")));
        }
        self.buffer *= 2;
        self.blocks.grow(self.buffer);
        Ok(())
    }

    fn packet(&mut self, found: Found) -> Result<RecordedPacket, Failure> {
        let number = self.packets + 1;
        let Some(interface) = self.section.interfaces.get(found.interface as usize) else {
            let interface = found.interface;
            return Err(
                self.broken(&format!("packet {number} names interface {interface}, which the file does not describe"))
            );
        };
        // The upper 16 bits give the length of a frame check sequence.
        let link_type = interface.link_type & 0xFFFF;
        let Some((link_type, _)) = link_type::NAMES.into_iter().find(|(known, _)| u32::from(*known) == link_type)
        else {
            return Err(Failure::Input(format!(
                "{}: packet {number} has link type {link_type}, which is not supported; supported are {}",
                self.path.display(),
                link_type::NAMES.map(|(number, name)| format!("{number} ({name})")).join(", ")
            )));
        };
        self.packets = number;
        // Damaged files claim that more was captured than was on the wire.
        let wire_length = found.wire_length.max(u32::try_from(found.bytes.len()).unwrap_or(u32::MAX));
        Ok(RecordedPacket { number, link_type, direction: found.direction, wire_length, bytes: found.bytes })
    }
}

/// A packet as the file describes it.
struct Found {
    /// The index of its interface in the section.
    interface: u32,
    direction: u16,
    wire_length: u32,
    bytes: Vec<u8>,
}

impl Found {
    fn new(interface: u32, wire_length: u32, bytes: &[u8]) -> Self {
        Self { interface, direction: direction::UNSPECIFIED, wire_length, bytes: bytes.to_vec() }
    }
}

impl Section {
    /// Notes what `block` says of the section, or returns the packet in it.
    fn packet_in(&mut self, block: &Block<'_>) -> Option<Found> {
        match block {
            Block::SectionHeader(section) => {
                self.big_endian = section.big_endian();
                self.interfaces.clear();
                None
            }
            Block::InterfaceDescription(interface) => {
                let link_type = interface.linktype.0.cast_unsigned();
                self.interfaces.push(Interface { link_type, snap_length: interface.snaplen });
                None
            }
            Block::EnhancedPacket(packet) => {
                let found = Found::new(packet.if_id, packet.origlen, packet.packet_data());
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
                Some(Found::new(0, packet.origlen, &bytes[..length]))
            }
            Block::Unknown(block) if block.block_type == PACKET_BLOCK => self.packet_block(block.data),
            _ => None,
        }
    }

    fn packet_block(&self, data: &[u8]) -> Option<Found> {
        // Interface and drop count share the first word, the interface first.
        let first = self.word(data, 0)?;
        let interface = if self.big_endian { first >> 16 } else { first & 0xFFFF };
        let captured_length = self.word(data, 12)? as usize;
        let bytes = data.get(20..)?;
        Some(Found::new(interface, self.word(data, 16)?, &bytes[..bytes.len().min(captured_length)]))
    }

    fn word(&self, data: &[u8], offset: usize) -> Option<u32> {
        let bytes: [u8; 4] = data.get(offset..offset + 4)?.try_into().ok()?;
        Some(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }
}

impl Iterator for Capture {
    type Item = Result<RecordedPacket, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.next_packet().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Fills the buffer that it is given, unless the source ends: pcap-parser takes a short read for the whole header.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}
