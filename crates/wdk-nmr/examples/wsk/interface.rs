//! The part of Winsock Kernel (WSK) that a driver with datagram and stream sockets uses, in types. The facts are those
//! of the documentation of `wsk.h` (learn.microsoft.com/windows-hardware/drivers/ddi/wsk).
//!
//! WSK is the provider, and has one client for each driver that uses sockets. A client finds two things in the table
//! that it gets: how to make a socket, and how to talk to WSK itself. Each socket then has a table of its own, which
//! NMR knows nothing of. Operations take an IRP and end when it is completed, often later.

use core::ffi::c_void;
use core::mem::offset_of;

use wdk_nmr::{GUID, NPIID, NTSTATUS, Npi, NpiStructure, StructureError};

use crate::kernel::Irp;

/// Names the interface in types.
pub struct Wsk;

/// MAKE_WSK_VERSION(1, 0).
pub const VERSION_1_0: u16 = 0x0100;
/// WSK_FLAG_LISTEN_SOCKET.
pub const FLAG_LISTEN_SOCKET: u32 = 1;
/// WSK_FLAG_CONNECTION_SOCKET.
pub const FLAG_CONNECTION_SOCKET: u32 = 2;
/// WSK_FLAG_DATAGRAM_SOCKET.
pub const FLAG_DATAGRAM_SOCKET: u32 = 4;
/// WskSetOption of WSK_CONTROL_SOCKET_TYPE.
pub const SET_OPTION: i32 = 0;
/// SO_WSK_EVENT_CALLBACK: WSK_SO_BASE, which is 0x4000, and 2.
pub const SO_EVENT_CALLBACK: u32 = 0x4002;
/// SOL_SOCKET.
pub const SOL_SOCKET: u32 = 0xFFFF;
/// WSK_EVENT_RECEIVE.
pub const EVENT_RECEIVE: u32 = 0x40;
/// WSK_EVENT_DISCONNECT.
pub const EVENT_DISCONNECT: u32 = 0x80;
/// WSK_EVENT_RECEIVE_FROM.
pub const EVENT_RECEIVE_FROM: u32 = 0x100;

// SAFETY: whoever registers the identifier keeps to the types below.
unsafe impl Npi for Wsk {
    const ID: NPIID = GUID::from_u128(0x2227e803_8d8b_11d4_abad_009027719e09);
    type ProviderDispatch = ProviderDispatch;
    type ClientDispatch = ClientDispatch;
    type ProviderCharacteristics = ProviderCharacteristics;
    type ClientCharacteristics = ();
}

/// How the tables start: a version, and 0. There is no size.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VersionAndReserved {
    pub version: u16,
    pub reserved: u16,
}

// SAFETY: two numbers.
unsafe impl wdk_nmr::Plain for VersionAndReserved {}

/// WSK_CLIENT_DISPATCH.
#[repr(C)]
pub struct ClientDispatch {
    pub header: VersionAndReserved,
    /// NULL if the client wants to hear of nothing but its sockets.
    pub client_event: Option<
        unsafe extern "system" fn(context: *mut c_void, event: u32, data: *mut c_void, length: usize) -> NTSTATUS,
    >,
}

/// WSK_PROVIDER_DISPATCH, as of Windows 7.
#[repr(C)]
pub struct ProviderDispatch {
    pub header: VersionAndReserved,
    pub socket: unsafe extern "system" fn(
        client: *mut c_void,
        address_family: u16,
        socket_type: u16,
        protocol: u32,
        flags: u32,
        context: *mut c_void,
        dispatch: *const c_void,
        process: *mut c_void,
        thread: *mut c_void,
        security: *mut c_void,
        irp: *mut Irp,
    ) -> NTSTATUS,
    pub socket_connect: Option<unsafe extern "system" fn()>,
    pub control_client: unsafe extern "system" fn(
        client: *mut c_void,
        code: u32,
        input_size: usize,
        input: *mut c_void,
        output_size: usize,
        output: *mut c_void,
        returned: *mut usize,
        irp: *mut Irp,
    ) -> NTSTATUS,
    pub get_address_info: Option<unsafe extern "system" fn()>,
    pub free_address_info: Option<unsafe extern "system" fn()>,
    pub get_name_info: Option<unsafe extern "system" fn()>,
}

