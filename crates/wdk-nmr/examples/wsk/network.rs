//! WSK as far as the client goes: a network of one machine, with datagrams. `network_streams.rs` has connections.

use core::ffi::c_void;
use core::ptr;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use wdk_nmr::{
    ClientOffer, HeldClient, ModuleId, NTSTATUS, Passive, Provider, ProviderCall, ProviderRegistration, ProviderTable,
    Refusal, RegistrationOptions, Single, provider_table,
};

use crate::Program;
use crate::interface::{
    Buffer, CommonDispatch, DatagramDispatch, DatagramEvents, DatagramIndication, EVENT_RECEIVE_FROM,
    EventCallbackControl, FLAG_CONNECTION_SOCKET, FLAG_LISTEN_SOCKET, ProviderCharacteristics, ProviderDispatch,
    Socket, SocketAddress, VERSION_1_0, VersionAndReserved, Wsk,
};
use crate::kernel::{Irp, Pieces};
use crate::network_streams::{Backlog, connection, listener};

pub(crate) const STATUS_SUCCESS: NTSTATUS = 0;
pub(crate) const STATUS_PENDING: NTSTATUS = 0x103;
pub(crate) const STATUS_NOT_SUPPORTED: NTSTATUS = 0xC000_00BB_u32.cast_signed();
pub(crate) const STATUS_ADDRESS_ALREADY_EXISTS: NTSTATUS = 0xC000_020A_u32.cast_signed();
pub(crate) const STATUS_DEVICE_NOT_READY: NTSTATUS = 0xC000_00A3_u32.cast_signed();

/// An IRP that is WSK's until it is completed.
pub(crate) struct Pending(pub(crate) *mut Irp);

// SAFETY: an IRP belongs to no thread.
unsafe impl Send for Pending {}

impl Pending {
    pub(crate) fn complete(self, status: NTSTATUS, information: usize) {
        // SAFETY: the IRP stays until it is completed, and nobody else uses it.
        let irp = unsafe { &mut *self.0 };
        (irp.status, irp.information) = (status, information);
        let (completion, context) = (irp.completion, irp.context);
        // SAFETY: once; the IRP is not touched after that.
        unsafe { completion(self.0, context) };
    }
}

/// Bytes as WSK indicates them.
pub(crate) fn buffer_of(bytes: &[u8]) -> Buffer {
    Buffer { mdl: bytes.as_ptr().cast_mut().cast(), offset: 0, length: bytes.len() }
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
    _client: Arc<HeldClient<Winsock>>,
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
pub(crate) struct Network {
    datagram: Mutex<BTreeMap<u16, usize>>,
    /// The sockets that listen.
    pub(crate) streams: Mutex<BTreeMap<u16, Arc<Backlog>>>,
}

static DATAGRAM: DatagramDispatch = DatagramDispatch {
    common: CommonDispatch { control_socket, close_socket, bind },
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
        this.network.datagram.lock().unwrap().remove(&local.port);
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
    let status = match this.network.datagram.lock().unwrap().entry(address.port) {
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
    // SAFETY: the buffer has that many bytes until the IRP is completed.
    let bytes = unsafe { Pieces::of(&buffer) }.flatten().copied().collect::<Vec<_>>();
    let local = this.state.lock().unwrap().local.unwrap_or_default();
    let network = this.network.datagram.lock().unwrap();
    if let Some(&target) = network.get(&remote.port) {
        // SAFETY: a socket in the network is open.
        unsafe { of(ptr::with_exposed_provenance_mut(target)) }.deliver(&bytes, local);
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
                buffer: buffer_of(bytes),
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

pub(crate) unsafe extern "system" fn get_local_address(_: *mut Socket, _: *mut SocketAddress, _: *mut Irp) -> NTSTATUS {
    STATUS_NOT_SUPPORTED
}

/// WSK: makes sockets on a thread of its own, so that the client's IRPs are pending for a while.
pub(crate) struct Winsock {
    network: Arc<Network>,
    /// The IRPs of sockets that are made, with what they are completed with.
    work: Mutex<Sender<(Pending, usize)>>,
}

// SAFETY: the addresses in it are the client's, good on any thread until the socket is closed.
unsafe impl Send for WskSocket {}
// SAFETY: what changes is behind a lock.
unsafe impl Sync for WskSocket {}

impl Winsock {
    fn new() -> (Self, thread::JoinHandle<()>) {
        let (work, requests): (_, Receiver<(Pending, usize)>) = channel();
        let worker = thread::spawn(move || {
            for (irp, socket) in requests {
                irp.complete(STATUS_SUCCESS, socket);
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
        flags: u32,
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
        let (network, client) = (call.provider().network.clone(), Arc::new(client.hold()));
        let socket = match flags {
            FLAG_LISTEN_SOCKET => listener(network, client),
            FLAG_CONNECTION_SOCKET => connection(network, client, context, dispatch.cast()),
            _ => Box::into_raw(Box::new(WskSocket {
                socket: Socket { dispatch: (&raw const DATAGRAM).cast() },
                network,
                _client: client,
                context,
                events: dispatch.cast(),
                state: Mutex::default(),
            }))
            .expose_provenance(),
        };
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

/// Registers WSK, with one version, and the thread that completes its IRPs. The thread ends after the registration.
pub(crate) fn winsock(
    highest: u16,
    passive: Passive<'_>,
) -> (ProviderRegistration<Winsock, Program>, thread::JoinHandle<()>) {
    let (winsock, worker) = Winsock::new();
    let versions = ProviderCharacteristics { highest_version: highest, lowest_version: highest };
    let options = RegistrationOptions::new(ModuleId::IfLuid(1), versions);
    (ProviderRegistration::register(winsock, options, Program, passive).expect("registered"), worker)
}
