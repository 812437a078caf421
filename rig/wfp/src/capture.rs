//! Captures in the format of libpcap: packets that begin with their IP header, or Ethernet frames.

use std::path::Path;
use std::{fs, io};

const MAGIC: u32 = 0xA1B2_C3D4;
const LINKTYPE_ETHERNET: u32 = 1;
const LINKTYPE_RAW: u32 = 101;
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;

/// What the packets of a capture begin with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Ethernet,
    Ip,
}

/// The packets of a file.
///
/// # Errors
/// It cannot be read, or is not such a capture.
pub(crate) fn read(path: &Path) -> io::Result<(Link, Vec<Vec<u8>>)> {
    let bytes = fs::read(path)?;
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    let word = |offset: usize| {
        let word = bytes.get(offset..).and_then(|bytes| bytes.first_chunk());
        word.map(|word| u32::from_le_bytes(*word)).ok_or_else(|| wrong("it ends too soon"))
    };
    let link = match (word(0)?, word(20)?) {
        (MAGIC, LINKTYPE_ETHERNET) => Link::Ethernet,
        (MAGIC, LINKTYPE_RAW) => Link::Ip,
        _ => return Err(wrong("expected a little-endian pcap file of link type 1 or 101")),
    };
    let (mut packets, mut offset) = (Vec::new(), FILE_HEADER);
    while offset < bytes.len() {
        let start = offset + PACKET_HEADER;
        offset = start + word(offset + 8)? as usize;
        packets.push(bytes.get(start..offset).ok_or_else(|| wrong("it ends too soon"))?.to_vec());
    }
    Ok((link, packets))
}

/// Writes packets to a file.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write<'a>(path: &Path, link: Link, packets: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
    let link_type = if link == Link::Ethernet { LINKTYPE_ETHERNET } else { LINKTYPE_RAW };
    let mut bytes = Vec::new();
    for word in [MAGIC, 2 | 4 << 16, 0, 0, 0x4_0000, link_type] {
        bytes.extend(word.to_le_bytes());
    }
    for packet in packets {
        for word in [0, 0, packet.len() as u32, packet.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(packet);
    }
    fs::write(path, bytes)
}
