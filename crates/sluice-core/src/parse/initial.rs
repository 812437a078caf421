//! QUIC's Initial packets of a client (RFC 9000, 17.2.2), decrypted (RFC 9001, 5; RFC 9369, 3.3), and the ClientHello
//! in their CRYPTO frames.
//!
//! The keys follow from the connection id that the client made up, which is in the packet. Nothing is decrypted into
//! memory: the cipher is a counter mode, so that each part of the packet is decrypted where and when it is read. A
//! packet of `n` bytes costs one pass of GHASH and at most three of AES over them.

use ghash::GHash;
use ghash::universal_hash::{KeyInit, UniversalHash};
use sha2::{Digest, Sha256};

use super::aes::{Aes128, LANES};
use super::hello::{Fault, Source};
use super::quic::variable_length;

/// The connection id, the token and the numbers in front of the frames are in the datagram, so that offsets fit.
type Offset = u16;

/// How many Initial packets of a datagram are opened.
const MAX_PACKETS: usize = 4;

/// How many CRYPTO frames of a datagram are put in order. Browsers that shuffle their hello send about ten.
const MAX_FRAMES: usize = 32;

/// The length of the authentication tag, and of the sample that the protection of a header depends on.
const TAG: usize = 16;
const SAMPLE: usize = 16;

/// What a version derives its keys with.
pub(super) struct Derivation {
    salt: [u8; 20],
    key: &'static [u8],
    iv: &'static [u8],
    header: &'static [u8],
}

/// Version 1 (RFC 9001, 5.1 and 5.2).
pub(super) const VERSION_1: Derivation = Derivation {
    salt: [
        0x38, 0x76, 0x2C, 0xF7, 0xF5, 0x59, 0x34, 0xB3, 0x4D, 0x17, 0x9A, 0xE6, 0xA4, 0xC8, 0x0C, 0xAD, 0xCC, 0xBB,
        0x7F, 0x0A,
    ],
    key: b"\0\x10\x0Etls13 quic key\0",
    iv: b"\0\x0C\x0Dtls13 quic iv\0",
    header: b"\0\x10\x0Dtls13 quic hp\0",
};

/// Version 2 (RFC 9369, 3.3.1 and 3.3.2).
pub(super) const VERSION_2: Derivation = Derivation {
    salt: [
        0x0D, 0xED, 0xE3, 0xDE, 0xF7, 0x00, 0xA6, 0xDB, 0x81, 0x93, 0x81, 0xBE, 0x6E, 0x26, 0x9D, 0xCB, 0xF9, 0xBD,
        0x2E, 0xD9,
    ],
    key: b"\0\x10\x10tls13 quicv2 key\0",
    iv: b"\0\x0C\x0Ftls13 quicv2 iv\0",
    header: b"\0\x10\x0Ftls13 quicv2 hp\0",
};

/// The label of the client's secret (RFC 9001, 5.2), in the form of RFC 8446, 7.1.
const CLIENT: &[u8] = b"\0\x20\x0Ftls13 client in\0";

/// The keys of a client's Initial packets.
#[derive(Default)]
struct Keys {
    cipher: Aes128,
    iv: [u8; 12],
    header: [u8; 16],
}

impl Keys {
    #[inline(never)]
    fn derive(derivation: &Derivation, connection_id: &[u8]) -> Self {
        let initial = hmac(&derivation.salt, &[connection_id]);
        let client = hmac(&initial, &[CLIENT, LAST]);
        let [key, iv, header] =
            [derivation.key, derivation.iv, derivation.header].map(|label| hmac(&client, &[label, LAST]));
        Self { cipher: Aes128::new(&first(key)), iv: first(iv), header: first(header) }
    }
}

/// What ends the input of HKDF-Expand for up to 32 bytes of output: the number of the block (RFC 5869, 2.3).
const LAST: &[u8] = &[1];

/// HMAC-SHA-256 (RFC 2104) of the parts one after another, with a key of up to 64 bytes: both steps of HKDF are this.
///
/// The crate hkdf leaves a panic in code for ARM64, for keys that HMAC could not take; there are none.
#[inline(never)]
fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let inner = keyed(0x36, key, parts);
    keyed(0x5C, key, &[&inner])
}

