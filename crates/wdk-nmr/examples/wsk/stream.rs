//! Connections: a socket that listens, and sockets that send and receive streams of bytes.

use core::ffi::c_void;
use core::ptr;

use wdk_nmr::{HeldProvider, NTSTATUS, Passive};

use crate::client::{Kind, OpenSocket, User};
use crate::interface::{
    ConnectionDispatch, ConnectionEvents, DataIndication, EVENT_DISCONNECT, EVENT_RECEIVE, FLAG_CONNECTION_SOCKET,
    FLAG_LISTEN_SOCKET, ListenDispatch, SocketAddress,
};
use crate::kernel::{Memory, Pieces, run};

const STATUS_SUCCESS: NTSTATUS = 0;
const SOCK_STREAM: u16 = 1;
const IPPROTO_TCP: u32 = 6;

const LISTEN: Kind = Kind { socket_type: SOCK_STREAM, protocol: IPPROTO_TCP, flags: FLAG_LISTEN_SOCKET };
const CONNECTION: Kind = Kind { flags: FLAG_CONNECTION_SOCKET, ..LISTEN };

/// What is called while events of a connection are enabled, at up to DISPATCH_LEVEL.
#[derive(Clone, Copy)]
pub struct OnStream {
    /// With bytes that have come.
    pub bytes: fn(Pieces<'_>),
    /// The other side has sent all.
    pub end: fn(),
    /// The connection is broken.
    pub broken: fn(),
}

/// The events of all connections. The table outlives every socket, as WSK demands.
static EVENTS: ConnectionEvents =
    ConnectionEvents { receive: Some(receive_event), disconnect: Some(disconnect_event), send_backlog: None };

/// WskReceiveEvent.
///
/// # Safety
///
/// The context is that of a [`Connection`], and the indication is one of WSK's, or NULL.
unsafe extern "system" fn receive_event(
    context: *mut c_void,
    _: u32,
    indication: *mut DataIndication,
    _: usize,
    _: *mut usize,
) -> NTSTATUS {
    // SAFETY: the context of the socket, which is a static.
    let on_stream = unsafe { &*context.cast::<OnStream>() };
    if indication.is_null() {
        (on_stream.end)();
    }
    let mut next = indication;
    // SAFETY: WSK's list, which stays until this returns; it ends with NULL.
    while let Some(data) = unsafe { next.as_ref() } {
        // SAFETY: WSK's buffer, which stays until this returns.
        (on_stream.bytes)(unsafe { Pieces::of(&data.buffer) });
        next = data.next;
    }
    // The driver has taken all of it; with fewer bytes it would write their number to where the last argument points.
    STATUS_SUCCESS
}

/// WskDisconnectEvent.
///
/// # Safety
///
/// The context is that of a [`Connection`].
unsafe extern "system" fn disconnect_event(context: *mut c_void, _: u32) -> NTSTATUS {
    // SAFETY: the context of the socket, which is a static.
    let on_stream = unsafe { &*context.cast::<OnStream>() };
    (on_stream.broken)();
    STATUS_SUCCESS
}

/// A socket that connections come to.
pub struct Listener(OpenSocket);

impl Listener {
    /// Makes a socket that listens at `local`. PASSIVE_LEVEL: it waits.
    ///
    /// # Errors
    ///
    /// What WSK says.
    pub fn open(wsk: HeldProvider<User>, local: SocketAddress, _: Passive<'_>) -> Result<Self, NTSTATUS> {
        // SAFETY: no events. WskAccept takes connections.
        unsafe { OpenSocket::open(wsk, LISTEN, local, ptr::null_mut(), ptr::null()) }.map(Self)
    }

    /// Waits for a connection. It holds WSK as well, by `wsk`. PASSIVE_LEVEL.
    ///
    /// # Errors
    ///
    /// What WSK says.
    pub fn accept(
        &self,
        wsk: HeldProvider<User>,
        on_stream: &'static OnStream,
        _: Passive<'_>,
    ) -> Result<(Connection, SocketAddress), NTSTATUS> {
        let context = ptr::from_ref(on_stream).cast_mut().cast();
        let mut remote = SocketAddress::default();
        // SAFETY: it is a socket that listens.
        let table: &ListenDispatch = unsafe { self.0.table() };
        let (socket, local) = (self.0.get(), ptr::null_mut());
        let accepted = run(|irp| {
            // SAFETY: the socket is open. The events and their context are statics; the address stays until the IRP is
            // completed.
            unsafe { (table.accept)(socket, 0, context, &raw const EVENTS, local, &raw mut remote, irp) }
        })?;
        Ok((Connection(OpenSocket::new(accepted, wsk)?), remote))
    }

