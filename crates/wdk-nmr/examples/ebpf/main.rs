//! An extension of eBPF for Windows. [`interface`] has the two interfaces, [`extension`] the driver; the part of the
//! runtime, which is not here, is played by clients that do what runtimes do: an older one that passes NULL where there
//! is nothing to say and has one function for programs, and a newer one that passes a dummy table and has four.

#![allow(unreachable_pub, reason = "the modules are shown as they would be in a driver")]

mod extension;
mod interface;

use core::ffi::{CStr, c_void};

use extension::{ATTACH_TYPE, Event, PROGRAM_TYPE};
use interface::{ExtensionData, Header, Hook, ProgramData, ProgramDispatch, ProgramInformation};
use nmr_registrar as _;
use wdk_nmr::{
    Client, ClientCall, ClientRegistration, ClientTable, GUID, Ignored, ModuleId, NPIID, Npi, NpiStructure, Passive,
    ProviderOffer, Refusal, RegistrationOptions, Resident, Single, StructureError, by_hand, client_table,
};

/// Holds nothing, since a program stays where it is. A driver holds a reference to its DRIVER_OBJECT.
#[derive(Clone)]
struct Process;

// SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
unsafe impl Resident for Process {}

/// The first interface as a newer runtime sees it, which passes a table.
struct WithDummy;

#[repr(C)]
struct Dummy(u64);

// SAFETY: `repr(C)`, a number, which nothing is known by.
unsafe impl NpiStructure for Dummy {
    type Header = ();

    fn check((): &()) -> Result<usize, StructureError> {
        Ok(size_of::<Self>())
    }
}

// SAFETY: as `ProgramInformation`, with a table of which providers say nothing.
unsafe impl Npi for WithDummy {
    const ID: NPIID = ProgramInformation::ID;
    type ProviderDispatch = Ignored;
    type ClientDispatch = Dummy;
    type ProviderCharacteristics = ProgramData;
    type ClientCharacteristics = ();
}

/// A program that was loaded: a client that wants to know about its type.
struct Loaded;

/// What it has learnt: the name of the type.
fn name_of(data: &ProgramData) -> Result<&'static CStr, Refusal> {
    // SAFETY: the extension's structures are statics of a driver that stays while the client is attached.
    let information = unsafe { data.program_info.as_ref() }.ok_or(Refusal::INVALID_PARAMETER)?;
    // SAFETY: the extension's structures are statics of a driver that stays while the client is attached.
    let descriptor = unsafe { information.program_type_descriptor.as_ref() }.ok_or(Refusal::INVALID_PARAMETER)?;
    // SAFETY: the name is a string of C.
    Ok(unsafe { CStr::from_ptr(descriptor.name) })
}

impl Client for Loaded {
    type Npi = WithDummy;
    type Binding = &'static CStr;
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        // SAFETY: there is no function in it.
        unsafe { ClientTable::new(Dummy(0)) }
    }

    fn attach(&self, provider: &ProviderOffer<'_, WithDummy>) -> Result<&'static CStr, Refusal> {
        if provider.module_id()? != ModuleId::Guid(PROGRAM_TYPE) {
            return Err(Refusal::NO_INTERFACE);
        }
        name_of(provider.characteristics()?)
    }
}

/// The same with an older runtime, which passes NULL.
struct LoadedLongAgo;

impl Client for LoadedLongAgo {
    type Npi = ProgramInformation;
    type Binding = &'static CStr;
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, provider: &ProviderOffer<'_, ProgramInformation>) -> Result<&'static CStr, Refusal> {
        name_of(provider.characteristics()?)
    }
}

/// A program that is attached to the hook: adds its number to that of the event.
struct AttachedProgram {
    number: u32,
    /// How many functions the runtime has.
    functions: u16,
}

impl AttachedProgram {
    fn invoke(call: ClientCall<'_, Self>, context: *mut c_void, result: *mut u32) -> i32 {
        // SAFETY: the hook passes an event.
        let event = unsafe { &*context.cast::<Event>() };
        // SAFETY: the hook passes a place for the result.
        unsafe { result.write(event.number + call.client().number) };
        0
    }
}

