//! The client of Sluice.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use sluice_control::message::{ModuleId as ModuleIdMessage, ProviderStatus};
use sluice_control::probe::{Batch, Operations, dispatch};
use sluice_control::status::{STATUS_DEVICE_NOT_READY, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER};
use sluice_control::{Completion, List, NTSTATUS, Request, RequestHandler};
use sluice_npi::{
    CallSluice, ClientCharacteristics, Header, PacketRef, SluiceClient, SluiceNpi, Verdict, client_dispatch,
};
use wdk_nmr::{
    Client, ClientCall, ClientRegistration, ClientTable, GUID, InCriticalRegion, Leaked, ModuleId, Passive,
    PerProcessor, ProviderOffer, Refusal, RegisterError, RegistrationOptions,
};
use wdk_nmr_wdm::{DriverImage, KernelProcessors, KernelRegion, at_dispatch_level};

/// What probe.sys calls itself in NMR: 918576ed-61a6-4846-bdb1-1c7dab032993.
const MODULE_ID: ModuleId = ModuleId::Guid(GUID {
    Data1: 0x9185_76ed,
    Data2: 0x61a6,
    Data3: 0x4846,
    Data4: [0xbd, 0xb1, 0x1c, 0x7d, 0xab, 0x03, 0x29, 0x93],
});

/// The client that NMR attaches to every Sluice there is.
#[derive(Default)]
pub(crate) struct Probe {
    /// How many calls it has made into providers.
    calls: AtomicUsize,
}

/// What the probe knows of one provider.
pub(crate) struct Sluice {
    module_id: ModuleId,
    /// The largest generation that was announced; announcements of two policies may overtake each other.
    generation: AtomicU64,
}

impl Client for Probe {
    type Npi = SluiceNpi;
    type Binding = Sluice;
    // Requests arrive on many processors at once, so calls are counted per processor.
    type Guard = InCriticalRegion<KernelRegion, PerProcessor<KernelProcessors, 64>>;

    fn dispatch(&self) -> ClientTable<Self> {
        client_dispatch()
    }

    fn attach(&self, offer: &ProviderOffer<'_, SluiceNpi>) -> Result<Sluice, Refusal> {
        // Only a provider that describes itself as the contract says is taken for Sluice.
        let _ = offer.characteristics()?;
        Ok(Sluice { module_id: offer.module_id()?, generation: AtomicU64::new(0) })
    }
}

impl SluiceClient for Probe {
    fn policy_changed(call: &ClientCall<'_, Self>, generation: u64) {
        call.binding().generation.fetch_max(generation, Ordering::Relaxed);
    }
}

/// The name that Sluice shows: as much of the service's name as fits, in UTF-8, padded with zeros.
fn name_of(service: &[u16]) -> [u8; 32] {
    let mut name = [0; 32];
    let mut place = name.as_mut_slice();
    for character in char::decode_utf16(service.iter().copied()) {
        let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
        let Some((to, rest)) = place.split_at_mut_checked(character.len_utf8()) else { break };
        character.encode_utf8(to);
        place = rest;
    }
    name
}

/// The registered client. It answers the device's requests with the first provider.
pub(crate) struct RegisteredProbe(ClientRegistration<Probe, DriverImage>);

impl RegisteredProbe {
    /// Registers the probe with NMR. Sluice shows it under the name of its service.
    pub(crate) fn register(service: &[u16], image: DriverImage, passive: Passive<'_>) -> Result<Self, RegisterError> {
        let header = Header::of::<ClientCharacteristics>();
        let characteristics = ClientCharacteristics { header, driver_version: 1, name: name_of(service) };
        let options = RegistrationOptions::new(MODULE_ID, characteristics).clock(sluice_wdm::uptime_ms);
        ClientRegistration::register(Probe::default(), options, image, passive).map(Self)
    }

    /// Ends the registration and waits for that. DriverUnload.
    pub(crate) fn deregister(self, passive: Passive<'_>) -> Result<(), Leaked> {
        self.0.deregister(passive)
    }
}

impl RequestHandler for RegisteredProbe {
    fn answer(&self, request: Request<'_>) -> Completion {
        dispatch(self, request)
    }
}

impl Operations for RegisteredProbe {
    type Verdicts = Vec<Verdict>;

    fn classify(&self, batch: &Batch<'_>) -> Result<Vec<Verdict>, NTSTATUS> {
        let mut packets: Vec<PacketRef<'_>> = Vec::new();
        let mut verdicts = Vec::new();
        packets.try_reserve_exact(batch.len()).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        verdicts.try_reserve_exact(batch.len()).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        let mut count = 0;
        // Written in place: a push would bring along the code, and the panic, of a vector that has to grow.
        for (place, packet) in packets.spare_capacity_mut().iter_mut().zip(batch.packets()) {
            let packet = PacketRef::new(packet.link_type, packet.direction, packet.bytes, packet.wire_length);
            place.write(packet.ok_or(STATUS_INVALID_PARAMETER)?);
            count += 1;
        }
        // SAFETY: the first `count` places have been written.
        unsafe { packets.set_len(count) };
        let room = verdicts.spare_capacity_mut();
        // In turns as a driver with packets from applications calls, and as one with packets from the network.
        let classified = if self.0.client().calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            self.0.providers().next().map(|sluice| sluice.classify(&packets, room).map(<[_]>::len))
        } else {
            at_dispatch_level(|dispatch| {
                let sluice = self.0.providers().at_dispatch(dispatch).next();
                sluice.map(|sluice| sluice.classify(&packets, room).map(<[_]>::len))
            })
        };
        let count = classified.ok_or(STATUS_DEVICE_NOT_READY)?.map_err(|failed| failed.0)?;
        // SAFETY: `count` verdicts were written at the start of the spare capacity of an empty vector.
        unsafe { verdicts.set_len(count) };
        Ok(verdicts)
    }

    fn providers(&self, providers: &mut List<'_, ProviderStatus>) {
        for sluice in self.0.providers() {
            // A provider that does not answer is on its way out.
            let Ok(statistics) = sluice.query_statistics() else { continue };
            let binding = sluice.binding();
            providers.push(&ProviderStatus {
                module_id: ModuleIdMessage::from(binding.module_id),
                reserved: 0,
                generation: binding.generation.load(Ordering::Relaxed),
                statistics,
            });
        }
    }
}