/// Tables of one version, and so of one size.
macro_rules! tables {
    ($($table:ty),*) => {
        $(
            // SAFETY: `repr(C)`, starts with its header; pointers to functions.
            unsafe impl NpiStructure for $table {
                type Header = VersionAndReserved;

                fn check(header: &VersionAndReserved) -> Result<usize, StructureError> {
                    StructureError::unless_version(header.version, VERSION_1_0..=VERSION_1_0)?;
                    Ok(size_of::<Self>())
                }
            }
        )*
    };
}
tables!(ClientDispatch, ProviderDispatch);

/// WSK_PROVIDER_CHARACTERISTICS: the versions that WSK has.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ProviderCharacteristics {
    pub highest_version: u16,
    pub lowest_version: u16,
}

// SAFETY: `repr(C)`, two numbers.
unsafe impl NpiStructure for ProviderCharacteristics {
    type Header = Self;

    fn check(header: &Self) -> Result<usize, StructureError> {
        if header.lowest_version > header.highest_version {
            return Err(StructureError::Other { expected: "a lowest version that is not above the highest" });
        }
        Ok(size_of::<Self>())
    }
}

/// WSK_SOCKET: an object of WSK's, which starts with the table of its kind of socket.
#[repr(C)]
pub struct Socket {
    pub dispatch: *const c_void,
}

/// What the tables of all kinds of sockets start with: WSK_PROVIDER_BASIC_DISPATCH, and WskBind behind it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CommonDispatch {
    pub control_socket: unsafe extern "system" fn(
        socket: *mut Socket,
        kind: i32,
        code: u32,
        level: u32,
        input_size: usize,
        input: *mut c_void,
        output_size: usize,
        output: *mut c_void,
        returned: *mut usize,
        irp: *mut Irp,
    ) -> NTSTATUS,
    pub close_socket: unsafe extern "system" fn(socket: *mut Socket, irp: *mut Irp) -> NTSTATUS,
    pub bind: unsafe extern "system" fn(
        socket: *mut Socket,
        address: *const SocketAddress,
        flags: u32,
        irp: *mut Irp,
    ) -> NTSTATUS,
}

/// WskGetLocalAddress and WskGetRemoteAddress.
pub type GetAddress =
    unsafe extern "system" fn(socket: *mut Socket, address: *mut SocketAddress, irp: *mut Irp) -> NTSTATUS;

/// WSK_PROVIDER_LISTEN_DISPATCH.
#[repr(C)]
pub struct ListenDispatch {
    pub common: CommonDispatch,
    /// IoStatus.Information of the IRP is the new socket.
    pub accept: unsafe extern "system" fn(
        socket: *mut Socket,
        flags: u32,
        context: *mut c_void,
        events: *const ConnectionEvents,
        local: *mut SocketAddress,
        remote: *mut SocketAddress,
        irp: *mut Irp,
    ) -> NTSTATUS,
    /// For conditional accept, which is not in this example.
    pub inspect_complete: *const c_void,
    pub get_local_address: GetAddress,
}

/// WskSend, WskReceive and WskDisconnect.
pub type Transfer =
    unsafe extern "system" fn(socket: *mut Socket, buffer: *const Buffer, flags: u32, irp: *mut Irp) -> NTSTATUS;

/// WSK_PROVIDER_CONNECTION_DISPATCH.
#[repr(C)]
pub struct ConnectionDispatch {
    pub common: CommonDispatch,
    pub connect: unsafe extern "system" fn(
        socket: *mut Socket,
        remote: *const SocketAddress,
        flags: u32,
        irp: *mut Irp,
    ) -> NTSTATUS,
    pub get_local_address: GetAddress,
    pub get_remote_address: GetAddress,
    pub send: Transfer,
    pub receive: Transfer,
    /// Without a buffer: what has been sent arrives, and after it the end.
    pub disconnect: Transfer,
    pub release: unsafe extern "system" fn(socket: *mut Socket, indication: *mut DataIndication) -> NTSTATUS,
}