/// The hash of a key, padded and changed by `pad`, and of the parts behind it.
// In a frame of its own, where one state of the hash takes the place of the other.
#[inline(never)]
fn keyed(pad: u8, key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut block = [pad; 64];
    block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
    let mut hash = Sha256::new();
    hash.update(block);
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// The first bytes of a block of keys.
fn first<const LENGTH: usize>(block: [u8; 32]) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes.iter_mut().zip(block).for_each(|(byte, of_block)| *byte = of_block);
    bytes
}

/// An Initial packet: where its parts lie in the datagram.
#[derive(Clone, Copy)]
pub(super) struct Packet {
    pub(super) start: usize,
    /// Where the packet number lies.
    pub(super) number: usize,
    pub(super) end: usize,
}

/// A packet that was opened.
#[derive(Clone, Copy, Default)]
struct Opened {
    nonce: [u8; 12],
    /// Where the encrypted bytes start.
    start: Offset,
}

/// A CRYPTO frame.
#[derive(Clone, Copy, Default)]
struct Frame {
    /// Where its data belongs in the stream.
    offset: Offset,
    length: Offset,
    /// Where its data lies in the datagram.
    at: Offset,
    /// In which packet.
    packet: u8,
}

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It was encrypted with other keys: it is none with which a client begins.
    Foreign,
    /// It is not as a packet or a frame can be.
    Malformed,
    /// It exceeds a limit.
    Limit,
}

/// The Initial packets of a datagram.
pub(super) struct Initials<'packet> {
    datagram: &'packet [u8],
    keys: Keys,
    has_keys: bool,
    packets: [Opened; MAX_PACKETS],
    packet_count: usize,
    frames: [Frame; MAX_FRAMES],
    frame_count: usize,
    /// Two frames have data for the same place.
    pub(super) overlap: bool,
}

impl<'packet> Initials<'packet> {
    pub(super) fn new(datagram: &'packet [u8]) -> Self {
        Self {
            datagram,
            keys: Keys::default(),
            has_keys: false,
            packets: [Opened::default(); MAX_PACKETS],
            packet_count: 0,
            frames: [Frame::default(); MAX_FRAMES],
            frame_count: 0,
            overlap: false,
        }
    }

    /// Whether a packet was opened.
    pub(super) fn is_open(&self) -> bool {
        self.packet_count != 0
    }

    /// Derives the keys, if that was not done: they are the same for all packets of a datagram.
    fn derive_keys(&mut self, derivation: &Derivation, connection_id: &[u8]) {
        if !self.has_keys {
            self.keys = Keys::derive(derivation, connection_id);
            self.has_keys = true;
        }
    }

