//! The driver of a network card that offers itself to XDP: one client of XDP's interface for each card, with a table
//! and an identifier of its own.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};

use wdk_nmr::{
    Client, ClientRegistration, ClientTable, GUID, ModuleId, NTSTATUS, Passive, ProviderOffer, Refusal, RegisterError,
    RegistrationOptions, Resident, Single, by_hand, client_table,
};

use crate::interface::{
    BINDING_VERSION, CAPABILITIES_EX_SIZE, Capabilities, InterfaceDispatch, NpiClient, ObjectHeader, Version, Xdp,
};

const STATUS_SUCCESS: NTSTATUS = 0;
const STATUS_NOT_SUPPORTED: NTSTATUS = 0xC000_00BB_u32.cast_signed();

/// The version of the driver API that this driver is written for.
const DRIVER_API: Version = Version { major: 1, minor: 0, patch: 0 };

/// A network card.
pub struct Interface {
    opened: AtomicU32,
    dispatch: InterfaceDispatch,
}

impl Interface {
    /// How often XDP has opened the card and not closed it.
    pub fn opened(&self) -> u32 {
        self.opened.load(Ordering::Relaxed)
    }

    /// XDP_OPEN_INTERFACE.
    ///
    /// # Safety
    ///
    /// `interface` is the interface context that [`get_interface_dispatch`](Self::get_interface_dispatch) has returned,
    /// and XDP is attached.
    unsafe extern "C" fn open(interface: *mut c_void, _: *mut c_void) -> NTSTATUS {
        // SAFETY: the card stays where it is as long as it is registered, and longer than XDP is attached.
        unsafe { &*interface.cast::<Self>() }.opened.fetch_add(1, Ordering::Relaxed);
        STATUS_SUCCESS
    }

    /// XDP_CLOSE_INTERFACE.
    ///
    /// # Safety
    ///
    /// As [`open`](Self::open).
    unsafe extern "C" fn close(interface: *mut c_void) {
        // SAFETY: the card stays where it is as long as it is registered, and longer than XDP is attached.
        unsafe { &*interface.cast::<Self>() }.opened.fetch_sub(1, Ordering::Relaxed);
    }

    /// XDP_GET_INTERFACE_DISPATCH, written by hand: what it gets is not the binding context, but the address of the
    /// card that stands beside it in the table.
    ///
    /// # Safety
    ///
    /// XDP is attached, and calls with the context of the table, a version, and places for two pointers.
    unsafe extern "C" fn get_interface_dispatch(
        version: *const Version,
        context: *mut c_void,
        interface_context: *mut *mut c_void,
        interface_dispatch: *mut *const c_void,
    ) -> NTSTATUS {
        // SAFETY: XDP passes a version.
        if unsafe { *version }.major != DRIVER_API.major {
            return STATUS_NOT_SUPPORTED;
        }
        // SAFETY: the context is the card, which stays where it is as long as it is registered.
        let interface = unsafe { &*context.cast::<Self>() };
        // SAFETY: XDP passes a place for the result.
        unsafe { interface_context.write(context) };
        // SAFETY: XDP passes a place for the result.
        unsafe { interface_dispatch.write((&raw const interface.dispatch).cast()) };
        STATUS_SUCCESS
    }
}

impl Client for Interface {
    type Npi = Xdp;
    type Binding = ();
    // XDP has no table: it is never called.
    type Guard = Single;

    /// Each card has a table of its own, since the address of the card is in it.
    fn dispatch(&self) -> ClientTable<Self> {
        client_table!(
            Self,
            NpiClient {
                header: ObjectHeader { revision: 1, size: size_of::<NpiClient>() as u32 },
                // SAFETY: the card stays where it is as long as it is registered.
                get_interface_context: unsafe { by_hand((&raw const *self).cast_mut().cast::<c_void>()) },
                // SAFETY: the function gets the context that stands before it.
                get_interface_dispatch: unsafe { by_hand(Self::get_interface_dispatch) },
            }
        )
    }

    fn attach(&self, _: &ProviderOffer<'_, Xdp>) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Registers the card with this interface index. `instance_id` is another GUID for each card, and new each time
/// (ExUuidCreate).
pub fn register<R: Resident>(
    interface_index: u32,
    instance_id: GUID,
    driver: R,
    passive: Passive<'_>,
) -> Result<ClientRegistration<Interface, R>, RegisterError> {
    let interface = Interface {
        opened: AtomicU32::new(0),
        dispatch: InterfaceDispatch {
            header: ObjectHeader { revision: 1, size: size_of::<InterfaceDispatch>() as u32 },
            open_interface: Some(Interface::open),
            close_interface: Some(Interface::close),
            create_rx_queue: None,
            activate_rx_queue: None,
            delete_rx_queue: None,
            create_tx_queue: None,
            activate_tx_queue: None,
            delete_tx_queue: None,
        },
    };
    let capabilities = Capabilities {
        header: ObjectHeader { revision: 1, size: CAPABILITIES_EX_SIZE as u32 },
        driver_api_versions_offset: CAPABILITIES_EX_SIZE as u32,
        driver_api_version_count: 1,
        ddk_driver_api_version: DRIVER_API,
        instance_id,
        driver_api_version: DRIVER_API,
    };
    // XDP attaches to the module with this id and number, if the version is right, and to no second one at a time.
    let options = RegistrationOptions::new(ModuleId::Guid(instance_id), capabilities)
        .version(BINDING_VERSION)
        .number(interface_index)
        .one_peer();
    ClientRegistration::register(interface, options, driver, passive)
}
