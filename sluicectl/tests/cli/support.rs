//! Capture files, written byte by byte, and the tool as a process.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The outcome of a run of sluicectl.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// The JSON objects of the lines of the output.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }

    /// Asserts that the tool failed with this code and these parts of a message.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in: {}", self.stderr);
        }
    }

    /// Asserts that the tool succeeded, with nothing on standard error.
    #[track_caller]
    pub(crate) fn done(&self) {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{}", self.stdout);
    }
}

pub(crate) fn sluicectl<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Run {
    finish(command(arguments).output().unwrap())
}

/// Like [`sluicectl`], with bytes on standard input.
pub(crate) fn sluicectl_with_input<'a>(arguments: impl IntoIterator<Item = &'a str>, input: &[u8]) -> Run {
    let mut child =
        command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input).unwrap();
    finish(child.wait_with_output().unwrap())
}

pub(crate) fn command<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicectl"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn finish(output: Output) -> Run {
    Run {
        code: output.status.code().expect("sluicectl ends by itself"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A folder for the files of a test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn path(&self) -> PathBuf {
        Path::new(self.0.path()).to_owned()
    }
}

/// A pcap file with these packets, each as long on the wire as it is.
pub(crate) fn pcap(link_type: u32, packets: &[&[u8]]) -> Vec<u8> {
    let mut file = pcap_header(link_type);
    packets.iter().for_each(|packet| file.extend(pcap_record(packet.len() as u32, packet.len() as u32, packet)));
    file
}

pub(crate) fn pcap_header(link_type: u32) -> Vec<u8> {
    let mut header = 0xA1B2_C3D4_u32.to_le_bytes().to_vec();
    header.extend([2, 0, 4, 0]);
    [0, 0, 65535, link_type].iter().for_each(|field: &u32| header.extend(field.to_le_bytes()));
    header
}

pub(crate) fn pcap_record(captured_length: u32, wire_length: u32, bytes: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    [0, 0, captured_length, wire_length].iter().for_each(|field| record.extend(field.to_le_bytes()));
    record.extend(bytes);
    record
}

/// A pcapng block.
pub(crate) fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let length = (padded as u32 + 12).to_le_bytes();
    let mut block = [&kind.to_le_bytes()[..], &length, body].concat();
    block.resize(8 + padded, 0);
    block.extend(length);
    block
}

pub(crate) fn section() -> Vec<u8> {
    block(0x0A0D_0D0A, &[&0x1A2B_3C4D_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xFF; 8]].concat())
}

pub(crate) fn interface(link_type: u16, snap_length: u32) -> Vec<u8> {
    block(1, &[&link_type.to_le_bytes()[..], &[0, 0], &snap_length.to_le_bytes()].concat())
}

/// An Enhanced Packet Block; `flags` becomes the option of that name.
pub(crate) fn enhanced_packet(interface: u32, bytes: &[u8], flags: Option<u32>) -> Vec<u8> {
    timed_packet(interface, 0, bytes, flags)
}

/// Like [`enhanced_packet`], with a timestamp in units of the interface.
pub(crate) fn timed_packet(interface: u32, time: u64, bytes: &[u8], flags: Option<u32>) -> Vec<u8> {
    let length = (bytes.len() as u32).to_le_bytes();
    let [high, low] = [time >> 32, time].map(|half| (half as u32).to_le_bytes());
    let mut body = [&interface.to_le_bytes()[..], &high, &low, &length, &length, bytes].concat();
    body.resize(body.len().next_multiple_of(4), 0);
    if let Some(flags) = flags {
        body.extend([2, 0, 4, 0]);
        body.extend(flags.to_le_bytes());
        body.extend([0; 4]);
    }
    block(6, &body)
}

/// The bytes, compressed.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// UDP over IPv4 from 192.0.2.1, port 1000.
pub(crate) fn udp(destination: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let length = |more: usize| ((payload.len() + more) as u16).to_be_bytes();
    let mut packet = [&[0x45, 0][..], &length(28), &[0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1], &destination].concat();
    packet.extend(1000_u16.to_be_bytes());
    packet.extend(port.to_be_bytes());
    packet.extend(length(8));
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

/// The question for www.example.com.
pub(crate) const DNS_QUESTION: &[u8] =
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01";
