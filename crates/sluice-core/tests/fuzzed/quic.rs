//! Initial packets with arbitrary frames in them, encrypted as a client does.

use sluice_npi::link_type;

use super::choices::Choices;
use super::invariants;
use super::packets::{ipv4, udp};
use super::quic_packets::{Initial, VERSION_1, VERSION_2, crypto};

pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let shape = choices.byte();
    let base = Initial {
        version: if shape & 1 == 0 { VERSION_1 } else { VERSION_2 },
        destination: vec![7; usize::from(choices.byte() % 21)],
        token: choices.bytes(4),
        number_length: 1 + usize::from(shape >> 1 & 3),
        ..Initial::default()
    };
    let mut datagram = Vec::new();
    for number in 0..=shape >> 3 & 3 {
        let mut frames = Vec::new();
        while !choices.byte().is_multiple_of(8) && frames.len() < 900 {
            if choices.byte() < 0xE0 {
                let offset = usize::from(choices.byte()) * if choices.byte() < 0xF0 { 1 } else { 300 };
                frames.extend(crypto(offset, &choices.bytes(200)));
            } else {
                frames.extend(choices.bytes(40));
            }
        }
        // As many as a sample takes.
        frames.extend([0; 4]);
        datagram.extend(Initial { number: number.into(), frames, ..base.clone() }.encrypted());
    }
    let at = usize::from(choices.mostly(0));
    match (shape >> 5, datagram.get_mut(at)) {
        (6, Some(byte)) => *byte ^= 1 << (at & 7),
        (7, Some(_)) => datagram.truncate(at),
        _ => {}
    }
    let packet = ipv4(17, &udp((49152, 443), &datagram));
    invariants::parse(link_type::RAW, &packet, packet.len() as u32);
}