unsafe extern "C" fn batch(_: *mut c_void) -> i32 {
    0
}

unsafe extern "C" fn batch_begin(_: usize, _: *mut c_void) -> i32 {
    0
}

impl Client for AttachedProgram {
    type Npi = Hook;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        client_table!(Self, ProgramDispatch {
            version: 1,
            count: self.functions,
            invoke: fn Self::invoke,
            // SAFETY: it takes no context.
            batch_begin: unsafe { by_hand(batch_begin) },
            batch_invoke: fn |call: ClientCall<'_, Self>, context: *mut c_void, result: *mut u32, _: *const c_void| {
                Self::invoke(call, context, result)
            },
            // SAFETY: what it takes is not the binding context but the state of a batch.
            batch_end: unsafe { by_hand(batch) },
        })
    }

    fn attach(&self, provider: &ProviderOffer<'_, Hook>) -> Result<(), Refusal> {
        let data = provider.characteristics()?;
        let is_ours = data.supported_program_type == PROGRAM_TYPE;
        if is_ours && provider.module_id()? == ModuleId::Guid(ATTACH_TYPE) {
            Ok(())
        } else {
            Err(Refusal::NO_INTERFACE)
        }
    }
}

/// Attaches a program to the events of an interface, as a runtime with so many functions does.
fn attach(
    number: u32,
    functions: u16,
    interface_index: &'static u32,
    passive: Passive<'_>,
) -> ClientRegistration<AttachedProgram, Process> {
    let whole = size_of::<ExtensionData>();
    // An older runtime has no flags.
    let size = if functions == 1 { whole - 8 } else { whole };
    let data = ExtensionData {
        header: Header { version: 1, size, total_size: size },
        data: (&raw const *interface_index).cast(),
        data_size: size_of::<u32>(),
        prog_attach_flags: 0,
    };
    let id = ModuleId::Guid(GUID { Data1: number, ..GUID::default() });
    let options = RegistrationOptions::new(id, data);
    ClientRegistration::register(AttachedProgram { number, functions }, options, Process, passive).expect("registered")
}

fn main() {
    // SAFETY: threads of a program are at PASSIVE_LEVEL, and this is no callback.
    let passive = unsafe { Passive::new() };
    let (types, events) = extension::register(Process, passive).expect("registered");

    let id = ModuleId::Guid(GUID { Data1: 1, ..GUID::default() });
    let options = || RegistrationOptions::new(id, ());
    let new = ClientRegistration::register(Loaded, options(), Process, passive).expect("registered");
    let old = ClientRegistration::register(LoadedLongAgo, options(), Process, passive).expect("registered");
    assert_eq!(types.clients().count(), 2, "whatever the runtime passes");
    let name = new.providers().next().map(|provider| *provider.binding());
    assert_eq!((name, old.providers().next().map(|provider| *provider.binding())), (Some(c"example"), name));

    // An older runtime and a newer one attach programs to the events of interface 5, and one to those of 6.
    let programs = [attach(100, 1, &5, passive), attach(200, 4, &5, passive), attach(400, 4, &6, passive)];
    for (interface_index, expected) in [(5, 100 + 200 + 2 * 7), (6, 407), (7, 0)] {
        let sum = extension::run(&events, &mut Event { number: 7, interface_index });
        println!("an event of interface {interface_index}: the programs return {sum}");
        assert_eq!(sum, expected);
    }

    // The extension goes first, as a driver that is stopped; its clients wait for the next one.
    events.deregister(passive).expect("deregistered");
    types.deregister(passive).expect("deregistered");
    assert_eq!(programs.iter().map(|program| program.providers().count()).sum::<usize>(), 0);
    for program in programs {
        program.deregister(passive).expect("deregistered");
    }
    new.deregister(passive).expect("deregistered");
    old.deregister(passive).expect("deregistered");
}

#[test]
fn the_example_runs() {
    main();
}
