//! Thousands of beginnings of conversations, as different as standards and servers allow: the name that a server takes
//! is found in each, or the packet says that one is missing or that it is malformed.
//!
//! Every test makes the same shapes in every run, unless SHAPES_SEED names another seed. SHAPES says how many of each
//! kind, instead of the usual number. Where OpenSSL and nginx are installed, these are asked what they take for the
//! name ([`servers`], [`datagrams`]).

#[path = "../common/mod.rs"]
mod common;
mod datagrams;
mod servers;

use std::env;

use common::packets::{
    client_hello, extension, hello, ipv4, over_tcp, over_udp, query, record, server_name, udp, with_name,
};
use common::quic::{Initial, VERSION_1, VERSION_2, crypto};
use fastrand::Rng;
use sluice_npi::{Flow, flags, name_kind};

/// The name that the conversation is about, and one that is put in the way.
const NAME: &str = "bad.example";
const OTHER: &str = "good.example";

fn from_environment(name: &str, usual: u64) -> u64 {
    let Ok(text) = env::var(name) else {
        return usual;
    };
    text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, and has to be a number"))
}

fn shapes(kind: &str, usual: u64, shape: impl FnMut(&mut Rng)) {
    so_many_shapes(kind, from_environment("SHAPES", usual), shape);
}

fn so_many_shapes(kind: &str, count: u64, mut shape: impl FnMut(&mut Rng)) {
    let seed = from_environment("SHAPES_SEED", 1);
    for number in 0..count {
        let shape_seed = seed << 32 | number;
        let panicked = Reported { kind, seed: shape_seed };
        shape(&mut Rng::with_seed(shape_seed));
        std::mem::forget(panicked);
    }
}

/// Names the shape that is tried if the test panics.
struct Reported<'kind> {
    kind: &'kind str,
    seed: u64,
}

impl Drop for Reported<'_> {
    fn drop(&mut self) {
        eprintln!("{} shape {:#x}", self.kind, self.seed);
    }
}

/// Asserts that nothing is hidden: the name is found, or the packet says that something is wrong or missing.
fn assert_open(flow: &Flow, name: &str, stream: &[u8]) {
    let says = flow.flags & (flags::NAME_MISSING | flags::MALFORMED) != 0;
    assert!(says || name.eq_ignore_ascii_case(NAME), "{name:?} in {}", stream.escape_ascii());
}

/// Asserts that the name is found, and nothing is said.
fn assert_found(flow: &Flow, name: &str, stream: &[u8]) {
    assert_eq!(flow.flags & (flags::NAME_MISSING | flags::MALFORMED), 0, "{}", stream.escape_ascii());
    assert_eq!(name.to_ascii_lowercase(), NAME, "{}", stream.escape_ascii());
}

fn random_case(rng: &mut Rng, text: &str) -> String {
    text.chars().map(|letter| if rng.bool() { letter.to_ascii_uppercase() } else { letter }).collect()
}

fn any_ports(rng: &mut Rng, server: u16) -> (u16, u16) {
    (*rng.choice(&[53, 5353, 5355, 443, 80, 49152]).unwrap(), *rng.choice(&[server, 8443, 25]).unwrap())
}

/// Extensions around the server name: as many as there is room for, in any order.
fn extensions(rng: &mut Rng) -> Vec<u8> {
    let mut all = vec![server_name(random_case(rng, NAME).as_bytes())];
    for _ in 0..*rng.choice(&[0, 1, 5, 20, 65, 120]).unwrap() {
        let kind = rng.u16(0x1000..0xFA00);
        let length = *rng.choice(&[0, 1, 2, 30]).unwrap();
        all.push(extension(kind, &vec![rng.u8(..); length]));
    }
    rng.shuffle(&mut all);
    all.concat()
}

/// The message of a record in records of its own, split where `rng` likes, with empty records between.
fn split_into_records(rng: &mut Rng, hello: &[u8]) -> Vec<u8> {
    let mut message = &hello[5..];
    let mut stream = Vec::new();
    let parts = *rng.choice(&[1, 1, 2, 2, 3, 6]).unwrap();
    for _ in 1..parts {
        let (part, rest) = message.split_at(rng.usize(0..=message.len()));
        stream.extend(record(22, part));
        message = rest;
    }
    if !message.is_empty() || stream.is_empty() {
        stream.extend(record(22, message));
    }
    stream
}

fn tls_stream(rng: &mut Rng) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..*rng.choice(&[0, 0, 0, 1, 3]).unwrap() {
        stream.extend(rng.choice(&[record(20, &[1]), record(22, &[])]).unwrap());
    }
    let hello = client_hello(&extensions(rng));
    stream.extend(split_into_records(rng, &hello));
    stream
}

