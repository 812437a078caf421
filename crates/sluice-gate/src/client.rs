//! The client of Sluice.

use core::marker::PhantomData;

use sluice_npi::{ClientCharacteristics, Header, SluiceClient, SluiceNpi, client_dispatch};
use wdk_nmr::{
    Client, ClientCall, ClientRegistration, ClientTable, GUID, ModuleId, Passive, ProviderOffer, Refusal,
    RegisterError, RegistrationOptions,
};

use crate::Platform;

/// What gate.sys calls itself in NMR: 3d0e2b64-5c1f-4f0c-9c52-6f7b3a1d8e05.
const MODULE_ID: ModuleId = ModuleId::Guid(GUID {
    Data1: 0x3d0e_2b64,
    Data2: 0x5c1f,
    Data3: 0x4f0c,
    Data4: [0x9c, 0x52, 0x6f, 0x7b, 0x3a, 0x1d, 0x8e, 0x05],
});

/// What Sluice shows the client as.
const NAME: &[u8] = b"gate";

/// The client that NMR attaches to every Sluice there is.
pub(crate) struct SluiceUser<P>(PhantomData<fn() -> P>);

impl<P: Platform> Client for SluiceUser<P> {
    type Npi = SluiceNpi;
    type Binding = ();
    type Guard = P::Guard;

    fn dispatch(&self) -> ClientTable<Self> {
        client_dispatch()
    }

    fn attach(&self, offer: &ProviderOffer<'_, SluiceNpi>) -> Result<(), Refusal> {
        // Only a provider that describes itself as the contract says is taken for Sluice.
        let _ = offer.characteristics()?;
        Ok(())
    }
}

impl<P: Platform> SluiceClient for SluiceUser<P> {
    /// Nothing is kept of earlier verdicts.
    fn policy_changed(_: &ClientCall<'_, Self>, _: u64) {}
}

/// The client, registered.
pub(crate) type Registered<P> = ClientRegistration<SluiceUser<P>, <P as Platform>::Image>;

/// Registers the client with NMR.
pub(crate) fn register<P: Platform>(image: P::Image, passive: Passive<'_>) -> Result<Registered<P>, RegisterError> {
    let mut name = [0; 32];
    for (place, byte) in name.iter_mut().zip(NAME) {
        *place = *byte;
    }
    let characteristics =
        ClientCharacteristics { header: Header::of::<ClientCharacteristics>(), driver_version: 1, name };
    let options = RegistrationOptions::new(MODULE_ID, characteristics).clock(P::uptime_ms);
    ClientRegistration::register(SluiceUser(PhantomData), options, image, passive)
}
