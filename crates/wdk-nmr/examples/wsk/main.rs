//! A driver with sockets of Winsock Kernel. [`interface`] has the interface, [`client`] the driver with its datagram
//! sockets, [`stream`] its connections; WSK, which is not here, is played by a provider with a network of one machine,
//! which completes IRPs on a thread of its own.

#![allow(unreachable_pub, reason = "the modules are shown as they would be in a driver")]

mod client;
mod interface;
mod kernel;
mod network;
mod network_streams;
mod stream;

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use client::{DatagramSocket, OnDatagram, User};
use interface::{SocketAddress, VERSION_1_0};
use network::{STATUS_ADDRESS_ALREADY_EXISTS, winsock};
use nmr_registrar as _;
use stream::{Connection, Listener, OnStream};
use wdk_nmr::{ClientRegistration, HeldProvider, ModuleId, NTSTATUS, Passive, Resident};

/// Holds nothing, since a program stays where it is. A driver holds a reference to its DRIVER_OBJECT.
#[derive(Clone, Copy)]
struct Program;

// SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
unsafe impl Resident for Program {}

/// What came by the events of datagram sockets.
static EVENTS: Mutex<Vec<(Vec<u8>, SocketAddress)>> = Mutex::new(Vec::new());

static NOTE: OnDatagram = |bytes, remote| EVENTS.lock().unwrap().push((bytes.flatten().copied().collect(), remote));

fn address(port: u16) -> SocketAddress {
    SocketAddress { family: 2, port: port.to_be(), address: [127, 0, 0, 1], zero: [0; 8] }
}

/// Waits for WSK, and holds it.
fn capture(client: &ClientRegistration<User, Program>, passive: Passive<'_>) -> HeldProvider<User> {
    client::capture(client, Duration::from_secs(10), passive).expect("WSK is there")
}

/// The word of another thread of this program that it is at PASSIVE_LEVEL.
fn passive_here() -> Passive<'static> {
    // SAFETY: threads of a program are at PASSIVE_LEVEL, and this is no callback.
    unsafe { Passive::new() }
}

fn datagrams(client: &ClientRegistration<User, Program>, passive: Passive<'_>) {
    let open = |port| DatagramSocket::open(capture(client, passive), address(port), &NOTE, passive);
    let first = open(1000).expect("a socket");
    let second = open(2000).expect("another");
    assert_eq!(open(1000).err(), Some(STATUS_ADDRESS_ALREADY_EXISTS), "and its socket is closed again");

    assert_eq!(first.send_to(b"kept", address(2000), passive), Ok(4));
    let mut bytes = [0; 8];
    assert_eq!(second.receive_from(&mut bytes, passive), Ok((4, address(1000))));
    assert_eq!(&bytes[..4], b"kept");
    thread::scope(|scope| {
        // A receive that is pending until something comes.
        let receiving = scope.spawn(|| {
            let mut bytes = [0; 8];
            let received = first.receive_from(&mut bytes, passive_here());
            received.map(|(length, remote)| (bytes[..length].to_vec(), remote))
        });
        thread::sleep(Duration::from_millis(20));
        assert_eq!(second.send_to(b"awaited", address(1000), passive), Ok(7));
        assert_eq!(receiving.join().expect("no panic"), Ok((b"awaited".to_vec(), address(2000))));
    });
    second.enable_events().expect("enabled");
    assert_eq!(first.send_to(b"event", address(2000), passive), Ok(5));
    assert_eq!(*EVENTS.lock().unwrap(), [(b"event".to_vec(), address(1000))]);
    println!("three datagrams went from socket to socket");

    first.close(passive).expect("closed");
    second.close(passive).expect("closed");
}

/// What came by the events of connections.
static STREAM: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn note_stream(text: impl Into<String>) {
    STREAM.lock().unwrap().push(text.into());
}

static NOTE_STREAM: OnStream = OnStream {
    bytes: |bytes| bytes.for_each(|bytes| note_stream(String::from_utf8_lossy(bytes))),
    end: || note_stream("end"),
    broken: || note_stream("broken"),
};

