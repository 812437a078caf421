//! A driver with datagram sockets of Winsock Kernel. [`interface`] has the interface, [`client`] the driver; WSK, which
//! is not here, is played by a provider with a network of one machine, which completes IRPs on a thread of its own.

#![allow(unreachable_pub, reason = "the modules are shown as they would be in a driver")]

mod client;
mod event;
mod interface;

use core::ffi::c_void;
use core::ptr;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use client::{DatagramSocket, User};
use interface::{
    Buffer, DatagramDispatch, DatagramEvents, DatagramIndication, EVENT_RECEIVE_FROM, EventCallbackControl, Irp,
    ProviderCharacteristics, ProviderDispatch, Socket, SocketAddress, VERSION_1_0, VersionAndReserved, Wsk,
};
use nmr_registrar as _;
use wdk_nmr::{
    ClientOffer, ClientRegistration, HeldClient, ModuleId, NTSTATUS, Passive, Provider, ProviderCall,
    ProviderRegistration, ProviderTable, Refusal, RegistrationOptions, Resident, Single, provider_table,
};

const STATUS_SUCCESS: NTSTATUS = 0;
const STATUS_PENDING: NTSTATUS = 0x103;
const STATUS_NOT_SUPPORTED: NTSTATUS = 0xC000_00BB_u32.cast_signed();
const STATUS_ADDRESS_ALREADY_EXISTS: NTSTATUS = 0xC000_020A_u32.cast_signed();
const STATUS_DEVICE_NOT_READY: NTSTATUS = 0xC000_00A3_u32.cast_signed();

/// Holds nothing, since a program stays where it is. A driver holds a reference to its DRIVER_OBJECT.
#[derive(Clone, Copy)]
struct Program;

// SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
unsafe impl Resident for Program {}

/// An IRP that is WSK's until it is completed.
struct Pending(*mut Irp);

// SAFETY: an IRP belongs to no thread.
unsafe impl Send for Pending {}

impl Pending {
    fn complete(self, status: NTSTATUS, information: usize) {
        // SAFETY: the IRP stays until it is completed, and nobody else uses it.
        let irp = unsafe { &mut *self.0 };
        (irp.status, irp.information) = (status, information);
        let (completion, context) = (irp.completion, irp.context);
        // SAFETY: once; the IRP is not touched after that.
        unsafe { completion(self.0, context) };
    }
}

/// A receive that waits for a datagram.
struct Receive {
    irp: Pending,
    buffer: Buffer,
    remote: *mut SocketAddress,
}

// SAFETY: the addresses are the client's, good on any thread until the IRP is completed.
unsafe impl Send for Receive {}

impl Receive {
    fn complete(self, bytes: &[u8], remote: SocketAddress) {
        let length = bytes.len().min(self.buffer.length);
        // SAFETY: the buffer has that many bytes from the offset on.
        let place = unsafe { self.buffer.mdl.cast::<u8>().add(self.buffer.offset as usize) };
        // SAFETY: the buffer has that many bytes from the offset on.
        unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), length) };
        // SAFETY: the client wants the address there.
        unsafe { self.remote.write(remote) };
        self.irp.complete(STATUS_SUCCESS, length);
    }
}

/// A socket. It holds its client, so that WSK's part of a detach waits until it is closed.
#[repr(C)]
struct WskSocket {
    socket: Socket,
    network: Arc<Network>,
    _client: HeldClient<Winsock>,
    context: *mut c_void,
    events: *const DatagramEvents,
    state: Mutex<SocketState>,
}

#[derive(Default)]
struct SocketState {
    local: Option<SocketAddress>,
    events_enabled: bool,
    receives: VecDeque<Receive>,
    datagrams: VecDeque<(Vec<u8>, SocketAddress)>,
}

/// The sockets that are bound, by port.
#[derive(Default)]
struct Network(Mutex<BTreeMap<u16, usize>>);

static DATAGRAM: DatagramDispatch = DatagramDispatch {
    control_socket,
    close_socket,
    bind,
    send_to,
    receive_from,
    release,
    get_local_address,
    send_messages: ptr::null(),
};

