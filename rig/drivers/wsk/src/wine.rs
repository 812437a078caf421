//! Wine's Winsock Kernel as a provider of NMR. Wine hands out the table to whoever calls WskCaptureProviderNPI, without
//! NMR; in Windows the same table comes by NMR, and WskCaptureProviderNPI is a client of it.

use alloc::boxed::Box;
use core::ffi::c_void;
use core::ptr::{self, NonNull};

use sluice_wdm::try_box;
use wdk_nmr::{
    ClientOffer, GUID, ModuleId, NTSTATUS, Passive, Provider, ProviderCall, ProviderRegistration, ProviderTable,
    Refusal, RegistrationOptions, Single, provider_table,
};
use wdk_nmr_wdm::DriverImage;

use crate::interface::{
    ClientDispatch, ProviderCharacteristics, ProviderDispatch, VERSION_1_0, VersionAndReserved, Wsk,
};
use crate::kernel::Irp;

const STATUS_INTERNAL_ERROR: NTSTATUS = 0xC000_00E5_u32.cast_signed();

/// WSK_CLIENT_NPI.
#[repr(C)]
struct ClientNpi {
    context: *mut c_void,
    dispatch: *const ClientDispatch,
}

/// WSK_REGISTRATION: the memory of WSK for one client.
#[repr(C)]
#[derive(Default)]
struct Registration {
    reserved: [usize; 3],
}

/// WSK_PROVIDER_NPI.
#[repr(C)]
struct ProviderNpi {
    client: *mut c_void,
    dispatch: *const ProviderDispatch,
}

// A copy of Wine's netio.sys under another name: the rig's has that one (tests/wsk.rs).
#[link(name = "wskwine.sys", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    fn WskRegister(npi: *const ClientNpi, registration: *mut Registration) -> NTSTATUS;
    fn WskCaptureProviderNPI(registration: *mut Registration, timeout: u32, npi: *mut ProviderNpi) -> NTSTATUS;
    fn WskReleaseProviderNPI(registration: *mut Registration);
    fn WskDeregister(registration: *mut Registration);
}

/// A client of Wine's WSK.
struct Registered {
    registration: Box<Registration>,
    /// What WSK may keep a pointer to.
    _npi: Box<ClientNpi>,
}

impl Registered {
    fn new() -> Result<Self, NTSTATUS> {
        static DISPATCH: ClientDispatch =
            ClientDispatch { header: VersionAndReserved { version: VERSION_1_0, reserved: 0 }, client_event: None };
        let npi = try_box(ClientNpi { context: ptr::null_mut(), dispatch: &raw const DISPATCH })?;
        let mut registration = try_box(Registration::default())?;
        // SAFETY: both stay until WskDeregister.
        let status = unsafe { WskRegister(&raw const *npi, &raw mut *registration) };
        if status < 0 { Err(status) } else { Ok(Self { registration, _npi: npi }) }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: it was registered, and what was captured is released.
        unsafe { WskDeregister(&raw mut *self.registration) };
    }
}

/// Wine's WSK.
pub(crate) struct Wine {
    client: NonNull<c_void>,
    dispatch: NonNull<ProviderDispatch>,
    registered: Registered,
}

// SAFETY: the addresses are good on any thread until the drop.
unsafe impl Send for Wine {}
// SAFETY: WSK's functions may be called on any thread, and on several at once.
unsafe impl Sync for Wine {}

impl Drop for Wine {
    fn drop(&mut self) {
        // SAFETY: it was captured.
        unsafe { WskReleaseProviderNPI(&raw mut *self.registered.registration) };
    }
}

/// Wine's WSK under NMR.
pub(crate) type UnderNmr = ProviderRegistration<Wine, DriverImage>;

impl Wine {
    fn capture() -> Result<Self, NTSTATUS> {
        let mut registered = Registered::new()?;
        let mut npi = ProviderNpi { client: ptr::null_mut(), dispatch: ptr::null() };
        // SAFETY: it is registered; the place for the answer lives through the call.
        let status = unsafe { WskCaptureProviderNPI(&raw mut *registered.registration, 0, &raw mut npi) };
        if status < 0 {
            return Err(status);
        }
        let client = NonNull::new(npi.client).ok_or(STATUS_INTERNAL_ERROR)?;
        let dispatch = NonNull::new(npi.dispatch.cast_mut()).ok_or(STATUS_INTERNAL_ERROR)?;
        Ok(Self { client, dispatch, registered })
    }

    /// Captures it, and registers it with NMR.
    ///
    /// # Errors
    ///
    /// What WSK or NMR says.
    pub(crate) fn register(driver: DriverImage, passive: Passive<'_>) -> Result<UnderNmr, NTSTATUS> {
        let id = ModuleId::Guid(GUID::from_u128(0x9c9b_5d0e_6f0a_4c0e_8b61_6d5b_5a1f_4f10));
        let versions = ProviderCharacteristics { highest_version: VERSION_1_0, lowest_version: VERSION_1_0 };
        ProviderRegistration::register(Self::capture()?, RegistrationOptions::new(id, versions), driver, passive)
            .map_err(|error| error.status())
    }

    fn table(&self) -> &ProviderDispatch {
        // SAFETY: the table stays as long as it is captured.
        unsafe { self.dispatch.as_ref() }
    }

    /// WskSocket.
    #[allow(clippy::too_many_arguments, reason = "it is WSK's function")]
    fn socket(
        call: ProviderCall<'_, Self>,
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
    ) -> NTSTATUS {
        let wine = call.provider();
        let socket = wine.table().socket;
        let client = wine.client.as_ptr();
        // SAFETY: the client's arguments, and the context under which Wine knows us.
        unsafe {
            socket(
                client,
                address_family,
                socket_type,
                protocol,
                flags,
                context,
                dispatch,
                process,
                thread,
                security,
                irp,
            )
        }
    }

    /// WskControlClient.
    #[allow(clippy::too_many_arguments, reason = "it is WSK's function")]
    fn control_client(
        call: ProviderCall<'_, Self>,
        code: u32,
        input_size: usize,
        input: *mut c_void,
        output_size: usize,
        output: *mut c_void,
        returned: *mut usize,
        irp: *mut Irp,
    ) -> NTSTATUS {
        let wine = call.provider();
        let control_client = wine.table().control_client;
        // SAFETY: the client's arguments, and the context under which Wine knows us.
        unsafe { control_client(wine.client.as_ptr(), code, input_size, input, output_size, output, returned, irp) }
    }
}

impl Provider for Wine {
    type Npi = Wsk;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_table!(
            Self,
            ProviderDispatch {
                header: VersionAndReserved { version: VERSION_1_0, reserved: 0 },
                socket: fn Self::socket,
                socket_connect: null,
                control_client: fn Self::control_client,
                get_address_info: null,
                free_address_info: null,
                get_name_info: null,
            }
        )
    }

    fn attach(&self, _: &ClientOffer<'_, Wsk>) -> Result<(), Refusal> {
        Ok(())
    }
}