/// WSK_CLIENT_CONNECTION_DISPATCH: the events of one connection. The context is that of the socket.
#[repr(C)]
pub struct ConnectionEvents {
    /// No indication: the other side has disconnected, in good order.
    pub receive: Option<
        unsafe extern "system" fn(
            context: *mut c_void,
            flags: u32,
            indication: *mut DataIndication,
            indicated: usize,
            accepted: *mut usize,
        ) -> NTSTATUS,
    >,
    pub disconnect: Option<unsafe extern "system" fn(context: *mut c_void, flags: u32) -> NTSTATUS>,
    pub send_backlog: Option<unsafe extern "system" fn(context: *mut c_void, ideal_size: usize) -> NTSTATUS>,
}

/// WSK_DATA_INDICATION: a list of bytes that have come.
#[repr(C)]
pub struct DataIndication {
    pub next: *mut DataIndication,
    pub buffer: Buffer,
}

/// WSK_PROVIDER_DATAGRAM_DISPATCH.
#[repr(C)]
pub struct DatagramDispatch {
    pub common: CommonDispatch,
    pub send_to: unsafe extern "system" fn(
        socket: *mut Socket,
        buffer: *const Buffer,
        flags: u32,
        remote: *const SocketAddress,
        control_length: u32,
        control: *mut c_void,
        irp: *mut Irp,
    ) -> NTSTATUS,
    pub receive_from: unsafe extern "system" fn(
        socket: *mut Socket,
        buffer: *const Buffer,
        flags: u32,
        remote: *mut SocketAddress,
        control_length: *mut u32,
        control: *mut c_void,
        control_flags: *mut u32,
        irp: *mut Irp,
    ) -> NTSTATUS,
    pub release: unsafe extern "system" fn(socket: *mut Socket, indication: *mut DatagramIndication) -> NTSTATUS,
    pub get_local_address: GetAddress,
    pub send_messages: *const c_void,
}

/// WSK_CLIENT_DATAGRAM_DISPATCH: the events of one socket. The context is that of the socket.
#[repr(C)]
pub struct DatagramEvents {
    pub receive_from: Option<
        unsafe extern "system" fn(context: *mut c_void, flags: u32, indication: *mut DatagramIndication) -> NTSTATUS,
    >,
}

/// WSK_EVENT_CALLBACK_CONTROL: which events of a socket are wanted.
#[repr(C)]
pub struct EventCallbackControl {
    pub npi_id: *const NPIID,
    pub event_mask: u32,
}

/// WSK_BUF: so many bytes of what an MDL describes, from the offset on.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Buffer {
    pub mdl: *mut c_void,
    pub offset: u32,
    pub length: usize,
}

/// WSK_DATAGRAM_INDICATION: a list of datagrams that have come.
#[repr(C)]
pub struct DatagramIndication {
    pub next: *mut DatagramIndication,
    pub buffer: Buffer,
    pub control: *mut c_void,
    pub control_length: u32,
    pub remote: *mut SocketAddress,
}

/// SOCKADDR_IN.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketAddress {
    pub family: u16,
    /// In network byte order.
    pub port: u16,
    pub address: [u8; 4],
    pub zero: [u8; 8],
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<ClientDispatch>() == 16 && offset_of!(ClientDispatch, client_event) == 8);
    assert!(size_of::<ProviderDispatch>() == 56 && offset_of!(ProviderDispatch, socket) == 8);
    assert!(offset_of!(ProviderDispatch, control_client) == 24 && size_of::<ProviderCharacteristics>() == 4);
    assert!(size_of::<DatagramDispatch>() == 64 && offset_of!(CommonDispatch, bind) == 16);
    assert!(size_of::<ListenDispatch>() == 48 && offset_of!(ListenDispatch, accept) == 24);
    assert!(size_of::<ConnectionDispatch>() == 80 && offset_of!(ConnectionDispatch, send) == 48);
    assert!(size_of::<ConnectionEvents>() == 24 && size_of::<DataIndication>() == 32);
    assert!(offset_of!(DatagramDispatch, release) == 40 && size_of::<DatagramEvents>() == 8);
    assert!(size_of::<Buffer>() == 24 && offset_of!(Buffer, length) == 16);
    assert!(size_of::<DatagramIndication>() == 56 && offset_of!(DatagramIndication, remote) == 48);
    assert!(size_of::<EventCallbackControl>() == 16 && size_of::<SocketAddress>() == 16);
};