    /// Opens a packet and notes its CRYPTO frames.
    #[inline(never)]
    pub(super) fn open(
        &mut self,
        derivation: &Derivation,
        connection_id: &[u8],
        packet: Packet,
    ) -> Result<(), Refused> {
        // More than a datagram can have.
        if self.datagram.len() > usize::from(Offset::MAX) {
            return Err(Refused::Limit);
        }
        self.derive_keys(derivation, connection_id);
        let sample_at = packet.number.wrapping_add(4);
        let whole = self.datagram.get(..packet.end).ok_or(Refused::Malformed)?;
        let sample = whole.get(sample_at..).and_then(<[u8]>::first_chunk::<SAMPLE>).ok_or(Refused::Malformed)?;
        let first = *whole.get(packet.start).ok_or(Refused::Malformed)?;
        let [first_mask, mask @ ..] = mask(&self.keys.header, sample);
        // Of the first byte the reserved bits and the length of the number are protected (RFC 9001, 5.4.1).
        let first = first ^ first_mask & 0x0F;
        let length = usize::from(first & 3).wrapping_add(1);
        let number = whole.get(packet.number..).and_then(<[u8]>::first_chunk::<4>).ok_or(Refused::Malformed)?;
        let mut plain_number = [0; 4];
        for (plain, (byte, mask)) in plain_number.iter_mut().zip(number.iter().zip(mask)).take(length) {
            *plain = byte ^ mask;
        }
        let mut nonce = self.keys.iv;
        let [.., a, b, c, d] = &mut nonce;
        // The first packets of a connection, whose numbers are not shortened (RFC 9000, A.3).
        let number = u32::from_be_bytes(plain_number) >> (32_usize.wrapping_sub(length.wrapping_mul(8)) & 31);
        for (byte, number) in [a, b, c, d].into_iter().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        let start = packet.number.wrapping_add(length);
        let end = packet.end.wrapping_sub(TAG);
        let (Some(encrypted), Some(tag)) = (whole.get(start..end), whole.get(end..)) else {
            return Err(Refused::Malformed);
        };
        let header = whole.get(packet.start..start).ok_or(Refused::Malformed)?;
        let header = Header { bytes: header, first, number: &plain_number, length };
        if self.keys.tag(&nonce, &header, encrypted) != *tag {
            return Err(Refused::Foreign);
        }
        let place = self.packets.get_mut(self.packet_count).ok_or(Refused::Limit)?;
        *place = Opened { nonce, start: start as Offset };
        self.frames(self.packet_count as u8, start, end)?;
        self.packet_count = self.packet_count.wrapping_add(1);
        Ok(())
    }

    /// Goes through the frames that an Initial may have (RFC 9000, 17.2.2).
    #[inline(never)]
    fn frames(&mut self, packet: u8, start: usize, end: usize) -> Result<(), Refused> {
        const PADDING: u8 = 0x00;
        const PING: u8 = 0x01;
        const ACK: u8 = 0x02;
        const ACK_WITH_ECN: u8 = 0x03;
        const CRYPTO: u8 = 0x06;
        const CONNECTION_CLOSE: u8 = 0x1C;
        let opened = self.packets.get(usize::from(packet)).copied().unwrap_or_default();
        let mut stream = Keystream::new(&self.keys.cipher, &opened);
        let mut cursor = Cursor { datagram: self.datagram, stream: &mut stream, at: start, end };
        while cursor.at < cursor.end {
            match cursor.byte()? {
                PADDING | PING => {}
                kind @ (ACK | ACK_WITH_ECN) => {
                    let _largest = cursor.number()?;
                    let _delay = cursor.number()?;
                    let ranges = cursor.number()?;
                    let _first = cursor.number()?;
                    let numbers = ranges.saturating_mul(2).saturating_add(if kind == ACK { 0 } else { 3 });
                    // Each has a byte at least, so that this ends with the packet.
                    for _ in 0..numbers {
                        cursor.number()?;
                    }
                }
                CRYPTO => {
                    let offset = cursor.number()?;
                    let length = cursor.number()?;
                    let at = cursor.at;
                    cursor.skip(length)?;
                    let (Ok(offset), Ok(length)) = (Offset::try_from(offset), Offset::try_from(length)) else {
                        return Err(Refused::Limit);
                    };
                    let frame = Frame { offset, length, at: at as Offset, packet };
                    if length != 0 {
                        let known = self.frames.get(..self.frame_count).unwrap_or_default();
                        self.overlap |= known.iter().any(|other| overlap(other, &frame));
                        *self.frames.get_mut(self.frame_count).ok_or(Refused::Limit)? = frame;
                        self.frame_count = self.frame_count.wrapping_add(1);
                    }
                }
                // The client gives up; the reason is the rest.
                CONNECTION_CLOSE => return Ok(()),
                _ => return Err(Refused::Malformed),
            }
        }
        Ok(())
    }

    /// Calls `each` with every byte in the CRYPTO frames, and where it belongs.
    #[inline(never)]
    pub(super) fn each_byte(&self, each: &mut impl FnMut(usize, u8)) {
        let frames = self.frames.get(..self.frame_count).unwrap_or_default();
        let mut keystream = Keystream::new(&self.keys.cipher, &Opened::default());
        let mut packet = None;
        for frame in frames {
            if packet != Some(frame.packet) {
                let opened = self.packets.get(usize::from(frame.packet)).copied().unwrap_or_default();
                keystream = Keystream::new(&self.keys.cipher, &opened);
                packet = Some(frame.packet);
            }
            let places = usize::from(frame.offset)..;
            for (place, at) in places.zip(usize::from(frame.at)..).take(usize::from(frame.length)) {
                if let Some(byte) = keystream.decrypt(self.datagram, at) {
                    each(place, byte);
                }
            }
        }
    }

