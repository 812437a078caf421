//! Datagrams of DTLS, and what OpenSSL takes for the name in them.
//!
//! OpenSSL is asked twice: about all datagrams of a shape, and about those that a policy passes which blocks the name,
//! what lacks one and what is malformed. These must never bring it to answer for the name.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use sluice_npi::{Flow, flags};

use crate::common::packets::{hello, ipv4, udp, with_name};
use crate::servers::{self, acceptable_hello, certificates};
use crate::{NAME, OTHER, any_ports, assert_found, assert_open, extensions, from_environment, shapes, so_many_shapes};

/// The types of records.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// The types of messages.
const CLIENT_HELLO: u8 = 1;
const HELLO_VERIFY_REQUEST: u8 = 3;

fn read(ports: (u16, u16), datagram: &[u8]) -> (Flow, String) {
    with_name(&ipv4(17, &udp(ports, datagram)))
}

fn three(number: usize) -> Vec<u8> {
    (number as u32).to_be_bytes()[1..].to_vec()
}

/// The body of a hello of TLS as one of DTLS: with its version, and a cookie behind the session id.
fn with_cookie(message: &[u8], cookie: &[u8]) -> Vec<u8> {
    let (before, behind) = message[6..].split_at(32 + 33);
    [&[0xFE, 0xFD], before, &[cookie.len() as u8], cookie, behind].concat()
}

fn any_cookie(rng: &mut Rng) -> Vec<u8> {
    vec![rng.u8(..); *rng.choice(&[0, 0, 20, 255]).unwrap()]
}

/// A part of the message whose body this is.
fn fragment(body: &[u8], number: u8, start: usize, end: usize) -> Vec<u8> {
    let [length, start_at, fragment_length] = [body.len(), start, end - start].map(three);
    [&[CLIENT_HELLO], length.as_slice(), &[0, number], &start_at, &fragment_length, &body[start..end]].concat()
}

/// The message in fragments that overlap, in any order.
fn fragments(rng: &mut Rng, body: &[u8], number: u8) -> Vec<Vec<u8>> {
    let mut fragments = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let end = (at + rng.usize(1..=body.len())).min(body.len());
        let start = at - rng.usize(0..=at.min(9));
        fragments.push(fragment(body, number, start, end));
        at = end;
    }
    if rng.bool() {
        rng.shuffle(&mut fragments);
    }
    fragments
}

/// A record before it is numbered.
#[derive(Clone)]
struct Record {
    kind: u8,
    version: [u8; 2],
    epoch: u8,
    contents: Vec<u8>,
}

impl Record {
    fn of(kind: u8, epoch: u8, contents: &[u8]) -> Self {
        Self { kind, version: [0xFE, 0xFF - 2 * (epoch & 1)], epoch, contents: contents.to_vec() }
    }

    fn numbered(&self, number: u32) -> Vec<u8> {
        let mut record = [self.kind, self.version[0], self.version[1], 0, self.epoch, 0, 0].to_vec();
        record.extend(number.to_be_bytes());
        record.extend((self.contents.len() as u16).to_be_bytes());
        record.extend(&self.contents);
        record
    }
}

/// The fragments in records, with other records between them.
fn records(rng: &mut Rng, fragments: &[Vec<u8>]) -> Vec<Record> {
    let in_one = rng.usize(1..3);
    let mut records: Vec<_> =
        fragments.chunks(in_one).map(|fragments| Record::of(HANDSHAKE, 0, &fragments.concat())).collect();
    for _ in 0..rng.usize(0..3) {
        let others = [
            Record::of(CHANGE_CIPHER_SPEC, 0, &[1]),
            Record::of(APPLICATION_DATA, 1, &[9; 30]),
            Record::of(HANDSHAKE, 5, &[1; 40]),
        ];
        records.insert(rng.usize(1..=records.len()), rng.choice(others).unwrap());
    }
    records
}

#[test]
fn a_dtls_datagram_hides_its_name_in_no_shape() {
    shapes("DTLS", 4_000, |rng| {
        let extensions = extensions(rng);
        let body = with_cookie(&hello(&extensions), &any_cookie(rng));
        let number = rng.u8(0..2);
        let fragments = fragments(rng, &body, number);
        let records: Vec<_> = records(rng, &fragments).iter().map(|record| record.numbered(0)).collect();
        let datagram = records.concat();
        let ports = any_ports(rng, 4433);
        let (flow, name) = read(ports, &datagram);
        assert_open(&flow, &name, &datagram);
        if records.len() <= 8 && !matches!(ports.0, 53 | 5353 | 5355) {
            assert_found(&flow, &name, &datagram);
        }
        let part = records.iter().filter(|_| rng.bool()).flatten().copied().collect::<Vec<u8>>();
        if part.starts_with(&[HANDSHAKE]) && part[4] == 0 {
            let (flow, name) = read(ports, &part);
            assert_open(&flow, &name, &part);
        }
        let cut = &datagram[..rng.usize(14..datagram.len())];
        let (flow, name) = read(ports, cut);
        assert_open(&flow, &name, cut);
    });
}

