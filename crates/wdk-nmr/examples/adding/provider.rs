use core::sync::atomic::{AtomicU32, Ordering};

use wdk_nmr::{
    ClientOffer, GUID, ModuleId, Passive, Provider, ProviderCall, ProviderRegistration, ProviderTable, Refusal,
    RegisterError, RegistrationOptions, Resident, Single, VersionAndSize, provider_table,
};

use crate::interface::{Adding, AddingDispatch};

/// Keeps a sum for each client.
pub struct Adder;

impl Adder {
    fn add(call: ProviderCall<'_, Self>, number: u32) -> u32 {
        call.binding().fetch_add(number, Ordering::Relaxed).wrapping_add(number)
    }
}

impl Provider for Adder {
    type Npi = Adding;
    type Binding = AtomicU32;
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_table!(Self, AddingDispatch { header: VersionAndSize::of::<AddingDispatch>(1), add: fn Self::add })
    }

    fn attach(&self, client: &ClientOffer<'_, Adding>) -> Result<AtomicU32, Refusal> {
        if client.module_id().is_ok() { Ok(AtomicU32::new(0)) } else { Err(Refusal::NO_INTERFACE) }
    }
}

/// The last thing that DriverEntry does. DriverUnload calls `deregister` on what comes of it.
pub fn entry<R: Resident>(driver: R, passive: Passive<'_>) -> Result<ProviderRegistration<Adder, R>, RegisterError> {
    let id = ModuleId::Guid(GUID { Data1: 1, ..GUID::default() });
    ProviderRegistration::register(Adder, RegistrationOptions::new(id, ()), driver, passive)
}