    /// The data of the CRYPTO frames, in order, up to the first gap.
    pub(super) fn stream(&self) -> CryptoStream<'_> {
        CryptoStream {
            initials: self,
            position: 0,
            frame: None,
            keystream: Keystream::new(&self.keys.cipher, &Opened::default()),
        }
    }
}

fn overlap(a: &Frame, b: &Frame) -> bool {
    let end = |frame: &Frame| u32::from(frame.offset).wrapping_add(frame.length.into());
    u32::from(a.offset) < end(b) && u32::from(b.offset) < end(a)
}

/// The mask of a header (RFC 9001, 5.4.3).
#[inline(never)]
fn mask(key: &[u8; 16], sample: &[u8; SAMPLE]) -> [u8; 5] {
    let [a, b, c, d, e, ..] = Aes128::new(key).encrypt(sample);
    [a, b, c, d, e]
}

/// A header whose protection is removed from its first byte and its number, which comes last.
struct Header<'packet> {
    bytes: &'packet [u8],
    first: u8,
    number: &'packet [u8; 4],
    length: usize,
}

impl Keys {
    /// The authentication tag of a packet (NIST SP 800-38D, 7.1).
    #[inline(never)]
    fn tag(&self, nonce: &[u8; 12], header: &Header<'_>, encrypted: &[u8]) -> [u8; TAG] {
        let mut hash = GHash::new(&self.cipher.encrypt(&[0; 16]).into());
        let number_at = header.bytes.len().wrapping_sub(header.length);
        for (index, chunk) in header.bytes.chunks(16).enumerate() {
            let mut block = [0; 16];
            for ((plain, byte), at) in block.iter_mut().zip(chunk).zip(index.wrapping_mul(16)..) {
                *plain = match at.checked_sub(number_at) {
                    Some(of_number) => header.number.get(of_number).copied().unwrap_or_default(),
                    None if at == 0 => header.first,
                    None => *byte,
                };
            }
            hash.update(&[block.into()]);
        }
        hash.update_padded(encrypted);
        let bits = |bytes: &[u8]| (bytes.len() as u64).wrapping_mul(8).to_be_bytes();
        let mut lengths = [0; 16];
        for (byte, bits) in lengths.iter_mut().zip(bits(header.bytes).into_iter().chain(bits(encrypted))) {
            *byte = bits;
        }
        hash.update(&[lengths.into()]);
        let mut tag: [u8; TAG] = hash.finalize().into();
        let mask = self.cipher.encrypt(&counter_block(nonce, 1));
        tag.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        tag
    }
}

fn counter_block(nonce: &[u8; 12], counter: u32) -> [u8; 16] {
    let mut block = [0; 16];
    for (byte, value) in block.iter_mut().zip(nonce.iter().copied().chain(counter.to_be_bytes())) {
        *byte = value;
    }
    block
}

/// What a packet is encrypted with: a few blocks of it at a time.
struct Keystream<'keys> {
    cipher: &'keys Aes128,
    packet: Opened,
    blocks: [[u8; 16]; LANES],
    /// Which blocks these are: the first one's number, divided by how many they are.
    group: Option<usize>,
}

impl<'keys> Keystream<'keys> {
    fn new(cipher: &'keys Aes128, packet: &Opened) -> Self {
        Self { cipher, packet: *packet, blocks: [[0; 16]; LANES], group: None }
    }

    /// Decrypts the byte at `at` of the datagram.
    #[inline]
    fn decrypt(&mut self, datagram: &[u8], at: usize) -> Option<u8> {
        let byte = *datagram.get(at)?;
        let position = at.wrapping_sub(usize::from(self.packet.start));
        let group = position >> 7;
        if self.group != Some(group) {
            self.fill(group);
        }
        let block = self.blocks.get(position >> 4 & const { LANES - 1 })?;
        Some(byte ^ block.get(position & 15)?)
    }

