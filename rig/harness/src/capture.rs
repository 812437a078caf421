//! Captures for the [`Network`](crate::Network).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The packets that begin with an IP header in the Ethernet frames of a little-endian pcapng file: without VLANs, in
/// their order. None of a file in another format.
///
/// # Errors
/// The file cannot be read, or is damaged.
pub fn ip_packets(capture: &Path) -> Result<Vec<Vec<u8>>> {
    let in_frame = |frame: Vec<u8>| {
        let (header, packet) = frame.split_at_checked(14)?;
        matches!(header[12..], [0x08, 0x00] | [0x86, 0xDD]).then(|| packet.to_vec())
    };
    Ok(frames(capture)?.into_iter().filter_map(in_frame).collect())
}

/// The Ethernet frames of a little-endian pcapng file, in their order. None of a file in another format.
///
/// # Errors
/// The file cannot be read, or is damaged.
pub fn frames(capture: &Path) -> Result<Vec<Vec<u8>>> {
    const SECTION_HEADER: usize = 0x0A0D_0D0A;
    const ENHANCED_PACKET: usize = 6;
    let bytes = fs::read(capture).with_context(|| format!("cannot read {}", capture.display()))?;
    let mut frames = Vec::new();
    let mut rest = bytes.as_slice();
    if word(rest, 0) != Some(SECTION_HEADER) {
        return Ok(frames);
    }
    while let (Some(kind), Some(length)) = (word(rest, 0), word(rest, 4)) {
        let damaged = || format!("a block of {} is damaged", capture.display());
        ensure!(length >= 12, damaged());
        let (block, next) = rest.split_at_checked(length).with_context(damaged)?;
        if kind == ENHANCED_PACKET {
            let captured = word(block, 20).with_context(damaged)?;
            let frame = block.get(28..).and_then(|frame| frame.get(..captured)).with_context(damaged)?;
            frames.push(frame.to_vec());
        }
        rest = next;
    }
    Ok(frames)
}

fn word(bytes: &[u8], offset: usize) -> Option<usize> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?) as usize)
}

/// A file in the format of libpcap with these packets, which begin with their IP header.
#[must_use]
pub fn raw_capture(packets: &[Vec<u8>]) -> Vec<u8> {
    written(101, packets)
}

/// A file in the format of libpcap with these Ethernet frames.
#[must_use]
pub fn frame_capture(frames: &[Vec<u8>]) -> Vec<u8> {
    written(1, frames)
}

fn written(link_type: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0xA1B2_C3D4_u32, 2 | 4 << 16, 0, 0, 0x4_0000, link_type] {
        bytes.extend(word.to_le_bytes());
    }
    for packet in packets {
        let length = u32::try_from(packet.len()).expect("packets are small");
        for word in [0, 0, length, length] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(packet);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::{env, process};

    use super::*;
    use crate::root;

    #[test]
    fn packets_of_ip_are_found_and_a_damaged_file_is_named() {
        let demo = root().join("tests/data/demo.pcapng");
        let packets = ip_packets(&demo).unwrap();
        assert!(packets.len() > 100 && packets.iter().all(|packet| matches!(packet[0] >> 4, 4 | 6)));
        let capture = raw_capture(&packets);
        assert_eq!(capture.len(), 24 + packets.iter().map(|packet| 16 + packet.len()).sum::<usize>());
        let file = env::temp_dir().join(format!("sluice-capture-{}", process::id()));
        fs::write(&file, &capture).unwrap();
        let other_format = ip_packets(&file);
        fs::write(&file, &fs::read(&demo).unwrap()[..300]).unwrap();
        let damaged = ip_packets(&file);
        fs::remove_file(&file).unwrap();
        assert_eq!(other_format.unwrap(), Vec::<Vec<u8>>::new());
        let error = damaged.unwrap_err().to_string();
        assert!(error.contains("is damaged") && error.contains("sluice-capture"), "{error}");
    }
}
