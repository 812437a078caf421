//! Packets that are mostly as they should be: the input chooses layers and what is wrong with them, so that the deep
//! layers are reached. Ethernet alone, with the layers below in all orders.

use super::choices::Choices;
use super::invariants;

fn name(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut name = Vec::new();
    for _ in 0..choices.byte() % 6 {
        let label = choices.bytes(20);
        name.push(choices.mostly(label.len()) as u8);
        name.extend(label);
    }
    name.push(choices.mostly(0) as u8);
    name
}

/// Makes an answer of a question.
fn answers(choices: &mut Choices<'_>, message: &mut Vec<u8>) {
    let count = choices.byte() % 12;
    (message[2], message[7]) = (0x81, choices.mostly(count.into()) as u8);
    for _ in 0..count {
        message.extend([0xC0, choices.mostly(12) as u8]);
        let kind = [1, 5, 5, 5, 39, 64, 65, 16][usize::from(choices.byte() % 8)];
        let mut data = if kind >= 64 { vec![0, 1] } else { Vec::new() };
        match choices.byte() % 3 {
            0 => data.extend([0xC0, choices.byte()]),
            1 => data.extend([&[1, b'a', 0xC0][..], &[choices.byte()]].concat()),
            _ => data.extend(name(choices)),
        }
        message.extend([0, kind, 0, 1, 0, 0, 0, 60]);
        message.extend(with_length(choices, data));
    }
}

fn with_length(choices: &mut Choices<'_>, bytes: Vec<u8>) -> Vec<u8> {
    [choices.mostly(bytes.len()).to_be_bytes().to_vec(), bytes].concat()
}

fn application(choices: &mut Choices<'_>) -> (u16, Vec<u8>) {
    let kind = choices.byte();
    match kind % 5 {
        0 => {
            let questions = choices.mostly(1).to_be_bytes();
            let mut message = vec![0, 1, 1, 0, questions[0], questions[1], 0, 0, 0, 0, 0, 0];
            message.extend(name(choices));
            message.extend([0, 1, 0, 1]);
            if kind >= 150 {
                answers(choices, &mut message);
            }
            (53, message)
        }
        1 => {
            let host = choices.bytes(40);
            let host = with_length(choices, host);
            let kind = choices.mostly(0) as u8;
            let list = with_length(choices, [vec![kind], host].concat());
            let extension = with_length(choices, list);
            let before = choices.bytes(8);
            let before = [vec![0, 9], with_length(choices, before)].concat();
            let extensions = with_length(choices, [before, vec![0, 0], extension].concat());
            let mut hello = vec![3, 3];
            hello.resize(34, 7);
            hello.extend([0, 0, 2, 0x13, 1, 1, 0]);
            hello.extend(extensions);
            let handshake = [vec![1, 0], with_length(choices, hello)].concat();
            (443, [vec![22, 3, 1], with_length(choices, handshake)].concat())
        }
        2 => {
            let host = choices.bytes(30);
            (
                80,
                [b"GET / HTTP/1.1\r\nHost: ".to_vec(), host, b"\r\n".to_vec(), choices.bytes(30), b"\r\n".to_vec()]
                    .concat(),
            )
        }
        3 => {
            let id = choices.bytes(25);
            (443, [vec![choices.mostly(0xC0) as u8, 0, 0, 0, 1, choices.mostly(id.len()) as u8], id, vec![0]].concat())
        }
        _ => (u16::from(choices.byte()), choices.bytes(60)),
    }
}

