//! The connections of the WSK that is played here.

use core::ffi::c_void;
use core::ptr;
use std::collections::VecDeque;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex};

use wdk_nmr::{HeldClient, NTSTATUS};

use crate::interface::{
    Buffer, CommonDispatch, ConnectionDispatch, ConnectionEvents, DataIndication, EVENT_RECEIVE, EventCallbackControl,
    ListenDispatch, Socket, SocketAddress,
};
use crate::kernel::{Irp, Pieces};
use crate::network::{
    Network, Pending, STATUS_ADDRESS_ALREADY_EXISTS, STATUS_NOT_SUPPORTED, STATUS_PENDING, STATUS_SUCCESS, Winsock,
    buffer_of, get_local_address,
};

const STATUS_CONNECTION_REFUSED: NTSTATUS = 0xC000_0236_u32.cast_signed();
const STATUS_CONNECTION_RESET: NTSTATUS = 0xC000_020D_u32.cast_signed();
const STATUS_CANCELLED: NTSTATUS = 0xC000_0120_u32.cast_signed();
const STATUS_INVALID_DEVICE_STATE: NTSTATUS = 0xC000_0184_u32.cast_signed();

/// One end of a connection: what has come to it.
#[derive(Default)]
struct End(Mutex<EndState>);

#[derive(Default)]
struct EndState {
    bytes: VecDeque<u8>,
    finish: Option<Finish>,
    receives: VecDeque<Receive>,
    events: Option<Events>,
}

/// A receive that waits for bytes.
struct Receive {
    irp: Pending,
    buffer: Buffer,
}

// SAFETY: the buffer is the client's until the IRP is completed, on any thread.
unsafe impl Send for Receive {}

/// How the other side has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finish {
    /// It has sent all.
    Sent,
    Broken,
}

/// The client's events, and whether the end has been indicated.
#[derive(Clone, Copy)]
struct Events {
    context: *mut c_void,
    table: *const ConnectionEvents,
}

// SAFETY: the address and the table are the client's, good on any thread until the socket is closed.
unsafe impl Send for Events {}

/// A receive that is ready, or an event: what is to be called when no lock is held.
enum Due {
    Receive(Pending, NTSTATUS, usize),
    Bytes(Events, Vec<u8>),
    Broken(Events),
}

impl Due {
    fn perform(self) {
        match self {
            Self::Receive(irp, status, length) => irp.complete(status, length),
            Self::Bytes(events, bytes) => {
                let mut data = DataIndication { next: ptr::null_mut(), buffer: buffer_of(&bytes) };
                let indication = if bytes.is_empty() { ptr::null_mut() } else { &raw mut data };
                let mut accepted = bytes.len();
                // SAFETY: the client's table stays until the socket is closed.
                let receive = unsafe { &*events.table }.receive.expect("the client wants events");
                // SAFETY: the context came with the table; the indication stays for the call.
                let status = unsafe { receive(events.context, 0, indication, bytes.len(), &raw mut accepted) };
                assert_eq!((status, accepted), (STATUS_SUCCESS, bytes.len()));
            }
            Self::Broken(events) => {
                // SAFETY: the client's table stays until the socket is closed.
                let disconnect = unsafe { &*events.table }.disconnect.expect("the client wants events");
                // SAFETY: the context came with the table.
                assert_eq!(unsafe { disconnect(events.context, 0) }, STATUS_SUCCESS);
            }
        }
    }
}

impl End {
    /// Changes what has come, and then calls whoever waits for it.
    fn update(&self, change: impl FnOnce(&mut EndState)) {
        let due = {
            let mut state = self.0.lock().unwrap();
            let finished = state.finish.is_some();
            change(&mut state);
            state.due(finished)
        };
        due.into_iter().for_each(Due::perform);
    }
}

impl EndState {
    fn due(&mut self, was_finished: bool) -> Vec<Due> {
        let mut due = Vec::new();
        while !self.bytes.is_empty() || self.finish.is_some() {
            let Some(Receive { irp, buffer }) = self.receives.pop_front() else { break };
            let length = buffer.length.min(self.bytes.len());
            // SAFETY: the buffer has that many bytes from the offset on.
            let place = unsafe { buffer.mdl.cast::<u8>().add(buffer.offset as usize) };
            let bytes: Vec<u8> = self.bytes.drain(..length).collect();
            // SAFETY: the buffer has that many bytes from the offset on.
            unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), length) };
            let broken = length == 0 && self.finish == Some(Finish::Broken);
            due.push(Due::Receive(irp, if broken { STATUS_CONNECTION_RESET } else { STATUS_SUCCESS }, length));
        }
        if let Some(events) = self.events {
            if !self.bytes.is_empty() {
                due.push(Due::Bytes(events, self.bytes.drain(..).collect()));
            }
            match self.finish.filter(|_| !was_finished) {
                Some(Finish::Sent) => due.push(Due::Bytes(events, Vec::new())),
                Some(Finish::Broken) => due.push(Due::Broken(events)),
                None => {}
            }
        }
        due
    }
}

