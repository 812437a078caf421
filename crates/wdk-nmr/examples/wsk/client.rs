//! A driver that sends and receives with Winsock Kernel: how it gets to WSK, what all sockets have in common, and
//! datagram sockets. `stream.rs` has connections.
//!
//! WskRegister and WskCaptureProviderNPI do what [`register`] and [`capture`] do here, with the client's own hands on
//! NMR.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::time::Duration;

use wdk_nmr::{
    Client, ClientRegistration, ClientTable, HeldProvider, ModuleId, NTSTATUS, Npi, Passive, ProviderOffer, Refusal,
    RegisterError, RegistrationOptions, Resident, Single, client_table,
};

use crate::interface::{
    ClientDispatch, CommonDispatch, DatagramDispatch, DatagramEvents, DatagramIndication, EVENT_RECEIVE_FROM,
    EventCallbackControl, FLAG_DATAGRAM_SOCKET, SET_OPTION, SO_EVENT_CALLBACK, SOL_SOCKET, Socket, SocketAddress,
    VERSION_1_0, VersionAndReserved, Wsk,
};
use crate::kernel::{Event, Memory, Pieces, run};

const STATUS_SUCCESS: NTSTATUS = 0;
const STATUS_INTERNAL_ERROR: NTSTATUS = 0xC000_00E5_u32.cast_signed();
const AF_INET: u16 = 2;
const SOCK_DGRAM: u16 = 2;
const IPPROTO_UDP: u32 = 17;

/// The driver as a client of WSK.
pub struct User {
    attached: Event,
}

impl User {
    /// # Errors
    ///
    /// There is no memory.
    pub fn new() -> Result<Self, NTSTATUS> {
        Ok(Self { attached: Event::new()? })
    }
}

impl Client for User {
    type Npi = Wsk;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        client_table!(
            Self,
            ClientDispatch { header: VersionAndReserved { version: VERSION_1_0, reserved: 0 }, client_event: null }
        )
    }

    /// WSK says which versions it has; this driver is written for 1.0.
    fn attach(&self, wsk: &ProviderOffer<'_, Wsk>) -> Result<(), Refusal> {
        let versions = wsk.characteristics()?;
        let has_it = (versions.lowest_version..=versions.highest_version).contains(&VERSION_1_0);
        if has_it { Ok(()) } else { Err(Refusal::NO_INTERFACE) }
    }

    fn attached(&self, _: wdk_nmr::AttachedProvider<'_, Self>) {
        self.attached.set();
    }
}

/// The last thing that DriverEntry does. There is one WSK, so one provider is enough.
pub fn register<R: Resident>(
    user: User,
    module_id: ModuleId,
    driver: R,
    passive: Passive<'_>,
) -> Result<ClientRegistration<User, R>, RegisterError> {
    let options = RegistrationOptions::new(module_id, ()).one_peer();
    ClientRegistration::register(user, options, driver, passive)
}

/// Waits until WSK is there, and holds it: until the value is dropped, WSK stays.
pub fn capture<R: Resident>(
    client: &ClientRegistration<User, R>,
    timeout: Duration,
    passive: Passive<'_>,
) -> Option<HeldProvider<User>> {
    let mut looks = 0;
    let wait = || {
        looks += 1;
        looks == 1 && client.client().attached.wait(timeout)
    };
    client.wait_for_provider(passive, wait).map(wdk_nmr::Peer::hold)
}

/// A kind of socket, as WskSocket takes it.
#[derive(Clone, Copy)]
pub struct Kind {
    pub socket_type: u16,
    pub protocol: u32,
    pub flags: u32,
}

const DATAGRAM: Kind = Kind { socket_type: SOCK_DGRAM, protocol: IPPROTO_UDP, flags: FLAG_DATAGRAM_SOCKET };

/// An open socket. It holds WSK: a driver that is unloaded closes its sockets first, and then deregisters.
pub struct OpenSocket {
    socket: NonNull<Socket>,
    wsk: HeldProvider<User>,
}

// SAFETY: a socket may be used on any thread, and on several at once; WSK says so of its functions.
unsafe impl Send for OpenSocket {}
// SAFETY: a socket may be used on any thread, and on several at once; WSK says so of its functions.
unsafe impl Sync for OpenSocket {}

