//! Arbitrary bytes as a sequence of calls and of answers that callbacks give, right and wrong ones. Whatever the
//! modules do, the registrar must not crash, hang or leak, and each side of a binding gets at most one detach and then
//! at most one cleanup. Used by `tests/fuzz.rs` with a random generator and by the fuzz target with a fuzzer.

use std::collections::{BTreeSet, HashMap};
use std::ptr::without_provenance_mut;
use std::sync::{LazyLock, MutexGuard, PoisonError};

use nmr_registrar::{BindingReport, Report, Strictness};

use super::*;

const MODULES: usize = 8;
/// How deep callbacks may call functions that call callbacks.
const DEPTH: u32 = 3;

/// One side of a binding, by its context: contexts are numbers here, so that no mistake touches memory.
struct Seen {
    side: Side,
    handle: Pointer,
    detached: u32,
    cleaned: u32,
}

#[derive(Default)]
struct World {
    input: Vec<u8>,
    position: usize,
    depth: u32,
    next_context: usize,
    contexts: HashMap<usize, Seen>,
    /// Every handle that was ever given out.
    handles: Vec<Pointer>,
    modules: [Option<Pointer>; MODULES],
    errors: Vec<String>,
}

static WORLD: LazyLock<Mutex<World>> = LazyLock::new(Mutex::default);

fn world() -> MutexGuard<'static, World> {
    WORLD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next byte of the input; 0, which every callback answers harmlessly, after its end.
fn byte() -> u8 {
    let mut world = world();
    world.position += 1;
    let position = world.position - 1;
    world.input.get(position).copied().unwrap_or(0)
}

fn is_over() -> bool {
    let world = world();
    world.position >= world.input.len()
}

fn remember(handle: HANDLE) {
    world().handles.push(Pointer(handle));
}

fn new_context(side: Side, handle: HANDLE) -> *mut c_void {
    let mut world = world();
    world.next_context += 1;
    let context = world.next_context;
    world.contexts.insert(context, Seen { side, handle: Pointer(handle), detached: 0, cleaned: 0 });
    without_provenance_mut(context)
}

fn nested_step() {
    let deep = {
        let mut world = world();
        world.depth += 1;
        world.depth > DEPTH
    };
    if !deep {
        step();
    }
    world().depth -= 1;
}

