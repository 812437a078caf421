use wdk_nmr::{
    AttachedProvider, Client, ClientRegistration, ClientTable, GUID, ModuleId, Passive, ProviderOffer, Refusal,
    RegisterError, RegistrationOptions, Resident, Single,
};

use crate::interface::Adding;

/// Adds up what it is told to, with every provider that there is.
pub struct Counter;

impl Client for Counter {
    type Npi = Adding;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, provider: &ProviderOffer<'_, Adding>) -> Result<(), Refusal> {
        if provider.number() == 0 { Ok(()) } else { Err(Refusal::NO_INTERFACE) }
    }
}

/// The crate of an interface offers such a function, so that clients need no unsafe code.
fn add(provider: &AttachedProvider<'_, Counter>, number: u32) -> u32 {
    provider.call(|table, context| {
        // SAFETY: the context came with the table.
        unsafe { (table.add)(context, number) }
    })
}

/// The sum of each provider that is attached at this moment.
pub fn add_everywhere<R: Resident>(counter: &ClientRegistration<Counter, R>, number: u32) -> impl Iterator<Item = u32> {
    counter.providers().map(move |provider| add(&provider, number))
}

/// The last thing that DriverEntry does. DriverUnload calls `deregister` on what comes of it.
pub fn entry<R: Resident>(driver: R, passive: Passive<'_>) -> Result<ClientRegistration<Counter, R>, RegisterError> {
    let id = ModuleId::Guid(GUID { Data1: 2, ..GUID::default() });
    ClientRegistration::register(Counter, RegistrationOptions::new(id, ()), driver, passive)
}