impl OpenSocket {
    /// Makes a socket and binds it to `local`. PASSIVE_LEVEL: it waits.
    ///
    /// # Errors
    ///
    /// What WSK says.
    ///
    /// # Safety
    ///
    /// `events` is NULL or the table of events of this kind, and stays with `context` until the socket is closed.
    pub unsafe fn open(
        wsk: HeldProvider<User>,
        kind: Kind,
        local: SocketAddress,
        context: *mut c_void,
        events: *const c_void,
    ) -> Result<Self, NTSTATUS> {
        let Kind { socket_type, protocol, flags } = kind;
        let none = ptr::null_mut();
        let made = run(|irp| {
            wsk.call(|table, client| {
                // SAFETY: the client's context came with the table, the caller vouches for the events, and the IRP
                // stays until it is completed.
                unsafe {
                    (table.socket)(
                        client,
                        AF_INET,
                        socket_type,
                        protocol,
                        flags,
                        context,
                        events,
                        none,
                        none,
                        none,
                        irp,
                    )
                }
            })
        })?;
        let socket = Self::new(made, wsk)?;
        let bound = run(|irp| {
            // SAFETY: the socket is open; the address stays until the IRP is completed.
            unsafe { (socket.common().bind)(socket.get(), &raw const local, 0, irp) }
        });
        if let Err(status) = bound {
            // What WSK says about the close of a socket that was never bound makes no difference.
            let _ = socket.close();
            return Err(status);
        }
        Ok(socket)
    }

    /// The socket that an IRP has come back with.
    ///
    /// # Errors
    ///
    /// It is NULL, which never comes with success.
    pub fn new(information: usize, wsk: HeldProvider<User>) -> Result<Self, NTSTATUS> {
        let socket = NonNull::new(ptr::with_exposed_provenance_mut(information)).ok_or(STATUS_INTERNAL_ERROR)?;
        Ok(Self { socket, wsk })
    }

    pub fn get(&self) -> *mut Socket {
        self.socket.as_ptr()
    }

    /// The table of the socket.
    ///
    /// # Safety
    ///
    /// `D` is the type of the table of this kind of socket.
    pub unsafe fn table<D>(&self) -> &D {
        // SAFETY: the socket is open, so WSK has not freed it.
        let dispatch = unsafe { self.socket.as_ref() }.dispatch;
        // SAFETY: the caller vouches for the type, and the table stays as long as WSK, which is held.
        unsafe { &*dispatch.cast::<D>() }
    }

    fn common(&self) -> &CommonDispatch {
        // SAFETY: all tables start with it.
        unsafe { self.table() }
    }