unsafe extern "system" fn client_attach(
    handle: HANDLE,
    _: *mut c_void,
    _: *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS {
    remember(handle);
    let choice = byte() % 10;
    if choice == 0 {
        return STATUS_NOINTERFACE;
    }
    if choice == 1 {
        return STATUS_SUCCESS;
    }
    if choice == 2 {
        nested_step();
    }
    let propose = || {
        let (mut context, mut dispatch) = (null_mut(), null());
        let own = new_context(Side::Client, handle);
        // SAFETY: two variables of ours.
        unsafe { NmrClientAttachProvider(handle, own, null(), &raw mut context, &raw mut dispatch) }
    };
    let status = propose();
    match choice {
        3 => propose(),
        4 => STATUS_NOINTERFACE,
        5 => STATUS_SUCCESS,
        6 => {
            nested_step();
            status
        }
        _ => status,
    }
}

unsafe extern "system" fn provider_attach(
    handle: HANDLE,
    _: *mut c_void,
    _: *const NPI_REGISTRATION_INSTANCE,
    _: *mut c_void,
    _: *const c_void,
    context_out: *mut *mut c_void,
    dispatch_out: *mut *const c_void,
) -> NTSTATUS {
    remember(handle);
    let choice = byte() % 8;
    match choice {
        0 => return STATUS_NOINTERFACE,
        1 => return STATUS_SUCCESS,
        2 => nested_step(),
        _ => {}
    }
    // SAFETY: the registrar's variable.
    unsafe { context_out.write(new_context(Side::Provider, handle)) };
    // SAFETY: the registrar's variable.
    unsafe { dispatch_out.write(null()) };
    match choice {
        3 => STATUS_PENDING,
        4 => STATUS_INSUFFICIENT_RESOURCES,
        _ => STATUS_SUCCESS,
    }
}

/// Notes that a callback was called with a context; `count` says which, and how often that is allowed.
fn called(context: *mut c_void, count: impl FnOnce(&mut Seen) -> Result<(), &'static str>) -> Option<(Side, HANDLE)> {
    let world = &mut *world();
    // A provider that did not set its out parameters has no context.
    if context.is_null() {
        return None;
    }
    let Some(seen) = world.contexts.get_mut(&context.addr()) else {
        world.errors.push(format!("a callback with the unknown context {context:?}"));
        return None;
    };
    if let Err(error) = count(seen) {
        world.errors.push(format!("{error}, for the {:?} of {:?}", seen.side, seen.handle));
    }
    Some((seen.side, seen.handle.0))
}

unsafe extern "system" fn detach(context: *mut c_void) -> NTSTATUS {
    let seen = called(context, |seen| {
        seen.detached += 1;
        if seen.detached == 1 && seen.cleaned == 0 { Ok(()) } else { Err("a second detach, or one after cleanup") }
    });
    let choice = byte() % 8;
    if let (4 | 5, Some((side, handle))) = (choice, seen) {
        complete(side, handle);
    }
    match choice {
        1..=4 => STATUS_PENDING,
        6 => STATUS_INVALID_PARAMETER,
        7 => {
            nested_step();
            STATUS_PENDING
        }
        _ => STATUS_SUCCESS,
    }
}

unsafe extern "system" fn cleanup(context: *mut c_void) {
    called(context, |seen| {
        seen.cleaned += 1;
        if seen.cleaned == 1 && seen.detached == 1 { Ok(()) } else { Err("a second cleanup, or one before detach") }
    });
    if byte() % 4 == 1 {
        nested_step();
    }
}

/// The structures of the modules, which stay in place for ever.
struct Structures {
    client: NPI_CLIENT_CHARACTERISTICS,
    provider: NPI_PROVIDER_CHARACTERISTICS,
}
// SAFETY: they are only read.
unsafe impl Send for Structures {}
// SAFETY: they are only read.
unsafe impl Sync for Structures {}

fn structures(interface: usize) -> &'static Structures {
    static STRUCTURES: LazyLock<[Structures; 2]> = LazyLock::new(|| {
        [(); 2].map(|()| {
            let instance = NPI_REGISTRATION_INSTANCE {
                Version: 0,
                Size: size_of::<NPI_REGISTRATION_INSTANCE>() as u16,
                NpiId: Box::leak(Box::new(unique_npi())),
                ModuleId: Box::leak(Box::new(module_id(1))),
                Number: 0,
                NpiSpecificCharacteristics: null(),
            };
            Structures {
                client: NPI_CLIENT_CHARACTERISTICS {
                    Version: 0,
                    Length: size_of::<NPI_CLIENT_CHARACTERISTICS>() as u16,
                    ClientAttachProvider: Some(client_attach),
                    ClientDetachProvider: Some(detach),
                    ClientCleanupBindingContext: Some(cleanup),
                    ClientRegistrationInstance: instance,
                },
                provider: NPI_PROVIDER_CHARACTERISTICS {
                    Version: 0,
                    Length: size_of::<NPI_PROVIDER_CHARACTERISTICS>() as u16,
                    ProviderAttachClient: Some(provider_attach),
                    ProviderDetachClient: Some(detach),
                    ProviderCleanupBindingContext: Some(cleanup),
                    ProviderRegistrationInstance: instance,
                },
            }
        })
    });
    &STRUCTURES[interface]
}

fn side_of(module: usize) -> Side {
    if module.is_multiple_of(2) { Side::Client } else { Side::Provider }
}

fn register(module: usize) {
    let structures = structures(module / 2 % 2);
    let mut handle = null_mut();
    let status = match side_of(module) {
        // SAFETY: the structures are there for ever, the handle variable is ours.
        Side::Client => unsafe { NmrRegisterClient(&raw const structures.client, null_mut(), &raw mut handle) },
        // SAFETY: the structures are there for ever, the handle variable is ours.
        Side::Provider => unsafe { NmrRegisterProvider(&raw const structures.provider, null_mut(), &raw mut handle) },
    };
    if status == STATUS_SUCCESS {
        remember(handle);
        world().modules[module] = Some(Pointer(handle));
    }
}

fn report() -> Report {
    nmr_registrar::registrar().report()
}

