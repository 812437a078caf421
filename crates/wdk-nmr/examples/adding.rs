//! An interface, a provider of it in 40 lines, a client of it in 40 lines, and both of them brought together.
//!
//! The registrar here is nmr-registrar, a stand-in for NETIO.SYS. In a driver the same code runs on Windows' own; then
//! `main` is two DriverEntry routines.

use core::ffi::c_void;

use nmr_registrar as _;
use wdk_nmr::{Form, NPIID, Npi, NpiStructure, Passive, Resident};

/// The interface. Both sides share this.
struct Adding;

/// What clients call.
#[repr(C)]
struct AddingDispatch {
    version: u16,
    size: u16,
    add: unsafe extern "system" fn(context: *mut c_void, number: u32) -> u32,
}

// SAFETY: `repr(C)`, and starts with a version and a size.
unsafe impl NpiStructure for AddingDispatch {
    const FORM: Form = Form::Versioned { oldest: 1, newest: 1 };
}

// SAFETY: nobody else registers this identifier.
unsafe impl Npi for Adding {
    const ID: NPIID = NPIID { Data1: 0x6c6f_23f6, Data2: 0x1a1b, Data3: 0x4a3e, Data4: [0x8e, 1, 2, 3, 4, 5, 6, 7] };
    type ProviderDispatch = AddingDispatch;
    type ClientDispatch = ();
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

mod provider {
    use core::sync::atomic::{AtomicU32, Ordering};

    use wdk_nmr::{
        ClientOffer, GUID, Identity, ModuleId, Passive, Provider, ProviderRegistration, ProviderTable, Refusal,
        RegisterError, Single, provider_table,
    };

    use super::{Adding, AddingDispatch, Program};

    /// Keeps a sum for each client.
    struct Adder;

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
            println!("provider: a client: {:?}", client.module_id());
            Ok(AtomicU32::new(0))
        }
    }

    pub(super) fn entry(passive: Passive<'_>) -> Result<impl FnOnce(Passive<'_>), RegisterError> {
        let name = ModuleId::Guid(GUID { Data1: 1, ..GUID::default() });
        let registration = ProviderRegistration::register(Adder, Identity::new(name, ()), Program, passive)?;
        Ok(|passive: Passive<'_>| registration.deregister(passive).expect("NMR keeps its word"))
    }
}

mod client {
    use wdk_nmr::{
        AttachedProvider, Client, ClientRegistration, ClientTable, GUID, Identity, ModuleId, Passive, ProviderOffer,
        Refusal, RegisterError, Single,
    };

    use super::{Adding, Program};

    /// Adds up what it is told to, wherever it can.
    struct Counter;

    impl Client for Counter {
        type Npi = Adding;
        type Binding = ();
        type Guard = Single;
        const DISPATCH: ClientTable<Self> = ClientTable::none();

        fn attach(&self, provider: &ProviderOffer<'_, Adding>) -> Result<(), Refusal> {
            println!("client: a provider: {:?}", provider.module_id());
            if provider.number() == 0 { Ok(()) } else { Err(Refusal::NO_INTERFACE) }
        }
    }

    fn add(provider: &AttachedProvider<'_, Counter>, number: u32) -> u32 {
        provider.call(|table, context| {
            // SAFETY: the context came with the table.
            unsafe { (table.add)(context, number) }
        })
    }

    pub(super) fn entry(passive: Passive<'_>) -> Result<impl FnOnce(Passive<'_>), RegisterError> {
        let name = ModuleId::Guid(GUID { Data1: 2, ..GUID::default() });
        let registration = ClientRegistration::register(Counter, Identity::new(name, ()), Program, passive)?;
        for number in [3, 4] {
            for provider in registration.providers() {
                println!("client: the sum is {}", add(&provider, number));
            }
        }
        Ok(|passive: Passive<'_>| registration.deregister(passive).expect("NMR keeps its word"))
    }
}

/// Keeps nothing loaded, since a program stays where it is. A driver takes a reference to its DRIVER_OBJECT.
struct Program;

// SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
unsafe impl Resident for Program {}

fn main() -> Result<(), wdk_nmr::RegisterError> {
    // SAFETY: threads of a program are at PASSIVE_LEVEL, and this is no callback.
    let passive = unsafe { Passive::new() };
    let unload_provider = provider::entry(passive)?;
    let unload_client = client::entry(passive)?;
    unload_provider(passive);
    unload_client(passive);
    println!("both have gone");
    Ok(())
}
