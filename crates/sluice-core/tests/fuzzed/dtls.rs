//! Datagrams with the records of a DTLS hello, mostly as they should be.

use sluice_npi::link_type;

use super::choices::Choices;
use super::invariants;
use super::packets::{extension, hello, ipv4, server_name, udp};

/// A hello, without the header of its message.
fn body(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut extensions = Vec::new();
    for _ in 0..choices.byte() % 4 {
        let contents = choices.bytes(40);
        extensions.extend(match choices.byte() {
            ..0x80 => server_name(&contents),
            kind => extension(kind.into(), &contents),
        });
    }
    let message = hello(&extensions);
    let (before, behind) = message[6..].split_at(32 + 33);
    let cookie = choices.bytes(40);
    let length = choices.mostly(cookie.len()) as u8;
    [&[0xFE, 0xFD], before, &[length], &cookie, behind].concat()
}

pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let body = body(&mut choices);
    let mut datagram = Vec::new();
    while !choices.is_used_up() && datagram.len() < 2_000 {
        let mut contents = Vec::new();
        for _ in 0..=choices.byte() % 3 {
            let start = (usize::from(choices.byte()) * 2).min(body.len());
            let end = (start + usize::from(choices.byte()) * 2).min(body.len());
            contents.push(choices.mostly(1) as u8);
            for number in [body.len(), usize::from(choices.byte() >> 7), start, end - start] {
                let number = choices.mostly(number).to_be_bytes();
                contents.extend([0, number[0], number[1]]);
            }
            // The number of a message has two bytes.
            contents.remove(contents.len() - 9);
            contents.extend(&body[start..end]);
        }
        let [kind, epoch] = [22, 0].map(|right| choices.mostly(right) as u8);
        let length = choices.mostly(contents.len()).to_be_bytes();
        datagram.extend([kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 0, length[0], length[1]]);
        datagram.extend(contents);
    }
    let packet = ipv4(17, &udp((49152, 4433), &datagram));
    invariants::parse(link_type::RAW, &packet, packet.len() as u32);
}