// SAFETY: never written; the one address in it is NULL.
unsafe impl Sync for DatagramDispatch {}

/// # Safety
///
/// The socket is one of `Winsock::socket`, and open for `'a`.
unsafe fn of<'a>(socket: *mut Socket) -> &'a WskSocket {
    // SAFETY: the socket is the first field.
    unsafe { &*socket.cast::<WskSocket>() }
}

unsafe extern "system" fn control_socket(
    socket: *mut Socket,
    _: i32,
    _: u32,
    _: u32,
    _: usize,
    input: *mut c_void,
    _: usize,
    _: *mut c_void,
    _: *mut usize,
    _: *mut Irp,
) -> NTSTATUS {
    // SAFETY: the client passes the one option that this WSK has.
    let control = unsafe { &*input.cast::<EventCallbackControl>() };
    // SAFETY: the client's socket is open.
    let this = unsafe { of(socket) };
    this.state.lock().unwrap().events_enabled = control.event_mask & EVENT_RECEIVE_FROM != 0;
    STATUS_SUCCESS
}

unsafe extern "system" fn close_socket(socket: *mut Socket, irp: *mut Irp) -> NTSTATUS {
    // SAFETY: made by `Winsock::socket` as a box; the client does not use it any more.
    let this = unsafe { Box::from_raw(socket.cast::<WskSocket>()) };
    if let Some(local) = this.state.lock().unwrap().local {
        this.network.0.lock().unwrap().remove(&local.port);
    }
    drop(this);
    Pending(irp).complete(STATUS_SUCCESS, 0);
    STATUS_SUCCESS
}

unsafe extern "system" fn bind(socket: *mut Socket, address: *const SocketAddress, _: u32, irp: *mut Irp) -> NTSTATUS {
    // SAFETY: the client's socket is open.
    let this = unsafe { of(socket) };
    // SAFETY: the client passes an address.
    let address = unsafe { *address };
    let status = match this.network.0.lock().unwrap().entry(address.port) {
        Entry::Occupied(_) => STATUS_ADDRESS_ALREADY_EXISTS,
        Entry::Vacant(place) => {
            place.insert(socket.expose_provenance());
            this.state.lock().unwrap().local = Some(address);
            STATUS_SUCCESS
        }
    };
    Pending(irp).complete(status, 0);
    status
}

unsafe extern "system" fn send_to(
    socket: *mut Socket,
    buffer: *const Buffer,
    _: u32,
    remote: *const SocketAddress,
    _: u32,
    _: *mut c_void,
    irp: *mut Irp,
) -> NTSTATUS {
    // SAFETY: the client's socket is open.
    let this = unsafe { of(socket) };
    // SAFETY: the client passes a buffer.
    let buffer = unsafe { buffer.read() };
    // SAFETY: the client passes an address.
    let remote = unsafe { remote.read() };
    // SAFETY: the buffer has that many bytes.
    let bytes = unsafe { core::slice::from_raw_parts(buffer.mdl.cast::<u8>(), buffer.length) };
    let local = this.state.lock().unwrap().local.unwrap_or_default();
    let network = this.network.0.lock().unwrap();
    if let Some(&target) = network.get(&remote.port) {
        // SAFETY: a socket in the network is open.
        unsafe { of(ptr::with_exposed_provenance_mut(target)) }.deliver(bytes, local);
    }
    Pending(irp).complete(STATUS_SUCCESS, bytes.len());
    STATUS_SUCCESS
}

impl WskSocket {
    /// A datagram has come: for a receive that waits, for the client's event, or to be kept.
    fn deliver(&self, bytes: &[u8], mut remote: SocketAddress) {
        let mut state = self.state.lock().unwrap();
        if let Some(receive) = state.receives.pop_front() {
            receive.complete(bytes, remote);
        } else if state.events_enabled {
            let mut indication = DatagramIndication {
                next: ptr::null_mut(),
                buffer: Buffer { mdl: bytes.as_ptr().cast_mut().cast(), offset: 0, length: bytes.len() },
                control: ptr::null_mut(),
                control_length: 0,
                remote: &raw mut remote,
            };
            // SAFETY: the client's table stays until the socket is closed.
            let event = unsafe { &*self.events }.receive_from.expect("the client wants events");
            // SAFETY: the context came with the table; the indication stays for the call.
            assert_eq!(unsafe { event(self.context, 0, &raw mut indication) }, STATUS_SUCCESS);
        } else {
            state.datagrams.push_back((bytes.to_vec(), remote));
        }
    }
}

