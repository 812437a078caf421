//! Initial packets of QUIC, encrypted as a client does, by another implementation of AES-GCM than the parser has.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes128;
use aes_gcm::aes::cipher::BlockEncrypt;
use aes_gcm::{Aes128Gcm, Nonce};
use hkdf::Hkdf;
use sha2::Sha256;

pub const VERSION_1: u32 = 1;
pub const VERSION_2: u32 = 0x6B33_43CF;

/// An Initial packet before it is encrypted.
#[derive(Clone)]
pub struct Initial {
    pub version: u32,
    pub destination: Vec<u8>,
    pub source: Vec<u8>,
    pub token: Vec<u8>,
    pub number: u32,
    /// In how many bytes the number is: 1 to 4.
    pub number_length: usize,
    pub frames: Vec<u8>,
    /// Whose keys it gets: of a client, or of a server.
    pub by_server: bool,
}

impl Default for Initial {
    fn default() -> Self {
        Self {
            version: VERSION_1,
            destination: vec![1, 2, 3, 4, 5, 6, 7, 8],
            source: Vec::new(),
            token: Vec::new(),
            number: 0,
            number_length: 1,
            frames: Vec::new(),
            by_server: false,
        }
    }
}

fn expand(secret: &Hkdf<Sha256>, label: &str, output: &mut [u8]) {
    let label = format!("tls13 {label}");
    let length = (output.len() as u16).to_be_bytes();
    let info = [length.as_slice(), &[label.len() as u8], label.as_bytes(), &[0]].concat();
    secret.expand(&info, output).unwrap();
}

/// A number of QUIC in as few bytes as it fits into.
pub fn number(value: u64) -> Vec<u8> {
    match value {
        0..64 => vec![value as u8],
        64..16_384 => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        _ => (value as u32 | 0x8000_0000).to_be_bytes().to_vec(),
    }
}

pub fn crypto(offset: usize, data: &[u8]) -> Vec<u8> {
    [&[6], number(offset as u64).as_slice(), &number(data.len() as u64), data].concat()
}

impl Initial {
    pub fn of(frames: &[u8]) -> Self {
        Self { frames: frames.to_vec(), ..Self::default() }
    }

    pub fn encrypted(&self) -> Vec<u8> {
        let is_second = self.version == VERSION_2;
        let salt: [u8; 20] = if is_second {
            *b"\x0D\xED\xE3\xDE\xF7\x00\xA6\xDB\x81\x93\x81\xBE\x6E\x26\x9D\xCB\xF9\xBD\x2E\xD9"
        } else {
            *b"\x38\x76\x2C\xF7\xF5\x59\x34\xB3\x4D\x17\x9A\xE6\xA4\xC8\x0C\xAD\xCC\xBB\x7F\x0A"
        };
        let prefix = if is_second { "quicv2" } else { "quic" };
        let mut secret = [0; 32];
        let side = if self.by_server { "server in" } else { "client in" };
        expand(&Hkdf::new(Some(&salt), &self.destination), side, &mut secret);
        let secret = Hkdf::from_prk(&secret).unwrap();
        let (mut key, mut iv, mut header_key) = ([0; 16], [0; 12], [0; 16]);
        expand(&secret, &format!("{prefix} key"), &mut key);
        expand(&secret, &format!("{prefix} iv"), &mut iv);
        expand(&secret, &format!("{prefix} hp"), &mut header_key);

        let kind = if is_second { 0xD0 } else { 0xC0 };
        let mut packet = vec![kind | (self.number_length - 1) as u8];
        packet.extend(self.version.to_be_bytes());
        for id in [&self.destination, &self.source] {
            packet.push(id.len() as u8);
            packet.extend(id);
        }
        packet.extend(number(self.token.len() as u64));
        packet.extend(&self.token);
        let length = self.number_length + self.frames.len() + 16;
        packet.extend((length as u16 | 0x4000).to_be_bytes());
        let number_at = packet.len();
        packet.extend(&self.number.to_be_bytes()[4 - self.number_length..]);
        for (byte, number) in iv[8..].iter_mut().zip(self.number.to_be_bytes()) {
            *byte ^= number;
        }
        let cipher = Aes128Gcm::new(&key.into());
        let payload = Payload { msg: &self.frames, aad: &packet };
        packet.extend(cipher.encrypt(&Nonce::from(iv), payload).unwrap());
        let mut mask = packet[number_at + 4..][..16].to_vec();
        Aes128::new(&header_key.into()).encrypt_block(mask.as_mut_slice().into());
        packet[0] ^= mask[0] & 0x0F;
        for (byte, mask) in packet[number_at..].iter_mut().zip(&mask[1..]).take(self.number_length) {
            *byte ^= mask;
        }
        packet
    }
}
