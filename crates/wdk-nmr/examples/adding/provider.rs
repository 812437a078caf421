use core::sync::atomic::{AtomicU32, Ordering};

use wdk_nmr::{
    ClientOffer, GUID, ModuleId, Passive, Provider, ProviderRegistration, ProviderTable, Refusal, RegisterError,
    RegistrationOptions, Resident, Single, provider_table,
};

use crate::interface::{Adding, AddingDispatch};

/// Keeps a sum for each client.
pub struct Adder;

impl Adder {
    fn add(&self, sum: &AtomicU32, number: u32) -> u32 {
        sum.fetch_add(number, Ordering::Relaxed).wrapping_add(number)
    }
}

impl Provider for Adder {
    type Npi = Adding;
    type Binding = AtomicU32;
    type Guard = Single;
    const DISPATCH: ProviderTable<Self> = provider_table!(Adder, AddingDispatch {
        version: 1,
        size: size_of::<AddingDispatch>() as u16,
        add: fn(number: u32) -> u32 = Adder::add,
    });

    fn attach(&self, client: &ClientOffer<'_, Adding>) -> Result<AtomicU32, Refusal> {
        if client.module_id().is_ok() { Ok(AtomicU32::new(0)) } else { Err(Refusal::NO_INTERFACE) }
    }
}

/// The last thing that DriverEntry does. DriverUnload calls `deregister` on what comes of it.
pub fn entry<R: Resident>(driver: R, passive: Passive<'_>) -> Result<ProviderRegistration<Adder, R>, RegisterError> {
    let id = ModuleId::Guid(GUID { Data1: 1, ..GUID::default() });
    ProviderRegistration::register(Adder, RegistrationOptions::new(id, ()), driver, passive)
}
