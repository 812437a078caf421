//! When memory runs out: a status, nothing left behind, and everything else goes on.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use nmr_registrar as _;
use wdk_nmr::{
    Client, ClientOffer, ClientRegistration, ClientTable, ModuleId, NPIID, Npi, Passive, Provider, ProviderOffer,
    ProviderRegistration, ProviderTable, Refusal, RegisterError, RegistrationOptions, Resident, ShardIndex, Sharded,
    Single,
};

/// Refuses what is as large as the current thread says, and what is larger.
struct Limited;

thread_local!(static LIMIT: Cell<usize> = const { Cell::new(usize::MAX) });

// SAFETY: the system's allocator, or NULL.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LIMIT.get() {
            return core::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Limited = Limited;

/// More than the registrar asks for at a time.
const LARGE: usize = 30_000;

fn without_memory<R>(f: impl FnOnce() -> R) -> R {
    LIMIT.set(LARGE);
    let result = f();
    LIMIT.set(usize::MAX);
    result
}

struct Bare;

// SAFETY: no structures at all.
unsafe impl Npi for Bare {
    const ID: NPIID = NPIID { Data1: 9, Data2: 9, Data3: 9, Data4: [9; 8] };
    type ProviderDispatch = ();
    type ClientDispatch = ();
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

/// As large as a registration's block has to be for the allocator to notice it.
#[allow(dead_code, reason = "it is there to be large")]
struct Large([u8; LARGE]);

impl Provider for Large {
    type Npi = Bare;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        ProviderTable::none()
    }

    fn attach(&self, _: &ClientOffer<'_, Bare>) -> Result<(), Refusal> {
        Ok(())
    }
}

struct Anywhere;

impl ShardIndex for Anywhere {
    fn current() -> usize {
        0
    }
}

/// Four slots of it are large.
struct Wide;

impl Client for Wide {
    type Npi = Bare;
    type Binding = ();
    type Guard = Sharded<Anywhere, 64>;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, _: &ProviderOffer<'_, Bare>) -> Result<(), Refusal> {
        Ok(())
    }
}

struct Program;

// SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
unsafe impl Resident for Program {}

#[test]
fn out_of_memory_is_a_status_everywhere() {
    // SAFETY: the thread of a test.
    let passive = unsafe { Passive::new() };
    let options = || RegistrationOptions::new(ModuleId::IfLuid(1), ());
    let provider = || ProviderRegistration::register(Large([0; LARGE]), options(), Program, passive);

    let refused = without_memory(provider);
    assert_eq!(refused.err(), Some(RegisterError::OutOfMemory));

    let provider = provider().unwrap();
    let client = without_memory(|| ClientRegistration::register(Wide, options(), Program, passive)).unwrap();
    assert_eq!(client.providers().count(), 0, "no memory for a binding: this provider was refused");
    assert_eq!(client.bindings().count(), 0);

    let other = ProviderRegistration::register(Large([1; LARGE]), options(), Program, passive).unwrap();
    assert_eq!(client.providers().count(), 1, "and the next one was not");
    without_memory(|| other.deregister(passive)).unwrap();
    provider.deregister(passive).unwrap();
    client.deregister(passive).unwrap();
}