/// A connection, at the side of the socket that has it.
#[derive(Clone)]
struct Joined {
    mine: Arc<End>,
    theirs: Arc<End>,
}

impl Joined {
    /// Both sides of a new connection.
    fn pair() -> [Self; 2] {
        let [one, other] = [Arc::<End>::default(), Arc::default()];
        [Self { mine: one.clone(), theirs: other.clone() }, Self { mine: other, theirs: one }]
    }
}

/// What comes to a port: connections that nobody has accepted, or accepts that wait for one.
#[derive(Default)]
pub(crate) struct Backlog(Mutex<BacklogState>);

#[derive(Default)]
struct BacklogState {
    connections: VecDeque<(Joined, SocketAddress)>,
    accepts: VecDeque<Accept>,
}

struct Accept {
    irp: Pending,
    socket: Box<ConnectionSocket>,
    remote: *mut SocketAddress,
}

// SAFETY: the address is the client's until the IRP is completed.
unsafe impl Send for Accept {}

impl Accept {
    fn complete(self, joined: Joined, from: SocketAddress) {
        *self.socket.joined.lock().unwrap() = Some(joined);
        if !self.remote.is_null() {
            // SAFETY: the client wants the address there.
            unsafe { self.remote.write(from) };
        }
        self.irp.complete(STATUS_SUCCESS, Box::into_raw(self.socket).expose_provenance());
    }
}

/// A socket that listens, once it is bound.
#[repr(C)]
struct ListenSocket {
    socket: Socket,
    network: Arc<Network>,
    client: Arc<HeldClient<Winsock>>,
    bound: Mutex<Option<(u16, Arc<Backlog>)>>,
}

/// A connection, once it is connected or accepted.
#[repr(C)]
struct ConnectionSocket {
    socket: Socket,
    network: Arc<Network>,
    /// WSK's part of a detach waits until the socket is closed.
    _client: Arc<HeldClient<Winsock>>,
    events: Events,
    local: Mutex<SocketAddress>,
    joined: Mutex<Option<Joined>>,
    sent_all: Mutex<bool>,
}

// SAFETY: the addresses in it are the client's, good on any thread until the socket is closed.
unsafe impl Send for ConnectionSocket {}

static LISTEN: ListenDispatch = ListenDispatch {
    common: CommonDispatch { control_socket: no_control, close_socket: close_listener, bind: bind_listener },
    accept,
    inspect_complete: ptr::null(),
    get_local_address,
};

// SAFETY: never written; the one address in it is NULL.
unsafe impl Sync for ListenDispatch {}

static CONNECTION: ConnectionDispatch = ConnectionDispatch {
    common: CommonDispatch { control_socket: control, close_socket: close_connection, bind: bind_connection },
    connect,
    get_local_address,
    get_remote_address: get_local_address,
    send,
    receive,
    disconnect,
    release,
};

/// Makes a socket that listens. Its address.
pub(crate) fn listener(network: Arc<Network>, client: Arc<HeldClient<Winsock>>) -> usize {
    let socket = Socket { dispatch: (&raw const LISTEN).cast() };
    Box::into_raw(Box::new(ListenSocket { socket, network, client, bound: Mutex::default() })).expose_provenance()
}

fn new_connection(
    network: Arc<Network>,
    client: Arc<HeldClient<Winsock>>,
    context: *mut c_void,
    table: *const ConnectionEvents,
) -> Box<ConnectionSocket> {
    Box::new(ConnectionSocket {
        socket: Socket { dispatch: (&raw const CONNECTION).cast() },
        network,
        _client: client,
        events: Events { context, table },
        local: Mutex::default(),
        joined: Mutex::default(),
        sent_all: Mutex::default(),
    })
}