#[test]
fn a_client_hello_hides_its_name_in_no_shape() {
    shapes("TLS", 8_000, |rng| {
        let stream = tls_stream(rng);
        let (flow, name) = over_tcp(any_ports(rng, 443), &stream);
        assert_open(&flow, &name, &stream);
        if stream.windows(NAME.len()).any(|bytes| bytes.eq_ignore_ascii_case(NAME.as_bytes())) {
            let (flow, name) = over_tcp((49152, 443), &stream);
            assert_found(&flow, &name, &stream);
        }
        let cut = &stream[..rng.usize(1..stream.len())];
        let (flow, name) = over_tcp(any_ports(rng, 443), cut);
        // A segment that ends before the hello begins has nothing to say of it.
        let is_before = start_of_hello(&stream).is_some_and(|start| cut.len() <= start) && ends_a_record(cut);
        if !is_before {
            assert_open(&flow, &name, cut);
        }
    });
}

/// Where the first record with something of the hello in it starts.
fn start_of_hello(stream: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some([kind, _, _, high, low]) = stream.get(at..at + 5).and_then(<[u8]>::first_chunk) {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if *kind == 22 && length != 0 {
            return Some(at);
        }
        at += 5 + length;
    }
    None
}

fn ends_a_record(stream: &[u8]) -> bool {
    let mut rest = stream;
    while let Some(([_, _, _, high, low], behind)) = rest.split_first_chunk::<5>() {
        let Some(next) = behind.get(usize::from(u16::from_be_bytes([*high, *low]))..) else {
            return false;
        };
        rest = next;
    }
    rest.is_empty()
}

/// A request, and whether it has a second Host.
fn request(rng: &mut Rng) -> (Vec<u8>, bool) {
    let end = *rng.choice(&["\r\n", "\r\n", "\n"]).unwrap();
    let method = *rng.choice(&["GET", "POST", "PROPFIND", "M-SEARCH", "VERSION-CONTROL", "X", "BREW"]).unwrap();
    let name = random_case(rng, NAME);
    let port = *rng.choice(&["", ":80", ":8080", ":"]).unwrap();
    let scheme = *rng.choice(&["http", "HTTP", "https"]).unwrap();
    let path = format!("/{}", "a".repeat(*rng.choice(&[0, 1, 100, 3000]).unwrap()));
    let (line, host) = match rng.u8(0..8) {
        0 => (format!("{method} {scheme}://{name}{port}{path}"), OTHER.to_owned()),
        1 => (format!("CONNECT {name}:443"), rng.choice(&[OTHER, NAME]).unwrap().to_string()),
        2 => ("OPTIONS *".to_owned(), format!("{name}{port}")),
        _ => (format!("{method} {path}"), format!("{name}{port}")),
    };
    let mut fields =
        vec![format!("{}:{}{host}", random_case(rng, "Host"), rng.choice(&["", " ", "\t ", "   "]).unwrap())];
    for number in 0..rng.usize(0..12) {
        fields.push(format!("X-{number}: {}", "b".repeat(rng.usize(0..200))));
    }
    let mut has_two = false;
    if rng.u8(0..8) == 0 {
        let fault = rng.choice(&["Host: good.example", " folded", "No colon", "Space : a", "Return: a\rb"]).unwrap();
        has_two = fault.starts_with("Host");
        fields.push((*fault).to_owned());
    }
    rng.shuffle(&mut fields);
    let before = rng.choice(&["", "", "\r\n", "\n", "\r\n\r\n\n"]).unwrap();
    let version = rng.choice(&["HTTP/1.1", "HTTP/1.0"]).unwrap();
    let mut text = format!("{before}{line} {version}{end}");
    for field in fields {
        text.extend([&field, end]);
    }
    text.push_str(end);
    if rng.u8(0..6) == 0 {
        text.push_str(&format!("GET / HTTP/1.1\r\nHost: {OTHER}\r\n\r\n"));
    }
    (text.into_bytes(), has_two)
}

#[test]
fn a_request_hides_its_host_in_no_shape() {
    shapes("HTTP", 8_000, |rng| {
        let (stream, has_two) = request(rng);
        let (flow, name) = over_tcp(any_ports(rng, 80), &stream);
        assert_open(&flow, &name, &stream);
        let cut = &stream[..rng.usize(1..stream.len())];
        // Of two hosts only the first may be here.
        if !has_two && cut.iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
            let (flow, name) = over_tcp(any_ports(rng, 80), cut);
            assert_open(&flow, &name, cut);
        }
    });
}