    /// Closes the socket. A thread that waits for a connection is told so, and must be gone before. PASSIVE_LEVEL.
    ///
    /// # Errors
    ///
    /// What WSK says.
    pub fn close(self, _: Passive<'_>) -> Result<(), NTSTATUS> {
        self.0.close()
    }
}

/// A connection.
pub struct Connection(OpenSocket);

impl Connection {
    /// Connects `local` with `remote`. PASSIVE_LEVEL: it waits.
    ///
    /// # Errors
    ///
    /// What WSK says.
    pub fn open(
        wsk: HeldProvider<User>,
        local: SocketAddress,
        remote: SocketAddress,
        on_stream: &'static OnStream,
        _: Passive<'_>,
    ) -> Result<Self, NTSTATUS> {
        let context = ptr::from_ref(on_stream).cast_mut().cast();
        // SAFETY: the events of connections, and their context; both are statics.
        let socket = unsafe { OpenSocket::open(wsk, CONNECTION, local, context, (&raw const EVENTS).cast()) }?;
        let this = Self(socket);
        let connected = run(|irp| {
            // SAFETY: the socket is open; the address stays until the IRP is completed.
            unsafe { (this.table().connect)(this.0.get(), &raw const remote, 0, irp) }
        });
        if let Err(status) = connected {
            let _ = this.0.close();
            return Err(status);
        }
        Ok(this)
    }

    fn table(&self) -> &ConnectionDispatch {
        // SAFETY: it is a connection.
        unsafe { self.0.table() }
    }

    /// Lets WSK call the functions of [`OnStream`] from now on. What comes then is not received.
    ///
    /// # Errors
    ///
    /// What WSK says.
    pub fn enable_events(&self) -> Result<(), NTSTATUS> {
        self.0.enable(EVENT_RECEIVE | EVENT_DISCONNECT)
    }

    /// Sends the bytes, and says how many went. PASSIVE_LEVEL: it waits.
    ///
    /// # Errors
    ///
    /// What WSK says.
    pub fn send(&self, bytes: &[u8], _: Passive<'_>) -> Result<usize, NTSTATUS> {
        let mut memory = Memory::of(bytes)?;
        let buffer = memory.buffer();
        // SAFETY: the socket is open; the buffer stays until the IRP is completed, and WSK only reads it.
        run(|irp| unsafe { (self.table().send)(self.0.get(), &raw const buffer, 0, irp) })
    }

    /// Waits for bytes, and says how many have come: 0 if the other side has sent all. PASSIVE_LEVEL.
    ///
    /// # Errors
    ///
    /// What WSK says.
    pub fn receive(&self, bytes: &mut [u8], _: Passive<'_>) -> Result<usize, NTSTATUS> {
        let mut memory = Memory::new(bytes.len())?;
        let buffer = memory.buffer();
        // SAFETY: the socket is open; the buffer stays until the IRP is completed.
        let length = run(|irp| unsafe { (self.table().receive)(self.0.get(), &raw const buffer, 0, irp) })?;
        memory.copy_to(bytes);
        Ok(length)
    }

    /// Says that all has been sent. PASSIVE_LEVEL: it waits.
    ///
    /// # Errors
    ///
    /// What WSK says.
    pub fn disconnect(&self, _: Passive<'_>) -> Result<(), NTSTATUS> {
        // SAFETY: the socket is open. NULL: there is nothing more to send.
        run(|irp| unsafe { (self.table().disconnect)(self.0.get(), ptr::null(), 0, irp) }).map(|_| ())
    }

    /// Closes the socket: waits for its operations and events to end, and lets WSK go. Breaks the connection unless it
    /// has been disconnected. PASSIVE_LEVEL.
    ///
    /// # Errors
    ///
    /// What WSK says.
    pub fn close(self, _: Passive<'_>) -> Result<(), NTSTATUS> {
        self.0.close()
    }
}
