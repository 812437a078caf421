//! The packets of the captures in the folder that SLUICE_CAPTURES names.

use std::fs::File;
use std::path::PathBuf;

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};

pub struct Packet {
    /// File name and number of the packet in it, from 1.
    pub origin: String,
    pub link_type: u16,
    pub wire_length: u32,
    pub data: Vec<u8>,
}

pub fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("SLUICE_CAPTURES").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("SLUICE_CAPTURES is not set: no captures, nothing to do");
    }
    folder
}

/// All packets of all captures that can be read; a capture that is broken is read up to there.
pub fn packets() -> Option<Vec<Packet>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder()?).expect("SLUICE_CAPTURES is a folder").map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut packets = Vec::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".pcap") {
            pcap(&file, &name, &mut packets);
        } else if name.ends_with(".pcapng") {
            pcapng(&file, &name, &mut packets);
        }
    }
    Some(packets)
}

fn pcap(file: &PathBuf, name: &str, packets: &mut Vec<Packet>) {
    let Ok(mut reader) = PcapReader::new(File::open(file).expect("a readable file")) else {
        return;
    };
    let link_type = u32::from(reader.header().datalink);
    let mut number = 0;
    while let Some(Ok(packet)) = reader.next_packet() {
        number += 1;
        packets.push(Packet {
            origin: format!("{name} {number}"),
            link_type: link_type as u16,
            wire_length: packet.orig_len,
            data: packet.data.into_owned(),
        });
    }
}

fn pcapng(file: &PathBuf, name: &str, packets: &mut Vec<Packet>) {
    let Ok(mut reader) = PcapNgReader::new(File::open(file).expect("a readable file")) else {
        return;
    };
    let mut number = 0;
    while let Some(Ok(block)) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block else {
            continue;
        };
        number += 1;
        let (interface, wire_length, data) =
            (packet.interface_id as usize, packet.original_len, packet.data.into_owned());
        let Some(interface) = reader.interfaces().get(interface) else {
            return;
        };
        packets.push(Packet {
            origin: format!("{name} {number}"),
            link_type: u32::from(interface.linktype) as u16,
            wire_length,
            data,
        });
    }
}