/// Makes a socket for a connection. Its address.
pub(crate) fn connection(
    network: Arc<Network>,
    client: Arc<HeldClient<Winsock>>,
    context: *mut c_void,
    table: *const ConnectionEvents,
) -> usize {
    Box::into_raw(new_connection(network, client, context, table)).expose_provenance()
}

/// # Safety
///
/// The socket is one of [`listener`]'s, and open for `'a`.
unsafe fn listening<'a>(socket: *mut Socket) -> &'a ListenSocket {
    // SAFETY: the socket is the first field.
    unsafe { &*socket.cast::<ListenSocket>() }
}

/// # Safety
///
/// The socket is one of [`connection`]'s or of an accept, and open for `'a`.
unsafe fn connected<'a>(socket: *mut Socket) -> &'a ConnectionSocket {
    // SAFETY: the socket is the first field.
    unsafe { &*socket.cast::<ConnectionSocket>() }
}

unsafe extern "system" fn no_control(
    _: *mut Socket,
    _: i32,
    _: u32,
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

unsafe extern "system" fn bind_listener(
    socket: *mut Socket,
    address: *const SocketAddress,
    _: u32,
    irp: *mut Irp,
) -> NTSTATUS {
    // SAFETY: the client's socket is open.
    let this = unsafe { listening(socket) };
    // SAFETY: the client passes an address.
    let port = unsafe { *address }.port;
    let status = match this.network.streams.lock().unwrap().entry(port) {
        Entry::Occupied(_) => STATUS_ADDRESS_ALREADY_EXISTS,
        Entry::Vacant(place) => {
            let backlog = place.insert(Arc::default()).clone();
            *this.bound.lock().unwrap() = Some((port, backlog));
            STATUS_SUCCESS
        }
    };
    Pending(irp).complete(status, 0);
    status
}

unsafe extern "system" fn close_listener(socket: *mut Socket, irp: *mut Irp) -> NTSTATUS {
    // SAFETY: made by `listener` as a box; the client does not use it any more.
    let this = unsafe { Box::from_raw(socket.cast::<ListenSocket>()) };
    if let Some((port, backlog)) = this.bound.lock().unwrap().take() {
        this.network.streams.lock().unwrap().remove(&port);
        let state = std::mem::take(&mut *backlog.0.lock().unwrap());
        for accept in state.accepts {
            accept.irp.complete(STATUS_CANCELLED, 0);
        }
        for (joined, _) in state.connections {
            joined.theirs.update(|end| end.finish = Some(Finish::Broken));
        }
    }
    drop(this);
    Pending(irp).complete(STATUS_SUCCESS, 0);
    STATUS_SUCCESS
}

unsafe extern "system" fn accept(
    socket: *mut Socket,
    _: u32,
    context: *mut c_void,
    events: *const ConnectionEvents,
    _: *mut SocketAddress,
    remote: *mut SocketAddress,
    irp: *mut Irp,
) -> NTSTATUS {
    // SAFETY: the client's socket is open.
    let this = unsafe { listening(socket) };
    let Some((_, backlog)) = this.bound.lock().unwrap().clone() else {
        Pending(irp).complete(STATUS_INVALID_DEVICE_STATE, 0);
        return STATUS_INVALID_DEVICE_STATE;
    };
    let socket = new_connection(this.network.clone(), this.client.clone(), context, events);
    let accept = Accept { irp: Pending(irp), socket, remote };
    let mut state = backlog.0.lock().unwrap();
    match state.connections.pop_front() {
        Some((joined, from)) => {
            drop(state);
            accept.complete(joined, from);
        }
        None => state.accepts.push_back(accept),
    }
    STATUS_PENDING
}

unsafe extern "system" fn control(
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
    let this = unsafe { connected(socket) };
    let Some(Joined { mine, .. }) = this.joined.lock().unwrap().clone() else { return STATUS_INVALID_DEVICE_STATE };
    let wanted = control.event_mask & EVENT_RECEIVE != 0;
    mine.update(|end| end.events = wanted.then_some(this.events));
    STATUS_SUCCESS
}

/// Connections may share a port.
unsafe extern "system" fn bind_connection(
    socket: *mut Socket,
    address: *const SocketAddress,
    _: u32,
    irp: *mut Irp,
) -> NTSTATUS {
    // SAFETY: the client's socket is open.
    let this = unsafe { connected(socket) };
    // SAFETY: the client passes an address.
    *this.local.lock().unwrap() = unsafe { *address };
    Pending(irp).complete(STATUS_SUCCESS, 0);
    STATUS_SUCCESS
}

unsafe extern "system" fn connect(
    socket: *mut Socket,
    remote: *const SocketAddress,
    _: u32,
    irp: *mut Irp,
) -> NTSTATUS {
    // SAFETY: the client's socket is open.
    let this = unsafe { connected(socket) };
    // SAFETY: the client passes an address.
    let port = unsafe { *remote }.port;
    let Some(backlog) = this.network.streams.lock().unwrap().get(&port).cloned() else {
        Pending(irp).complete(STATUS_CONNECTION_REFUSED, 0);
        return STATUS_CONNECTION_REFUSED;
    };
    let [mine, theirs] = Joined::pair();
    *this.joined.lock().unwrap() = Some(mine);
    let local = *this.local.lock().unwrap();
    let mut state = backlog.0.lock().unwrap();
    match state.accepts.pop_front() {
        Some(accept) => {
            drop(state);
            accept.complete(theirs, local);
        }
        None => state.connections.push_back((theirs, local)),
    }
    Pending(irp).complete(STATUS_SUCCESS, 0);
    STATUS_SUCCESS
}

unsafe extern "system" fn send(socket: *mut Socket, buffer: *const Buffer, _: u32, irp: *mut Irp) -> NTSTATUS {
    // SAFETY: the client's socket is open.
    let this = unsafe { connected(socket) };
    // SAFETY: the client passes a buffer.
    let buffer = unsafe { buffer.read() };
    // SAFETY: the buffer has that many bytes until the IRP is completed.
    let bytes = unsafe { Pieces::of(&buffer) }.flatten().copied().collect::<Vec<_>>();
    let joined = this.joined.lock().unwrap().clone().filter(|_| !*this.sent_all.lock().unwrap());
    let status = match joined {
        Some(Joined { theirs, .. }) => {
            theirs.update(|end| end.bytes.extend(&bytes));
            STATUS_SUCCESS
        }
        None => STATUS_INVALID_DEVICE_STATE,
    };
    Pending(irp).complete(status, bytes.len());
    status
}

unsafe extern "system" fn receive(socket: *mut Socket, buffer: *const Buffer, _: u32, irp: *mut Irp) -> NTSTATUS {
    // SAFETY: the client's socket is open.
    let this = unsafe { connected(socket) };
    let Some(Joined { mine, .. }) = this.joined.lock().unwrap().clone() else {
        Pending(irp).complete(STATUS_INVALID_DEVICE_STATE, 0);
        return STATUS_INVALID_DEVICE_STATE;
    };
    // SAFETY: the client passes a buffer.
    let receive = Receive { irp: Pending(irp), buffer: unsafe { buffer.read() } };
    mine.update(|end| end.receives.push_back(receive));
    STATUS_PENDING
}

unsafe extern "system" fn disconnect(socket: *mut Socket, _: *const Buffer, _: u32, irp: *mut Irp) -> NTSTATUS {
    // SAFETY: the client's socket is open.
    let this = unsafe { connected(socket) };
    this.finish(Finish::Sent);
    Pending(irp).complete(STATUS_SUCCESS, 0);
    STATUS_SUCCESS
}

impl ConnectionSocket {
    /// Tells the other side, once.
    fn finish(&self, how: Finish) {
        let joined = self.joined.lock().unwrap().clone();
        let sent_before = std::mem::replace(&mut *self.sent_all.lock().unwrap(), true);
        if let Some(Joined { theirs, .. }) = joined.filter(|_| !sent_before) {
            theirs.update(|end| end.finish = Some(how));
        }
    }
}

unsafe extern "system" fn release(_: *mut Socket, _: *mut DataIndication) -> NTSTATUS {
    STATUS_NOT_SUPPORTED
}

unsafe extern "system" fn close_connection(socket: *mut Socket, irp: *mut Irp) -> NTSTATUS {
    // SAFETY: made as a box; the client does not use it any more.
    let this = unsafe { Box::from_raw(socket.cast::<ConnectionSocket>()) };
    this.finish(Finish::Broken);
    if let Some(Joined { mine, .. }) = this.joined.lock().unwrap().take() {
        // No event comes any more, and what waits is told.
        let mut state = mine.0.lock().unwrap();
        state.events = None;
        let receives = std::mem::take(&mut state.receives);
        drop(state);
        receives.into_iter().for_each(|receive| receive.irp.complete(STATUS_CANCELLED, 0));
    }
    drop(this);
    Pending(irp).complete(STATUS_SUCCESS, 0);
    STATUS_SUCCESS
}