    /// Lets WSK call the functions of the socket's table of events from now on.
    ///
    /// # Errors
    ///
    /// What WSK says.
    pub fn enable(&self, event_mask: u32) -> Result<(), NTSTATUS> {
        let mut control = EventCallbackControl { npi_id: &Wsk::ID, event_mask };
        // SAFETY: the socket is open. This option needs no IRP.
        let status = unsafe {
            (self.common().control_socket)(
                self.get(),
                SET_OPTION,
                SO_EVENT_CALLBACK,
                SOL_SOCKET,
                size_of::<EventCallbackControl>(),
                (&raw mut control).cast(),
                0,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        if status == STATUS_SUCCESS { Ok(()) } else { Err(status) }
    }

    /// Closes the socket: waits for its operations and events to end, and lets WSK go. PASSIVE_LEVEL.
    ///
    /// # Errors
    ///
    /// What WSK says.
    pub fn close(self) -> Result<(), NTSTATUS> {
        let close_socket = self.common().close_socket;
        // SAFETY: the socket is open, and `self` is consumed.
        let closed = run(|irp| unsafe { close_socket(self.socket.as_ptr(), irp) });
        drop(self.wsk);
        closed.map(|_| ())
    }
}

/// A function that is called with every datagram that comes while events are enabled, at up to DISPATCH_LEVEL.
pub type OnDatagram = fn(bytes: Pieces<'_>, remote: SocketAddress);

/// A datagram socket.
pub struct DatagramSocket(OpenSocket);

/// The events of all sockets. The table outlives every socket, as WSK demands.
static EVENTS: DatagramEvents = DatagramEvents { receive_from: Some(receive_from_event) };

/// WskReceiveFromEvent.
///
/// # Safety
///
/// The context is that of a [`DatagramSocket`], and the indication is one of WSK's, or NULL.
unsafe extern "system" fn receive_from_event(
    context: *mut c_void,
    _: u32,
    indication: *mut DatagramIndication,
) -> NTSTATUS {
    // SAFETY: the context of the socket, which is a static.
    let on_datagram = unsafe { &*context.cast::<OnDatagram>() };
    let mut next = indication;
    // SAFETY: WSK's list, which stays until this returns; it ends with NULL.
    while let Some(datagram) = unsafe { next.as_ref() } {
        // SAFETY: WSK's buffer, which stays until this returns.
        let bytes = unsafe { Pieces::of(&datagram.buffer) };
        // SAFETY: a datagram has a sender.
        on_datagram(bytes, unsafe { *datagram.remote });
        next = datagram.next;
    }
    // The driver has taken all of it; STATUS_PENDING would keep it until WskRelease.
    STATUS_SUCCESS
}

impl DatagramSocket {
    /// Makes a socket and binds it to `local`. PASSIVE_LEVEL: it waits.
    ///
    /// # Errors
    ///
    /// What WSK says.
    pub fn open(
        wsk: HeldProvider<User>,
        local: SocketAddress,
        on_datagram: &'static OnDatagram,
        _: Passive<'_>,
    ) -> Result<Self, NTSTATUS> {
        let context = ptr::from_ref(on_datagram).cast_mut().cast();
        // SAFETY: the events of datagrams, and their context; both are statics.
        unsafe { OpenSocket::open(wsk, DATAGRAM, local, context, (&raw const EVENTS).cast()) }.map(Self)
    }

    fn table(&self) -> &DatagramDispatch {
        // SAFETY: it is a datagram socket.
        unsafe { self.0.table() }
    }

    /// Lets WSK call the socket's function with every datagram that comes from now on.
    ///
    /// # Errors
    ///
    /// What WSK says.
    pub fn enable_events(&self) -> Result<(), NTSTATUS> {
        self.0.enable(EVENT_RECEIVE_FROM)
    }

    /// Sends a datagram, and says how many bytes went. PASSIVE_LEVEL: it waits.
    ///
    /// # Errors
    ///
    /// What WSK says.
    pub fn send_to(&self, bytes: &[u8], remote: SocketAddress, _: Passive<'_>) -> Result<usize, NTSTATUS> {
        let mut memory = Memory::of(bytes)?;
        let buffer = memory.buffer();
        let (socket, control) = (self.0.get(), ptr::null_mut());
        run(|irp| {
            // SAFETY: the socket is open; buffer and address stay until the IRP is completed, and WSK only reads them.
            unsafe { (self.table().send_to)(socket, &raw const buffer, 0, &raw const remote, 0, control, irp) }
        })
    }

    /// Waits for a datagram, and says how long it is and where it comes from. PASSIVE_LEVEL.
    ///
    /// # Errors
    ///
    /// What WSK says.
    pub fn receive_from(&self, bytes: &mut [u8], _: Passive<'_>) -> Result<(usize, SocketAddress), NTSTATUS> {
        let mut memory = Memory::new(bytes.len())?;
        let buffer = memory.buffer();
        let mut remote = SocketAddress::default();
        let length = run(|irp| {
            // SAFETY: the socket is open; buffer and address stay until the IRP is completed.
            unsafe {
                (self.table().receive_from)(
                    self.0.get(),
                    &raw const buffer,
                    0,
                    &raw mut remote,
                    ptr::null_mut(),
                    ptr::null_mut(),
                    ptr::null_mut(),
                    irp,
                )
            }
        })?;
        memory.copy_to(bytes);
        Ok((length, remote))
    }

    /// Closes the socket: waits for its operations and events to end, and lets WSK go. PASSIVE_LEVEL.
    ///
    /// # Errors
    ///
    /// What WSK says.
    pub fn close(self, _: Passive<'_>) -> Result<(), NTSTATUS> {
        self.0.close()
    }
}
