//! The interface between XDP for Windows and the drivers of network interfaces, in types. The facts are those of its
//! public headers (`xdp/control.h`, `xdp/objectheader.h`, `xdp/apiversion.h`) and of `src/nmr`,
//! github.com/microsoft/xdp-for-windows.
//!
//! Here the driver of a network card is the client, and XDP the provider: XDP registers for one interface when somebody
//! wants to use it, attaches, and takes from the client's table what it needs to call the driver.

use core::ffi::c_void;
use core::mem::offset_of;

use wdk_nmr::{Extensible, GUID, NPIID, NTSTATUS, Npi, NpiStructure, StructureError};

/// Names the interface in types.
pub struct Xdp;

/// XDP_BINDING_VERSION_1: the version of the registration instance, on both sides.
pub const BINDING_VERSION: u16 = 1;

// SAFETY: whoever registers the identifier keeps to the types below.
unsafe impl Npi for Xdp {
    const ID: NPIID = GUID::from_u128(0xe1cadf68_e3dd_4a4a_932d_386a29399f5e);
    // XDP does not return a table: it calls, and is not called.
    type ProviderDispatch = ();
    // It takes a revision of 1 or more, and looks at it before it attaches.
    type ClientDispatch = NpiClient;
    type ProviderCharacteristics = ();
    // A list of versions follows the structure.
    type ClientCharacteristics = Extensible<Capabilities>;
}

/// XDP_OBJECT_HEADER: how structures of XDP start. A later revision has further fields at its end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ObjectHeader {
    pub revision: u32,
    pub size: u32,
}

/// XDP_VERSION.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

// SAFETY: three numbers.
unsafe impl wdk_nmr::Plain for Version {}

// SAFETY: two numbers.
unsafe impl wdk_nmr::Plain for ObjectHeader {}

/// XDP_GET_INTERFACE_DISPATCH: asks the driver for its table of that major version. `context` is
/// [`NpiClient::get_interface_context`], not the binding context.
pub type GetInterfaceDispatch = unsafe extern "C" fn(
    version: *const Version,
    context: *mut c_void,
    interface_context: *mut *mut c_void,
    interface_dispatch: *mut *const c_void,
) -> NTSTATUS;

/// XDP_NPI_CLIENT: the client's dispatch table.
#[repr(C)]
pub struct NpiClient {
    pub header: ObjectHeader,
    pub get_interface_context: *mut c_void,
    pub get_interface_dispatch: GetInterfaceDispatch,
}

// SAFETY: `repr(C)`, starts with its header; an address that goes back to the driver, and a pointer to a function.
unsafe impl NpiStructure for NpiClient {
    type Header = ObjectHeader;

    fn check(header: &ObjectHeader) -> Result<usize, StructureError> {
        StructureError::unless_version(header.revision, 1..=u32::MAX)?;
        Ok(header.size as usize)
    }
}

/// XDP_CAPABILITIES: what a driver says of itself, with the one version of the driver API that it is made for. XDP
/// itself has two structures, XDP_CAPABILITIES_EX, and this, in which a list of one version follows it.
#[repr(C)]
pub struct Capabilities {
    pub header: ObjectHeader,
    /// Where the versions begin, in bytes from the start of the structure.
    pub driver_api_versions_offset: u32,
    pub driver_api_version_count: u32,
    /// The version of the headers with which the driver was built.
    pub ddk_driver_api_version: Version,
    /// The module id of the driver, too.
    pub instance_id: GUID,
    /// What follows the structure of revision 1.
    pub driver_api_version: Version,
}

/// The size of XDP_CAPABILITIES_EX of revision 1, which its header states.
pub const CAPABILITIES_EX_SIZE: usize = offset_of!(Capabilities, driver_api_version);

/// What [`Capabilities`] start with, as far as it says how long they are.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CapabilitiesHeader {
    header: ObjectHeader,
    driver_api_versions_offset: u32,
    driver_api_version_count: u32,
}

// SAFETY: `repr(C)`, starts with its header, numbers. The versions are where the header says.
unsafe impl NpiStructure for Capabilities {
    type Header = CapabilitiesHeader;

    fn check(header: &CapabilitiesHeader) -> Result<usize, StructureError> {
        StructureError::unless_version(header.header.revision, 1..=u32::MAX)?;
        let (found, least) = (header.header.size as usize, CAPABILITIES_EX_SIZE);
        if found < least {
            return Err(StructureError::Size { found, least });
        }
        let offset = header.driver_api_versions_offset as usize;
        let versions = size_of::<Version>().checked_mul(header.driver_api_version_count as usize);
        let end = versions.and_then(|size| size.checked_add(offset)).filter(|_| offset >= least);
        end.map(|end| end.max(found))
            .ok_or(StructureError::Other { expected: "driver API versions behind the structure" })
    }
}

/// XDP_INTERFACE_DISPATCH, revision 1: what XDP calls. Queues are left out of this example: their entries are NULL.
#[repr(C)]
pub struct InterfaceDispatch {
    pub header: ObjectHeader,
    pub open_interface: Option<unsafe extern "C" fn(interface: *mut c_void, config: *mut c_void) -> NTSTATUS>,
    pub close_interface: Option<unsafe extern "C" fn(interface: *mut c_void)>,
    pub create_rx_queue: Option<
        unsafe extern "C" fn(
            interface: *mut c_void,
            config: *mut c_void,
            queue: *mut *mut c_void,
            dispatch: *mut *const c_void,
        ) -> NTSTATUS,
    >,
    pub activate_rx_queue: Option<unsafe extern "C" fn(queue: *mut c_void, xdp: *mut c_void, config: *mut c_void)>,
    pub delete_rx_queue: Option<unsafe extern "C" fn(queue: *mut c_void)>,
    pub create_tx_queue: Option<
        unsafe extern "C" fn(
            interface: *mut c_void,
            config: *mut c_void,
            queue: *mut *mut c_void,
            dispatch: *mut *const c_void,
        ) -> NTSTATUS,
    >,
    pub activate_tx_queue: Option<unsafe extern "C" fn(queue: *mut c_void, xdp: *mut c_void, config: *mut c_void)>,
    pub delete_tx_queue: Option<unsafe extern "C" fn(queue: *mut c_void)>,
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<ObjectHeader>() == 8 && size_of::<Version>() == 12);
    assert!(size_of::<NpiClient>() == 24 && offset_of!(NpiClient, get_interface_context) == 8);
    assert!(offset_of!(NpiClient, get_interface_dispatch) == 16);
    assert!(CAPABILITIES_EX_SIZE == 44 && size_of::<Capabilities>() == 56);
    assert!(offset_of!(Capabilities, driver_api_versions_offset) == 8);
    assert!(offset_of!(Capabilities, ddk_driver_api_version) == 16 && offset_of!(Capabilities, instance_id) == 28);
    assert!(size_of::<InterfaceDispatch>() == 72 && offset_of!(InterfaceDispatch, open_interface) == 8);
};
