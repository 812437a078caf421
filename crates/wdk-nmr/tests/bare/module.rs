//! A provider and a client with nothing but core and alloc. `tests/bare.rs` compiles this and looks at the code.
#![no_std]

use core::ffi::c_void;

use wdk_nmr::*;

pub struct Adding;

#[repr(C)]
pub struct Table {
    version: u16,
    size: u16,
    add: unsafe extern "system" fn(context: *mut c_void, number: u32) -> u32,
}

// SAFETY: starts with version and size.
unsafe impl NpiStructure for Table {
    type Header = VersionAndSize;

    fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
        header.check(1..=1)
    }
}

// SAFETY: the two modules below.
unsafe impl Npi for Adding {
    const ID: NPIID = NPIID { Data1: 1, Data2: 2, Data3: 3, Data4: [4; 8] };
    type ProviderDispatch = Table;
    type ClientDispatch = Table;
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

pub struct Adder(u32);

impl Provider for Adder {
    type Npi = Adding;
    type Binding = u32;
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        // SAFETY: the function takes contexts of bindings of `Adder`.
        unsafe { ProviderTable::new(Table { version: 1, size: 16, add: trampoline }) }
    }

    fn attach(&self, client: &ClientOffer<'_, Adding>) -> Result<u32, Refusal> {
        client.module_id()?;
        Ok(client.number())
    }
}

/// What a client calls.
///
/// # Safety
///
/// The context is that of a binding of `Adder`.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn trampoline(context: *mut c_void, number: u32) -> u32 {
    // SAFETY: the client calls with the context that came with the table.
    let call = unsafe { ProviderCall::<Adder>::new(context) };
    call.provider().0.wrapping_add(*call.binding()).wrapping_add(number)
}

pub struct Caller;

pub struct OneProcessor;

impl ShardIndex for OneProcessor {
    fn current() -> usize {
        5
    }
}

// SAFETY: never run.
unsafe impl Processors for OneProcessor {
    fn barrier() {
        core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
    }
}

/// What the table's function calls.
fn handler(call: ClientCall<'_, Caller>, number: u32) -> u32 {
    number.wrapping_add(*call.binding())
}

impl Client for Caller {
    type Npi = Adding;
    type Binding = u32;
    type Guard = PerProcessor<OneProcessor, 64>;

    fn dispatch(&self) -> ClientTable<Self> {
        client_table!(Self, Table { version: 1, size: 16, add: fn handler })
    }

    fn attach(&self, provider: &ProviderOffer<'_, Adding>) -> Result<u32, Refusal> {
        Ok(provider.number())
    }
}

pub struct Driver;

// SAFETY: never run.
unsafe impl Resident for Driver {}

fn options() -> RegistrationOptions<()> {
    RegistrationOptions::new(ModuleId::IfLuid(1), ()).one_peer()
}

pub fn register_provider(passive: Passive<'_>) -> Result<ProviderRegistration<Adder, Driver>, RegisterError> {
    ProviderRegistration::register(Adder(1), options(), Driver, passive)
}

pub fn register_client(passive: Passive<'_>) -> Result<ClientRegistration<Caller, Driver>, RegisterError> {
    ClientRegistration::register(Caller, options(), Driver, passive)
}

pub fn call_clients(provider: &ProviderRegistration<Adder, Driver>) -> u32 {
    let mut sum = 0_u32;
    for client in provider.clients() {
        // SAFETY: the context came with the table.
        sum = sum.wrapping_add(client.call(|table, context| unsafe { (table.add)(context, 1) }));
    }
    sum
}

/// A call at DISPATCH_LEVEL, of the provider that called.
///
/// # Safety
///
/// The context is that of a binding of `Caller`.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn call_at_dispatch(context: *mut c_void, number: u32) -> u32 {
    // SAFETY: the provider calls with the context that came with the table.
    let incoming = unsafe { ClientCall::<Caller>::new(context) };
    // SAFETY: as the interface says of this function.
    let Some(provider) = incoming.provider_at_dispatch(unsafe { Dispatch::new() }) else { return 0 };
    // SAFETY: the context came with the table.
    provider.call(|table, context| unsafe { (table.add)(context, number) })
}

/// All providers, at DISPATCH_LEVEL.
pub fn call_providers(client: &ClientRegistration<Caller, Driver>, dispatch: Dispatch<'_>) -> u32 {
    let mut sum = 0_u32;
    for provider in client.providers().at_dispatch(dispatch) {
        // SAFETY: the context came with the table.
        sum = sum.wrapping_add(provider.call(|table, context| unsafe { (table.add)(context, 1) }));
    }
    sum
}

pub fn hold(client: &ClientRegistration<Caller, Driver>) -> Option<HeldProvider<Caller>> {
    client.providers().next().map(Peer::hold)
}

pub fn end_call(held: HeldProvider<Caller>) {
    drop(held);
}

pub fn waits_for(client: &ClientRegistration<Caller, Driver>) -> usize {
    client.bindings().filter(|binding| binding.state == BindingState::Draining).count()
}

pub fn unload(
    provider: ProviderRegistration<Adder, Driver>,
    client: ClientRegistration<Caller, Driver>,
    passive: Passive<'_>,
) -> i32 {
    let provider = provider.deregister(passive);
    let client = client.deregister(passive);
    provider.and(client).err().map_or(0, |leaked| leaked.status)
}