/// Frames with a hello in pieces, in any order, with other frames between them.
fn frames(rng: &mut Rng, hello: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut at = 0;
    while at < hello.len() {
        let most = *rng.choice(&[40, 300, hello.len()]).unwrap();
        let end = (at + rng.usize(1..=most)).min(hello.len());
        frames.push(crypto(at, &hello[at..end]));
        at = end;
        if rng.u8(0..4) == 0 {
            frames.push(
                rng.choice(&[vec![1], vec![0; 20], vec![2, 4, 0, 1, 0, 1, 1], vec![3, 4, 0, 0, 4, 1, 2, 3]])
                    .unwrap()
                    .clone(),
            );
        }
    }
    if rng.bool() {
        rng.shuffle(&mut frames);
    }
    frames
}

#[test]
fn a_quic_datagram_hides_its_name_in_no_shape() {
    shapes("QUIC", 4_000, |rng| {
        let hello = hello(&extensions(rng));
        let frames = frames(rng, &hello);
        let count = rng.usize(1..=3.min(frames.len()));
        let base = Initial {
            version: *rng.choice(&[VERSION_1, VERSION_2]).unwrap(),
            destination: (0..rng.u8(8..=20)).collect(),
            source: (0..rng.u8(0..=20)).collect(),
            token: vec![5; *rng.choice(&[0, 0, 70]).unwrap()],
            number_length: rng.usize(1..=4),
            ..Initial::default()
        };
        let packets: Vec<Vec<u8>> = (0..)
            .zip(frames.chunks(frames.len().div_ceil(count)))
            .map(|(number, frames)| {
                Initial { number, frames: [frames.concat(), vec![0; 20]].concat(), ..base.clone() }.encrypted()
            })
            .collect();
        let ports = any_ports(rng, 443);
        let read = |datagram: &[u8]| with_name(&ipv4(17, &udp(ports, datagram)));
        let datagram = packets.concat();
        let (flow, name) = read(&datagram);
        assert_open(&flow, &name, &datagram);
        let crypto_frames = frames.iter().filter(|frame| frame[0] == 6).count();
        if crypto_frames <= 32 {
            assert_found(&flow, &name, &datagram);
        }
        // Only some of the packets, and a datagram that is cut.
        let part = &packets[rng.usize(0..packets.len())];
        let (flow, name) = read(part);
        assert_open(&flow, &name, part);
        let cut = &datagram[..rng.usize(60..datagram.len())];
        let (flow, name) = read(cut);
        assert_open(&flow, &name, cut);
    });
}

fn dns_message(rng: &mut Rng) -> Vec<u8> {
    let mut message = vec![rng.u8(..), rng.u8(..), rng.u8(0..2), 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in random_case(rng, NAME).split('.') {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.extend([0, 0, *rng.choice(&[1, 28, 65]).unwrap(), 0, 1]);
    if rng.bool() {
        message[11] = 1;
        message.extend([0, 0, 41, 4, 0xD0, 0, 0, 0, 0, 0, 0]);
    }
    message
}

#[test]
fn a_question_hides_its_name_in_no_shape() {
    let text = |name: &str| name.trim_start_matches('\u{3}').replace('\u{7}', ".").to_ascii_lowercase();
    shapes("DNS", 4_000, |rng| {
        let port = *rng.choice(&[53, 5353, 5355]).unwrap();
        let message = dns_message(rng);
        let flow = over_udp((49152, port), &message);
        assert_eq!((flow.name_kind, flow.flags & (flags::NAME_MISSING | flags::MALFORMED)), (name_kind::DNS, 0));
        let in_stream = |message: &[u8]| [(message.len() as u16).to_be_bytes().as_slice(), message].concat();
        let mut stream = in_stream(&message);
        let (flow, name) = over_tcp((49152, port), &stream);
        assert_found(&flow, &text(&name), &stream);
        // Another question in front, or behind.
        if rng.bool() {
            stream = [in_stream(&query()), stream].concat();
        } else {
            stream.extend(in_stream(&query()));
        }
        let (flow, name) = over_tcp((49152, port), &stream);
        assert_open(&flow, &text(&name), &stream);
        let cut = &stream[..rng.usize(1..stream.len())];
        let (flow, name) = over_tcp((49152, port), cut);
        assert!(text(&name).contains("example") || flow.has(flags::NAME_MISSING), "{}", cut.escape_ascii());
    });
}