unsafe extern "system" fn receive_from(
    socket: *mut Socket,
    buffer: *const Buffer,
    _: u32,
    remote: *mut SocketAddress,
    _: *mut u32,
    _: *mut c_void,
    _: *mut u32,
    irp: *mut Irp,
) -> NTSTATUS {
    // SAFETY: the client's socket is open.
    let this = unsafe { of(socket) };
    // SAFETY: the client passes a buffer.
    let receive = Receive { irp: Pending(irp), buffer: unsafe { buffer.read() }, remote };
    let mut state = this.state.lock().unwrap();
    match state.datagrams.pop_front() {
        Some((bytes, remote)) => receive.complete(&bytes, remote),
        None => state.receives.push_back(receive),
    }
    STATUS_PENDING
}

unsafe extern "system" fn release(_: *mut Socket, _: *mut DatagramIndication) -> NTSTATUS {
    STATUS_NOT_SUPPORTED
}

unsafe extern "system" fn get_local_address(_: *mut Socket, _: *mut SocketAddress, _: *mut Irp) -> NTSTATUS {
    STATUS_NOT_SUPPORTED
}

/// WSK: makes sockets on a thread of its own, so that the client's IRPs are pending for a while.
struct Winsock {
    network: Arc<Network>,
    work: Mutex<Sender<(Pending, Box<WskSocket>)>>,
}

// SAFETY: the addresses in it are the client's, good on any thread until the socket is closed.
unsafe impl Send for WskSocket {}
// SAFETY: what changes is behind a lock.
unsafe impl Sync for WskSocket {}

impl Winsock {
    fn new() -> (Self, thread::JoinHandle<()>) {
        let (work, requests): (_, Receiver<(Pending, Box<WskSocket>)>) = channel();
        let worker = thread::spawn(move || {
            for (irp, socket) in requests {
                irp.complete(STATUS_SUCCESS, Box::into_raw(socket).expose_provenance());
            }
        });
        (Self { network: Arc::default(), work: Mutex::new(work) }, worker)
    }

    #[expect(clippy::too_many_arguments, reason = "they are WskSocket's")]
    fn socket(
        call: ProviderCall<'_, Self>,
        _: u16,
        _: u16,
        _: u32,
        _: u32,
        context: *mut c_void,
        dispatch: *const c_void,
        _: *mut c_void,
        _: *mut c_void,
        _: *mut c_void,
        irp: *mut Irp,
    ) -> NTSTATUS {
        // A client that is on its way out makes no more sockets.
        let Some(client) = call.client() else {
            Pending(irp).complete(STATUS_DEVICE_NOT_READY, 0);
            return STATUS_DEVICE_NOT_READY;
        };
        let socket = Box::new(WskSocket {
            socket: Socket { dispatch: &raw const DATAGRAM },
            network: call.provider().network.clone(),
            _client: client.hold(),
            context,
            events: dispatch.cast(),
            state: Mutex::default(),
        });
        call.provider().work.lock().unwrap().send((Pending(irp), socket)).expect("the thread is there");
        STATUS_PENDING
    }

    #[expect(clippy::too_many_arguments, reason = "they are WskControlClient's")]
    fn control_client(
        _: ProviderCall<'_, Self>,
        _: u32,
        _: usize,
        _: *mut c_void,
        _: usize,
        _: *mut c_void,
        _: *mut usize,
        _: *mut Irp,
    ) -> NTSTATUS {
        STATUS_NOT_SUPPORTED
    }
}