fn transport(choices: &mut Choices<'_>) -> (u8, Vec<u8>) {
    let (port, payload) = application(choices);
    let ports = [[0x12, 0x34], port.to_be_bytes()].concat();
    match choices.byte() % 8 {
        0..3 => {
            let length = choices.mostly(8 + payload.len()).to_be_bytes().to_vec();
            (17, [ports, length, vec![0, 0], payload].concat())
        }
        3..6 => {
            let offset = (choices.mostly(5) as u8) << 4;
            let header = vec![0, 0, 0, 1, 0, 0, 0, 1, offset, choices.byte(), 0, 0, 0, 0, 0, 0];
            let payload = if port == 53 { with_length(choices, payload) } else { payload };
            (6, [ports, header, payload].concat())
        }
        6 => (choices.byte(), choices.bytes(30)),
        _ => ([1, 2, 33, 47, 50, 58, 132, 136][usize::from(choices.byte() % 8)], [ports, choices.bytes(30)].concat()),
    }
}

fn network(choices: &mut Choices<'_>) -> (u16, Vec<u8>) {
    let (protocol, payload) = transport(choices);
    ip(choices, protocol, payload)
}

fn ip(choices: &mut Choices<'_>, mut protocol: u8, mut payload: Vec<u8>) -> (u16, Vec<u8>) {
    if choices.byte().is_multiple_of(2) {
        let mut options = choices.bytes(41);
        options.resize(options.len().next_multiple_of(4), 0);
        let header = 20 + options.len();
        let fragment = if choices.byte() > 200 { [choices.byte(), choices.byte()] } else { [0, 0] };
        let total = choices.mostly(header + payload.len()).to_be_bytes();
        let first = 0x40 | (header / 4) as u8;
        let mut packet = vec![choices.mostly(first.into()) as u8, 0, total[0], total[1], 0, 1];
        packet.extend(fragment);
        packet.extend([64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        packet.extend(options);
        packet.extend(payload);
        return (0x0800, packet);
    }
    for _ in 0..choices.byte() % 4 {
        let kind = [0, 43, 44, 51, 60, 135, 139, 140][usize::from(choices.byte() % 8)];
        let mut header = vec![protocol, choices.mostly(0) as u8];
        header.extend((0..6).map(|_| choices.byte()));
        payload = [header, payload].concat();
        protocol = kind;
    }
    let length = choices.mostly(payload.len()).to_be_bytes();
    let mut packet = vec![choices.mostly(0x60) as u8, 0, 0, 0, length[0], length[1], protocol, 64];
    packet.resize(40, 0x20);
    packet.extend(payload);
    (0x86DD, packet)
}

/// A packet in a tunnel, as its EtherType and its bytes.
fn tunnelled(choices: &mut Choices<'_>, number: u16, payload: Vec<u8>) -> (u16, Vec<u8>) {
    let frame = [vec![0; 12], number.to_be_bytes().to_vec(), payload.clone()].concat();
    let number = number.to_be_bytes();
    let (protocol, port, contents) = match choices.byte() % 10 {
        0 => (if number == [8, 0] { 4 } else { 41 }, 0, payload),
        1 => {
            let flags = choices.byte();
            let optional = 4 * [0x80, 0x20, 0x10].iter().filter(|bit| flags & **bit != 0).count();
            let header = vec![flags, choices.mostly(0) as u8, number[0], number[1]];
            (47, 0, [header, vec![0; optional], payload].concat())
        }
        2 => (47, 0, [vec![0x20, 0, 0x65, 0x58, 0, 0, 0, 1], frame].concat()),
        3 => (47, 0, [vec![0x10, 0, 0x88, 0xBE, 0, 0, 0, 1, choices.mostly(0x10) as u8], vec![0; 7], frame].concat()),
        4 => {
            let longer = choices.byte() & 1;
            let header = [vec![0x10, 0, 0x22, 0xEB, 0, 0, 0, 1, 0x20], vec![0; 10], vec![longer]].concat();
            (47, 0, [header, vec![0; usize::from(longer) * 8], frame].concat())
        }
        5 => {
            let ppp = if number == [8, 0] { 0x21 } else { 0x57 };
            let header = vec![choices.mostly(0x30) as u8, 0x81, 0x88, 0x0B, 0, 9, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1];
            (47, 0, [header, vec![0, ppp], payload].concat())
        }
        6 => (17, 4789, [vec![choices.mostly(8) as u8, 0, 0, 0, 0, 0, 1, 0], frame].concat()),
        8 => (143, 0, frame),
        7 => {
            let header = vec![choices.mostly(0x0C) as u8, 0, 0, choices.mostly(3) as u8, 0, 0, 1, 0];
            (17, 4790, [header, frame].concat())
        }
        _ => {
            let options = choices.bytes(64);
            let options = &options[..options.len() / 4 * 4];
            let first = choices.mostly(options.len() / 4) as u8;
            (17, 6081, [&[first, 0, 0x65, 0x58, 0, 0, 1, 0], options, &frame].concat())
        }
    };
    let contents = if protocol == 17 {
        let length = choices.mostly(8 + contents.len()).to_be_bytes();
        [vec![0x12, 0x34], u16::to_be_bytes(port).to_vec(), length.to_vec(), vec![0, 0], contents].concat()
    } else {
        contents
    };
    ip(choices, protocol, contents)
}

/// What an EtherType stands for, in something that has an EtherType of its own.
fn encapsulated(choices: &mut Choices<'_>, number: u16, payload: Vec<u8>) -> (u16, Vec<u8>) {
    let ppp = if number == 0x0800 { 0x21 } else { 0x57 };
    let (outer, mut header) = match choices.byte() % 10 {
        0 => (0x8926, vec![0; 4]),
        1 => (0x893F, vec![0; 6]),
        2 => (0x88E7, vec![0; 16]),
        3 => (0x8903, vec![0; 14]),
        4 => (0xD28B, [vec![0, 1, 0, 0x10], vec![0; 8]].concat()),
        5 => (0x88E5, vec![choices.mostly(0) as u8, 0, 0, 0, 0, 0]),
        6 => (0x894F, [vec![0, choices.mostly(2) as u8, 0, 3], vec![0; 16]].concat()),
        7 => {
            let length = choices.mostly(payload.len() + 2).to_be_bytes();
            let header = [0x11, choices.mostly(0) as u8, 0, 1, length[0], length[1], 0, ppp].to_vec();
            return (0x8864, [header, payload].concat());
        }
        8 => (0x8909, vec![1, choices.mostly(1) as u8, 0, 1, 0, 0]),
        _ => return (0x8847, [vec![0, 0, choices.mostly(1) as u8, 64], payload].concat()),
    };
    header.extend(number.to_be_bytes());
    header.extend(payload);
    (outer, header)
}

pub fn run(data: &[u8]) {
    let choices = &mut Choices::new(data);
    let (mut number, mut payload) = network(choices);
    if choices.byte() > 230 {
        // LLC and SNAP: a length in place of the EtherType.
        payload = [vec![0xAA, 0xAA, 3, 0, 0, choices.mostly(0) as u8], number.to_be_bytes().to_vec(), payload].concat();
        number = choices.mostly(payload.len());
    }
    for _ in 0..choices.byte() % 3 {
        payload = [vec![0, choices.byte()], number.to_be_bytes().to_vec(), payload].concat();
        number = [0x8100, 0x88A8, 0x9100, 0x88E5][usize::from(choices.byte() % 4)];
    }
    let lost = usize::from(choices.byte().saturating_sub(200));
    for _ in 0..choices.byte() % 4 {
        (number, payload) = encapsulated(choices, number, payload);
    }
    // Behind all other choices, so that what an input means does not change.
    for _ in 0..choices.byte() % 8 {
        (number, payload) = tunnelled(choices, number, payload);
    }
    let mut frame = vec![0; 12];
    frame.extend(number.to_be_bytes());
    frame.extend(payload);
    let wire_length = frame.len() as u32;
    let kept = frame.len().saturating_sub(lost);
    invariants::parse(1, &frame[..kept], wire_length);
}