/// A hello that OpenSSL may accept, in datagrams: in fragments as above, with copies of them that name another host and
/// records that are dropped, and in any order. It is the second of its connection, which brings a cookie.
fn datagrams(rng: &mut Rng, cookie: &[u8]) -> Vec<Vec<u8>> {
    let body = with_cookie(&acceptable_hello(rng)[5..], cookie);
    let mut fragments = fragments(rng, &body, 1);
    if rng.u8(0..4) == 0 {
        // Of the same length, so that they can be parts of one message.
        let other = replaced(&body, NAME, "odd.example");
        let start = rng.usize(0..body.len());
        let decoy = match rng.u8(0..3) {
            0 => fragment(&other, 1, 0, other.len()),
            1 => fragment(&other, 1, start, rng.usize(start..=other.len())),
            _ => fragment(&other, 0, 0, other.len()),
        };
        fragments.insert(rng.usize(0..=fragments.len()), decoy);
    }
    let mut records = records(rng, &fragments);
    if rng.u8(0..4) == 0 {
        let at = rng.usize(0..=records.len());
        let mut record = records.get(at).unwrap_or(&records[0]).clone();
        match rng.u8(0..5) {
            0 => record.contents.clear(),
            1 => record = Record::of(ALERT, 0, &[1, 90]),
            2 => record.version[1] ^= 2,
            3 if at != 0 => (record.version, record.contents) = ([3, 3], Vec::new()),
            _ => {}
        }
        records.insert(at, record);
    }
    // A record whose number was there is dropped.
    let mut next = 1;
    let numbered: Vec<_> = records
        .iter()
        .map(|record| {
            next += u32::from(rng.u8(0..12) != 0);
            record.numbered(next)
        })
        .collect();
    let in_one = *rng.choice(&[1, 2, 3, numbered.len()]).unwrap();
    let mut datagrams: Vec<_> = numbered.chunks(in_one).map(<[_]>::concat).collect();
    if rng.u8(0..4) == 0 {
        rng.shuffle(&mut datagrams);
    }
    datagrams
}

/// `bytes` with another text of the same length, whatever its case, in place of one.
fn replaced(bytes: &[u8], text: &str, other: &str) -> Vec<u8> {
    assert_eq!(text.len(), other.len());
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len() - text.len() {
        let here = &mut bytes[at..at + text.len()];
        if here.eq_ignore_ascii_case(text.as_bytes()) {
            here.copy_from_slice(other.as_bytes());
        }
    }
    bytes
}

/// The datagrams that a policy passes which blocks the name, what lacks one and what is malformed.
fn passed(datagrams: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let passes = |datagram: &&Vec<u8>| {
        let (flow, name) = read((49152, 4433), datagram);
        flow.flags & (flags::NAME_MISSING | flags::MALFORMED) == 0 && !name.eq_ignore_ascii_case(NAME)
    };
    datagrams.iter().filter(passes).cloned().collect()
}

/// `openssl s_server` for DTLS 1.2, until it is dropped.
struct Server {
    command: Command,
    process: Child,
    address: SocketAddr,
}

