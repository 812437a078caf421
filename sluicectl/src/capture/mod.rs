//! Packets from a pcap or pcapng file.

mod section;
mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use jiff::Timestamp;
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{PcapBlockOwned, PcapError, create_reader};
use sluice_core::NameText;
use sluice_npi::link_type;

use self::section::{Found, Section};
use self::source::Position;
use crate::failure::{Failure, warn};

/// The size of the buffer at first, and at most: no real packet is longer.
const BUFFER: usize = 1 << 20;
const LARGEST_BUFFER: usize = 64 << 20;

/// One packet of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordedPacket {
    /// Its number in the file, counted from 1.
    pub(crate) number: u64,
    /// When it was captured, as far as the file says.
    pub(crate) time: Option<Timestamp>,
    /// One of [`link_type::NAMES`].
    pub(crate) link_type: u16,
    /// One of [`sluice_npi::direction`], as far as the file says.
    pub(crate) direction: u16,
    /// Its length on the wire, in bytes: at least that of `bytes`.
    pub(crate) wire_length: u32,
    /// What was captured of it.
    pub(crate) bytes: Vec<u8>,
    /// A name that had to be put together from this packet and earlier ones, once it has been classified.
    pub(crate) assembled: OnceLock<Box<NameText>>,
}

/// A capture file, read packet by packet. It ends with the first error. Packets of link types that are not supported
/// are left out, and counted.
pub(crate) struct Capture {
    path: PathBuf,
    blocks: Box<dyn PcapReaderIterator + Send>,
    position: Position,
    buffer: usize,
    section: Section,
    packets: u64,
    left_out: BTreeMap<u32, u64>,
    done: bool,
}

/// What comes next in a capture.
enum Next {
    Packet(RecordedPacket),
    /// It is not in the buffer yet.
    NotRead,
    End,
}

impl Capture {
    /// Opens `path`; `-` is standard input. A file may be compressed with gzip.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let (source, position) = source::open(path).map_err(|error| Failure::unreadable(path, &error))?;
        let blocks = create_reader(BUFFER, source).map_err(|error| match error {
            PcapError::ReadError => Failure::Input(format!("cannot read {}", path.display())),
            _ => Failure::Input(format!("{} is not a capture: expected a pcap or pcapng file", path.display())),
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            blocks,
            position,
            buffer: BUFFER,
            section: Section::default(),
            packets: 0,
            left_out: BTreeMap::new(),
            done: false,
        })
    }

    /// How many bytes of the file have been read.
    pub(crate) fn file_position(&self) -> u64 {
        self.position.get()
    }

    /// How many packets were left out so far, by link type.
    pub(crate) fn left_out(&self) -> &BTreeMap<u32, u64> {
        &self.left_out
    }

    /// Warns of packets that were left out.
    ///
    /// # Errors
    ///
    /// [`Failure::Input`] if there were no others.
    pub(crate) fn check_left_out(&self) -> Result<(), Failure> {
        if self.left_out.is_empty() {
            return Ok(());
        }
        let message = format!("{}: {}", self.path.display(), left_out_text(&self.left_out));
        if self.left_out.values().sum::<u64>() == self.packets {
            return Err(Failure::Input(message));
        }
        warn(&message);
        Ok(())
    }

    /// The next packet, unless it has yet to be read: that may wait for whoever writes a live capture.
    pub(crate) fn next_in_buffer(&mut self) -> Option<Result<RecordedPacket, Failure>> {
        if self.done {
            return None;
        }
        match self.advance() {
            Ok(Next::Packet(packet)) => Some(Ok(packet)),
            Ok(Next::NotRead) => None,
            Ok(Next::End) => {
                self.done = true;
                None
            }
            Err(failure) => {
                self.done = true;
                Some(Err(failure))
            }
        }
    }

    /// Whether the capture has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.done
    }

    fn advance(&mut self) -> Result<Next, Failure> {
        loop {
            match self.blocks.next() {
                Ok((length, block)) => {
                    let found = match block {
                        PcapBlockOwned::LegacyHeader(header) => {
                            self.section = Section::of_pcap(&header);
                            None
                        }
                        PcapBlockOwned::Legacy(packet) => {
                            let units = self.section.pcap_units(packet.ts_sec, packet.ts_usec);
                            Some(Found::new(0, units, packet.origlen, packet.data))
                        }
                        PcapBlockOwned::NG(block) => self.section.packet_in(&block),
                    };
                    self.blocks.consume(length);
                    if let Some(found) = found
                        && let Some(packet) = self.packet(found)?
                    {
                        return Ok(Next::Packet(packet));
                    }
                }
                Err(PcapError::Eof) => return Ok(Next::End),
                Err(PcapError::Incomplete(_) | PcapError::BufferTooSmall) => return Ok(Next::NotRead),
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
            self.blocks.consumed()
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

    /// `None` if its link type is not supported.
    fn packet(&mut self, found: Found) -> Result<Option<RecordedPacket>, Failure> {
        let number = self.packets + 1;
        let Some(interface) = self.section.interfaces.get(found.interface as usize) else {
            let interface = found.interface;
            let why = format!("packet {number} names interface {interface}, which the file does not describe");
            return Err(self.broken(&why));
        };
        self.packets = number;
        let Some((link_type, _)) =
            link_type::NAMES.into_iter().find(|(known, _)| u32::from(*known) == interface.link_type)
        else {
            *self.left_out.entry(interface.link_type).or_default() += 1;
            return Ok(None);
        };
        let time = found.time(interface);
        // Damaged files claim that more was captured than was on the wire.
        let wire_length = found.wire_length.max(u32::try_from(found.bytes.len()).unwrap_or(u32::MAX));
        Ok(Some(RecordedPacket {
            number,
            time,
            link_type,
            direction: found.direction,
            wire_length,
            bytes: found.bytes,
            assembled: OnceLock::default(),
        }))
    }
}

impl Iterator for Capture {
    type Item = Result<RecordedPacket, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = self.next_in_buffer();
            if next.is_some() || self.done {
                return next;
            }
            if let Err(failure) = self.read_on() {
                self.done = true;
                return Some(Err(failure));
            }
        }
    }
}

/// How many packets were left out because of their link type, in words.
fn left_out_text(left_out: &BTreeMap<u32, u64>) -> String {
    let of_type = |(link_type, count): (&u32, &u64)| {
        format!("{count} {} of link type {link_type}", if *count == 1 { "packet" } else { "packets" })
    };
    format!(
        "left out {}; supported are {}",
        left_out.iter().map(of_type).collect::<Vec<_>>().join(", "),
        link_type::NAMES.map(|(number, name)| format!("{number} ({name})")).join(", ")
    )
}