/// Waits unless that would block: this is the only thread.
fn wait_if_drained(side: Side, handle: HANDLE) {
    let report = report();
    let registration = report.registrations.iter().find(|r| r.module.registration == handle.addr());
    if registration.is_none_or(|registration| registration.bindings == 0 || registration.deregistering.is_none()) {
        let status = wait(side, handle);
        if status == STATUS_SUCCESS {
            let mut world = world();
            world
                .modules
                .iter_mut()
                .filter(|module| **module == Some(Pointer(handle)))
                .for_each(|module| *module = None);
        }
    }
}

fn pending(report: &Report) -> Vec<(Side, HANDLE)> {
    let parts = |binding: &BindingReport| {
        let handle = without_provenance_mut(binding.handle);
        binding.pending().map(move |side| (side, handle)).collect::<Vec<_>>()
    };
    report.bindings.iter().flat_map(parts).collect()
}

fn any_handle() -> HANDLE {
    let choice = usize::from(byte());
    let world = world();
    match world.handles.len() {
        0 => without_provenance_mut(choice),
        count if choice < 224 => world.handles[choice * count / 224].0,
        // NULL, small numbers, and near misses of a handle.
        count => without_provenance_mut(world.handles[count - 1].0.addr().wrapping_add(choice).wrapping_sub(240)),
    }
}

fn step() {
    let kind = byte();
    let module = usize::from(byte()) % MODULES;
    let (side, handle) = (side_of(module), world().modules[module]);
    match (kind % 13, handle) {
        (0..=2, None) => register(module),
        (3, Some(Pointer(handle))) => drop(deregister(side, handle)),
        (4, Some(Pointer(handle))) => wait_if_drained(side, handle),
        (5 | 6, _) => {
            let pending = pending(&report());
            if !pending.is_empty() {
                let (side, handle) = pending[module % pending.len()];
                complete(side, handle);
            }
        }
        // From here on, what no module should do.
        (7, _) => drop(deregister(side, any_handle())),
        (8, _) => wait_if_drained(side, any_handle()),
        (9, _) => complete(side, any_handle()),
        (10, _) => {
            let (mut context, mut dispatch) = (null_mut(), null());
            let handle = any_handle();
            let own = new_context(Side::Client, handle);
            // SAFETY: two variables of ours; the registrar recognises every handle.
            unsafe { NmrClientAttachProvider(handle, own, null(), &raw mut context, &raw mut dispatch) };
        }
        (11, _) => {
            let strictness = if module == 0 { Strictness::Lenient } else { Strictness::Strict };
            nmr_registrar::registrar().set_strictness(strictness);
            nmr_registrar::registrar().set_order((module > 3).then_some(module as u64));
        }
        // Reports of calls into a peer, true or not.
        (12, _) => {
            let (registrar, handle) = (nmr_registrar::registrar(), any_handle());
            match module / 2 {
                0 => drop(registrar.call_begins(handle, side)),
                1 => drop(registrar.call_returns(handle, side, STATUS_SUCCESS)),
                2 => drop(registrar.call_returns(handle, side, STATUS_PENDING)),
                _ => drop(registrar.call_completes(handle, side)),
            }
        }
        _ => {}
    }
}

/// What an input did.
pub struct Done {
    /// How many cleanup callbacks ran.
    pub cleanups: u32,
    /// The rules that it broke.
    pub broken: BTreeSet<u8>,
}

/// Runs one input.
///
/// # Panics
/// If a side of a binding gets a callback that it should not get, or something is left in the end.
pub fn run(input: &[u8]) -> Done {
    let session = Session::new();
    session.silence();
    *world() = World { input: input.to_vec(), ..World::default() };
    while !is_over() {
        step();
    }
    // Every module does now what it owes.
    nmr_registrar::registrar().set_order(None);
    while !report().is_empty() {
        let now = report();
        for registration in &now.registrations {
            let (side, handle) = (registration.module.side, without_provenance_mut(registration.module.registration));
            if registration.deregistering.is_none() {
                deregister(side, handle);
            } else {
                wait_if_drained(side, handle);
            }
        }
        for (side, handle) in pending(&report()) {
            complete(side, handle);
        }
    }
    let errors = std::mem::take(&mut world().errors);
    assert_eq!(errors, [""; 0], "input {input:?}");
    let cleanups = world().contexts.values().map(|seen| seen.cleaned).sum();
    // The modules broke rules on purpose.
    Done { cleanups, broken: session.finish().violations.iter().map(|violation| violation.rule).collect() }
}