fn connections(client: &ClientRegistration<User, Program>, passive: Passive<'_>) {
    const STATUS_CONNECTION_REFUSED: NTSTATUS = 0xC000_0236_u32.cast_signed();
    let connect =
        |from, to| Connection::open(capture(client, passive), address(from), address(to), &NOTE_STREAM, passive);
    assert_eq!(connect(5000, 4000).err(), Some(STATUS_CONNECTION_REFUSED), "nobody listens");
    let listener = Listener::open(capture(client, passive), address(4000), passive).expect("a socket");
    let twice = Listener::open(capture(client, passive), address(4000), passive);
    assert_eq!(twice.err(), Some(STATUS_ADDRESS_ALREADY_EXISTS));

    // One that is there before it is accepted, and one that is waited for.
    let first = connect(5000, 4000).expect("connected");
    let accept = || listener.accept(capture(client, passive_here()), &NOTE_STREAM, passive_here());
    let (server, remote) = accept().expect("accepted");
    assert_eq!(remote, address(5000));
    let (second, (other, remote)) = thread::scope(|scope| {
        let accepting = scope.spawn(accept);
        thread::sleep(Duration::from_millis(20));
        let second = connect(5001, 4000).expect("connected");
        (second, accepting.join().expect("no panic").expect("accepted"))
    });
    assert_eq!(remote, address(5001));

    // A stream: two sends may come in one piece, one send in several.
    assert_eq!(first.send(b"one ", passive), Ok(4));
    assert_eq!(first.send(b"stream", passive), Ok(6));
    let mut bytes = [0; 8];
    assert_eq!(server.receive(&mut bytes, passive), Ok(8));
    assert_eq!(&bytes, b"one stre");
    assert_eq!(server.receive(&mut bytes, passive), Ok(2));
    assert_eq!(&bytes[..2], b"am");
    thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let mut bytes = [0; 8];
            first.receive(&mut bytes, passive_here()).map(|length| bytes[..length].to_vec())
        });
        thread::sleep(Duration::from_millis(20));
        assert_eq!(server.send(b"back", passive), Ok(4));
        assert_eq!(receiving.join().expect("no panic"), Ok(b"back".to_vec()));
    });
    // All has been sent: the other side receives nothing more, and may still send.
    first.disconnect(passive).expect("disconnected");
    assert_eq!(server.receive(&mut bytes, passive), Ok(0));
    assert_eq!(server.send(b"last", passive), Ok(4));
    assert_eq!(first.receive(&mut bytes, passive), Ok(4));

    // The same by events; what came before they were enabled comes first.
    assert_eq!(other.send(b"early", passive), Ok(5));
    second.enable_events().expect("enabled");
    assert_eq!(other.send(b"late", passive), Ok(4));
    other.disconnect(passive).expect("disconnected");
    assert_eq!(*STREAM.lock().unwrap(), ["early", "late", "end"]);
    server.enable_events().expect("enabled");
    drop(STREAM.lock().unwrap().drain(..));
    server.disconnect(passive).expect("disconnected");
    first.close(passive).expect("closed");
    assert!(STREAM.lock().unwrap().is_empty(), "both have sent all");
    second.close(passive).expect("closed");
    println!("two connections were made, used and closed");

    // A connection that is closed before it was disconnected is broken for the other side.
    let third = connect(5002, 4000).expect("connected");
    let (broken, _) = accept().expect("accepted");
    broken.enable_events().expect("enabled");
    third.close(passive).expect("closed");
    assert_eq!(*STREAM.lock().unwrap(), ["broken"]);
    for connection in [server, other, broken] {
        connection.close(passive).expect("closed");
    }
    listener.close(passive).expect("closed");
    assert_eq!(connect(5000, 4000).err(), Some(STATUS_CONNECTION_REFUSED), "nobody listens any more");
}

fn main() {
    // SAFETY: threads of a program are at PASSIVE_LEVEL, and this is no callback.
    let passive = unsafe { Passive::new() };
    let client = client::register(User::new().expect("there is memory"), ModuleId::IfLuid(2), Program, passive)
        .expect("registered");
    assert!(client::capture(&client, Duration::from_millis(1), passive).is_none(), "there is no WSK");
    let (other, other_worker) = winsock(0x0200, passive);
    assert!(client::capture(&client, Duration::from_millis(1), passive).is_none(), "nor one of version 1.0");
    let (wsk, worker) = winsock(VERSION_1_0, passive);
    datagrams(&client, passive);
    connections(&client, passive);
    // The driver is unloaded: it closes its last socket while NMR waits for that.
    let held = client::capture(&client, Duration::from_secs(10), passive).expect("WSK is there");
    let socket = DatagramSocket::open(held, address(3000), &NOTE, passive).expect("a socket");
    let deregistering = client.start_deregistering();
    assert_eq!(deregistering.bindings().map(|binding| binding.calls).collect::<Vec<_>>(), [1], "the open socket");
    socket.close(passive).expect("closed");
    deregistering.wait(passive).expect("deregistered");
    for (wsk, worker) in [(wsk, worker), (other, other_worker)] {
        wsk.deregister(passive).expect("deregistered");
        worker.join().expect("no panic");
    }
}

#[test]
fn the_example_runs() {
    main();
}