    #[inline(never)]
    fn fill(&mut self, group: usize) {
        const { assert!(LANES == 8) };
        // The first block of the data has the number 2 (NIST SP 800-38D, 7.1).
        let first = (group.wrapping_mul(LANES) as u32).wrapping_add(2);
        for (block, counter) in self.blocks.iter_mut().zip(first..) {
            *block = counter_block(&self.packet.nonce, counter);
        }
        self.cipher.encrypt_all(&mut self.blocks);
        self.group = Some(group);
    }
}

/// Reads the frames of a packet.
struct Cursor<'a, 'keys> {
    datagram: &'a [u8],
    stream: &'a mut Keystream<'keys>,
    at: usize,
    end: usize,
}

impl Cursor<'_, '_> {
    fn byte(&mut self) -> Result<u8, Refused> {
        if self.at >= self.end {
            return Err(Refused::Malformed);
        }
        let byte = self.stream.decrypt(self.datagram, self.at).ok_or(Refused::Malformed)?;
        self.at = self.at.wrapping_add(1);
        Ok(byte)
    }

    /// A number in as many bytes as its first two bits say (RFC 9000, 16).
    fn number(&mut self) -> Result<u64, Refused> {
        let mut bytes = [0; 8];
        bytes[0] = self.byte()?;
        let length = 1_usize << (bytes[0] >> 6);
        for byte in bytes.iter_mut().take(length).skip(1) {
            *byte = self.byte()?;
        }
        let bytes = bytes.get(..length).unwrap_or_default();
        variable_length(bytes).map(|(number, _)| number).ok_or(Refused::Malformed)
    }

    fn skip(&mut self, count: u64) -> Result<(), Refused> {
        if count > self.end.wrapping_sub(self.at) as u64 {
            return Err(Refused::Malformed);
        }
        self.at = self.at.wrapping_add(count as usize);
        Ok(())
    }
}

/// The data of CRYPTO frames, in order.
pub(super) struct CryptoStream<'a> {
    initials: &'a Initials<'a>,
    position: usize,
    /// The frame that `position` lies in, once it is known.
    frame: Option<Frame>,
    keystream: Keystream<'a>,
}

impl CryptoStream<'_> {
    /// Finds the frame in which the position lies.
    fn find(&mut self) -> Result<Frame, Fault> {
        let holds = |frame: &Frame| {
            let before = self.position.wrapping_sub(usize::from(frame.offset));
            before < usize::from(frame.length)
        };
        if let Some(frame) = self.frame.filter(holds) {
            return Ok(frame);
        }
        let frames = self.initials.frames.get(..self.initials.frame_count).unwrap_or_default();
        let frame = *frames.iter().find(|frame| holds(frame)).ok_or(Fault::Short)?;
        if self.frame.is_none_or(|before| before.packet != frame.packet) {
            let packet = self.initials.packets.get(usize::from(frame.packet)).copied().unwrap_or_default();
            self.keystream = Keystream::new(&self.initials.keys.cipher, &packet);
        }
        self.frame = Some(frame);
        Ok(frame)
    }
}

impl<'packet> Source<'packet> for CryptoStream<'_> {
    fn next(&mut self) -> Result<u8, Fault> {
        let frame = self.find()?;
        let inside = self.position.wrapping_sub(usize::from(frame.offset));
        let at = usize::from(frame.at).wrapping_add(inside);
        let byte = self.keystream.decrypt(self.initials.datagram, at).ok_or(Fault::Short)?;
        self.position = self.position.wrapping_add(1);
        Ok(byte)
    }

    /// What is skipped may be in another datagram.
    fn skip(&mut self, count: usize) -> Result<(), Fault> {
        self.position = self.position.wrapping_add(count);
        Ok(())
    }

    fn in_packet(&mut self, _: usize) -> Result<Option<&'packet [u8]>, Fault> {
        Ok(None)
    }
}