/// What the server answers with.
enum Answer {
    /// The certificate for a name.
    Certificate(&'static str),
    /// The cookie of a HelloVerifyRequest.
    Cookie(Vec<u8>),
}

impl Answer {
    /// `None` if nothing comes at once, for an alert, and for a part of an answer that says nothing.
    fn next(client: &UdpSocket) -> Option<Self> {
        let mut datagram = [0; 4096];
        let length = client.recv(&mut datagram).ok()?;
        let datagram = &datagram[..length];
        if datagram[0] == HANDSHAKE && datagram[13] == HELLO_VERIFY_REQUEST {
            // Behind the headers of record and message: a version, and the cookie with its length.
            return Some(Self::Cookie(datagram[13 + 12 + 3..].to_vec()));
        }
        let has = |name: &&str| datagram.windows(name.len()).any(|bytes| bytes == name.as_bytes());
        [NAME, OTHER].into_iter().find(has).map(Self::Certificate)
    }
}

impl Server {
    /// Starts a server whose files are in this folder, and waits for its answer. `None` if openssl is not installed.
    fn start(folder: &str, arguments: &[&str]) -> Option<Self> {
        let folder = servers::folder(folder);
        certificates(&folder)?;
        let address = client().local_addr().expect("it has an address");
        let mut command = Command::new("openssl");
        command.current_dir(&folder).args(["s_server", "-quiet", "-dtls1_2", "-accept", &address.to_string()]);
        for (name, certificate, key) in [(OTHER, "-cert", "-key"), (NAME, "-cert2", "-key2")] {
            command.args([certificate, &format!("{name}.pem"), key, &format!("{name}.key")]);
        }
        command.args(["-servername", NAME]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().ok()?;
        let server = Self { command, process, address };
        server.wait();
        Some(server)
    }

    fn wait(&self) {
        let client = client();
        until_answered(|| {
            self.end(&client);
            Answer::next(&client)
        });
    }

    /// Starts it again if it has ended: some datagrams bring it to.
    fn revive(&mut self) -> bool {
        let has_ended = self.process.try_wait().is_ok_and(|status| status.is_some());
        if has_ended {
            self.process = self.command.spawn().expect("it was started before");
            self.wait();
        }
        has_ended
    }

    /// Where nobody listens yet, this may be an error.
    fn send(&self, client: &UdpSocket, datagram: &[u8]) {
        drop(client.send_to(datagram, self.address));
    }

    /// Ends the connection of the server, if there is one, and begins another, which asks for a cookie.
    fn end(&self, client: &UdpSocket) {
        self.send(client, &Record::of(ALERT, 0, &[2, 40]).numbered(u32::MAX));
        let body = with_cookie(&hello(&[]), &[]);
        self.send(client, &Record::of(HANDSHAKE, 0, &fragment(&body, 0, 0, body.len())).numbered(0));
    }

    /// Begins a connection, and answers with the cookie that the server asks for: the same for all of a client.
    fn cookie(&self, client: &UdpSocket) -> Vec<u8> {
        self.end(client);
        until_answered(|| match Answer::next(client) {
            Some(Answer::Cookie(cookie)) => Some(cookie),
            _ => None,
        })
    }

    /// What the server answers to these datagrams behind its question for a cookie, before another connection.
    fn certificate_for(&mut self, client: &UdpSocket, datagrams: &[Vec<u8>]) -> Option<&'static str> {
        datagrams.iter().for_each(|datagram| self.send(client, datagram));
        self.end(client);
        let mut certificate = None;
        until_answered(|| match Answer::next(client) {
            Some(Answer::Certificate(name)) => {
                certificate = certificate.or(Some(name));
                None
            }
            Some(Answer::Cookie(_)) => Some(()),
            None => self.revive().then_some(()),
        });
        certificate
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Asks until there is an answer.
fn until_answered<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "the server does not answer");
    }
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time limit");
    socket
}

/// Asks a server about a shape. Answers whether it takes the name from all of its datagrams.
fn accepts(rng: &mut Rng, server: &mut Server) -> bool {
    let client = client();
    let cookie = server.cookie(&client);
    let datagrams = datagrams(rng, &cookie);
    let passed = passed(&datagrams);
    let taken = server.certificate_for(&client, &passed);
    assert_ne!(taken, Some(NAME), "{}", passed.concat().escape_ascii());
    server.certificate_for(&client, &datagrams) == Some(NAME)
}

#[test]
fn whatever_openssl_takes_for_the_name_of_datagrams_is_found_or_said_to_be_missing() {
    let Some(mut server) = Server::start("openssl-dtls", &[]) else {
        return;
    };
    let mut accepted = 0;
    shapes("OpenSSL DTLS", 2_000, |rng| accepted += u32::from(accepts(rng, &mut server)));
    println!("OpenSSL DTLS: {accepted} accepted");
    assert!(accepted > 0, "the server accepts none");
}

/// A server that keeps nothing of a client before its cookie: it serves one, and so there are as many as shapes.
#[test]
fn whatever_openssl_takes_for_the_name_without_state_is_found_or_said_to_be_missing() {
    if Server::start("openssl-listen", &["-listen"]).is_none() {
        return;
    }
    let mut accepted = 0;
    so_many_shapes("OpenSSL DTLS listen", from_environment("SHAPES", 2_000).div_ceil(100), |rng| {
        let mut server = Server::start("openssl-listen", &["-listen"]).expect("openssl is installed");
        accepted += u32::from(accepts(rng, &mut server));
    });
    println!("OpenSSL DTLS listen: {accepted} accepted");
    assert!(accepted > 0, "the server accepts none");
}
