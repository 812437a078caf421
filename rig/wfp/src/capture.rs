//! Captures in the format of libpcap, of packets that begin with their IP header.

use std::path::Path;
use std::{fs, io};

const MAGIC: u32 = 0xA1B2_C3D4;
const LINKTYPE_RAW: u32 = 101;
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;

/// The packets of a file.
///
/// # Errors
/// It cannot be read, or is not such a capture.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let bytes = fs::read(path)?;
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    let word = |offset: usize| {
        let word = bytes.get(offset..).and_then(|bytes| bytes.first_chunk());
        word.map(|word| u32::from_le_bytes(*word)).ok_or_else(|| wrong("it ends too soon"))
    };
    if word(0)? != MAGIC || word(20)? != LINKTYPE_RAW {
        return Err(wrong("expected a little-endian pcap file of link type 101"));
    }
    let (mut packets, mut offset) = (Vec::new(), FILE_HEADER);
    while offset < bytes.len() {
        let start = offset + PACKET_HEADER;
        offset = start + word(offset + 8)? as usize;
        packets.push(bytes.get(start..offset).ok_or_else(|| wrong("it ends too soon"))?.to_vec());
    }
    Ok(packets)
}

/// Writes packets to a file.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write<'a>(path: &Path, packets: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
    let mut bytes = Vec::new();
    for word in [MAGIC, 2 | 4 << 16, 0, 0, 0x4_0000, LINKTYPE_RAW] {
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