impl Provider for Winsock {
    type Npi = Wsk;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_table!(Self, ProviderDispatch {
            header: VersionAndReserved { version: VERSION_1_0, reserved: 0 },
            socket: fn Self::socket,
            socket_connect: null,
            control_client: fn Self::control_client,
            get_address_info: null,
            free_address_info: null,
            get_name_info: null,
        })
    }

    fn attach(&self, client: &ClientOffer<'_, Wsk>) -> Result<(), Refusal> {
        // WSK looks at the version that the client has chosen, which the library has done as well.
        if client.dispatch().header.version == VERSION_1_0 { Ok(()) } else { Err(Refusal::NO_INTERFACE) }
    }
}

fn winsock(highest: u16, passive: Passive<'_>) -> (ProviderRegistration<Winsock, Program>, thread::JoinHandle<()>) {
    let (winsock, worker) = Winsock::new();
    let versions = ProviderCharacteristics { highest_version: highest, lowest_version: highest };
    let options = RegistrationOptions::new(ModuleId::IfLuid(1), versions);
    (ProviderRegistration::register(winsock, options, Program, passive).expect("registered"), worker)
}

/// What came by the event.
static EVENTS: Mutex<Vec<(Vec<u8>, SocketAddress)>> = Mutex::new(Vec::new());

fn note(bytes: &[u8], remote: SocketAddress) {
    EVENTS.lock().unwrap().push((bytes.to_vec(), remote));
}

fn address(port: u16) -> SocketAddress {
    SocketAddress { family: 2, port: port.to_be(), address: [127, 0, 0, 1], zero: [0; 8] }
}

fn exchange(client: &ClientRegistration<User, Program>, passive: Passive<'_>) {
    let capture = || client::capture(client, Duration::from_secs(10), passive).expect("WSK is there");
    let open = |port| DatagramSocket::open(capture(), address(port), note, passive);
    let first = open(1000).expect("a socket");
    let second = open(2000).expect("another");
    assert_eq!(open(1000).err(), Some(STATUS_ADDRESS_ALREADY_EXISTS), "and its socket is closed again");

    assert_eq!(first.send_to(b"kept", address(2000)), Ok(4));
    let mut bytes = [0; 8];
    assert_eq!(second.receive_from(&mut bytes), Ok((4, address(1000))));
    assert_eq!(&bytes[..4], b"kept");
    thread::scope(|scope| {
        // A receive that is pending until something comes.
        let receiving = scope.spawn(|| {
            let mut bytes = [0; 8];
            first.receive_from(&mut bytes).map(|(length, remote)| (bytes[..length].to_vec(), remote))
        });
        thread::sleep(Duration::from_millis(20));
        assert_eq!(second.send_to(b"awaited", address(1000)), Ok(7));
        assert_eq!(receiving.join().expect("no panic"), Ok((b"awaited".to_vec(), address(2000))));
    });
    second.enable_events().expect("enabled");
    assert_eq!(first.send_to(b"event", address(2000)), Ok(5));
    assert_eq!(*EVENTS.lock().unwrap(), [(b"event".to_vec(), address(1000))]);
    println!("three datagrams went from socket to socket");

    first.close().expect("closed");
    second.close().expect("closed");
}

fn main() {
    // SAFETY: threads of a program are at PASSIVE_LEVEL, and this is no callback.
    let passive = unsafe { Passive::new() };
    let client = client::register(ModuleId::IfLuid(2), Program, passive).expect("registered");
    assert!(client::capture(&client, Duration::from_millis(1), passive).is_none(), "there is no WSK");
    let (other, other_worker) = winsock(0x0200, passive);
    assert!(client::capture(&client, Duration::from_millis(1), passive).is_none(), "nor one of version 1.0");
    let (wsk, worker) = winsock(VERSION_1_0, passive);
    exchange(&client, passive);
    // The driver is unloaded: it closes its last socket while NMR waits for that.
    let held = client::capture(&client, Duration::from_secs(10), passive).expect("WSK is there");
    let socket = DatagramSocket::open(held, address(3000), note, passive).expect("a socket");
    let deregistering = client.start_deregistering();
    assert_eq!(deregistering.bindings().map(|binding| binding.calls).collect::<Vec<_>>(), [1], "the open socket");
    socket.close().expect("closed");
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
