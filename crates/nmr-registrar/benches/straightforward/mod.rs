//! A registrar as one writes it in an afternoon: one lock, three lists, every look-up a scan. It makes the same
//! callbacks in the same situations, checks nothing, and is what `scale.rs` measures the real one against.

use std::ffi::c_void;
use std::ptr::without_provenance_mut;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use wdk_nmr_sys::{
    HANDLE, NPI_CLIENT_CHARACTERISTICS, NPI_PROVIDER_CHARACTERISTICS, NPIID, NTSTATUS, STATUS_PENDING, STATUS_SUCCESS,
};

struct Client {
    id: usize,
    npi: NPIID,
    characteristics: NPI_CLIENT_CHARACTERISTICS,
    context: *mut c_void,
}

struct Provider {
    id: usize,
    npi: NPIID,
    characteristics: NPI_PROVIDER_CHARACTERISTICS,
    context: *mut c_void,
}

struct Binding {
    id: usize,
    client: usize,
    provider: usize,
    client_context: *mut c_void,
    provider_context: *mut c_void,
    pending: usize,
    detaching: bool,
}

struct State {
    next: usize,
    clients: Vec<Client>,
    providers: Vec<Provider>,
    bindings: Vec<Binding>,
}

// SAFETY: the pointers are carried, not used, except in callbacks whose modules accept any thread.
unsafe impl Send for State {}

static STATE: Mutex<State> =
    Mutex::new(State { next: 1, clients: Vec::new(), providers: Vec::new(), bindings: Vec::new() });
static CHANGED: Condvar = Condvar::new();

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn next(state: &mut State) -> usize {
    state.next += 1;
    state.next
}

pub(crate) fn register_client(characteristics: *const NPI_CLIENT_CHARACTERISTICS, context: *mut c_void) -> HANDLE {
    // SAFETY: the benchmark passes its own structure.
    let characteristics = unsafe { characteristics.read() };
    // SAFETY: the benchmark passes its own structure.
    let npi = unsafe { characteristics.ClientRegistrationInstance.NpiId.read() };
    let (id, peers) = {
        let mut state = state();
        let id = next(&mut state);
        state.clients.push(Client { id, npi, characteristics, context });
        let peers: Vec<usize> = state.providers.iter().filter(|p| p.npi == npi).map(|p| p.id).collect();
        (id, peers)
    };
    peers.into_iter().for_each(|provider| offer(id, provider));
    without_provenance_mut(id)
}

pub(crate) fn register_provider(characteristics: *const NPI_PROVIDER_CHARACTERISTICS, context: *mut c_void) -> HANDLE {
    // SAFETY: the benchmark passes its own structure.
    let characteristics = unsafe { characteristics.read() };
    // SAFETY: the benchmark passes its own structure.
    let npi = unsafe { characteristics.ProviderRegistrationInstance.NpiId.read() };
    let (id, peers) = {
        let mut state = state();
        let id = next(&mut state);
        state.providers.push(Provider { id, npi, characteristics, context });
        let peers: Vec<usize> = state.clients.iter().filter(|c| c.npi == npi).map(|c| c.id).collect();
        (id, peers)
    };
    peers.into_iter().for_each(|client| offer(client, id));
    without_provenance_mut(id)
}

fn offer(client: usize, provider: usize) {
    let (id, attach, context, instance) = {
        let mut state = state();
        let id = next(&mut state);
        state.bindings.push(Binding {
            id,
            client,
            provider,
            client_context: std::ptr::null_mut(),
            provider_context: std::ptr::null_mut(),
            pending: 0,
            detaching: false,
        });
        let Some(provider) = state.providers.iter().find(|p| p.id == provider) else { return };
        let instance: *const _ = &raw const provider.characteristics.ProviderRegistrationInstance;
        let Some(client) = state.clients.iter().find(|c| c.id == client) else { return };
        (id, client.characteristics.ClientAttachProvider, client.context, instance)
    };
    let Some(attach) = attach else { return };
    // SAFETY: the benchmark's callback.
    let status = unsafe { attach(without_provenance_mut(id), context, instance) };
    if status != STATUS_SUCCESS {
        state().bindings.retain(|binding| binding.id != id);
    }
}

pub(crate) fn client_attach_provider(
    handle: HANDLE,
    client_context: *mut c_void,
    client_dispatch: *const c_void,
    provider_context: *mut *mut c_void,
    provider_dispatch: *mut *const c_void,
) -> NTSTATUS {
    let (attach, context, instance) = {
        let state = state();
        let Some(binding) = state.bindings.iter().find(|b| b.id == handle.addr()) else { return -1 };
        let Some(client) = state.clients.iter().find(|c| c.id == binding.client) else { return -1 };
        let instance: *const _ = &raw const client.characteristics.ClientRegistrationInstance;
        let Some(provider) = state.providers.iter().find(|p| p.id == binding.provider) else { return -1 };
        (provider.characteristics.ProviderAttachClient, provider.context, instance)
    };
    let Some(attach) = attach else { return -1 };
    // SAFETY: the benchmark's callback.
    let status = unsafe {
        attach(handle, context, instance, client_context, client_dispatch, provider_context, provider_dispatch)
    };
    if status == STATUS_SUCCESS {
        let mut state = state();
        let Some(binding) = state.bindings.iter_mut().find(|b| b.id == handle.addr()) else { return -1 };
        binding.client_context = client_context;
        // SAFETY: the provider has set it.
        binding.provider_context = unsafe { provider_context.read() };
    }
    status
}

/// Detaches every binding of a registration. The benchmark's modules never pend.
pub(crate) fn deregister(handle: HANDLE) -> NTSTATUS {
    let id = handle.addr();
    let calls: Vec<_> = {
        let state = &mut *state();
        let (clients, providers) = (&state.clients, &state.providers);
        let own = state.bindings.iter_mut().filter(|b| (b.client == id || b.provider == id) && !b.detaching);
        own.filter_map(|binding| {
            (binding.detaching, binding.pending) = (true, 0);
            let client = clients.iter().find(|c| c.id == binding.client)?.characteristics;
            let provider = providers.iter().find(|p| p.id == binding.provider)?.characteristics;
            Some((binding.id, client, provider, binding.client_context, binding.provider_context))
        })
        .collect()
    };
    for (binding, client, provider, client_context, provider_context) in calls {
        if let (Some(detach), Some(cleanup)) = (client.ClientDetachProvider, client.ClientCleanupBindingContext) {
            // SAFETY: the benchmark's callback.
            unsafe { detach(client_context) };
            // SAFETY: the benchmark's callback.
            unsafe { cleanup(client_context) };
        }
        if let (Some(detach), Some(cleanup)) = (provider.ProviderDetachClient, provider.ProviderCleanupBindingContext) {
            // SAFETY: the benchmark's callback.
            unsafe { detach(provider_context) };
            // SAFETY: the benchmark's callback.
            unsafe { cleanup(provider_context) };
        }
        state().bindings.retain(|b| b.id != binding);
    }
    CHANGED.notify_all();
    STATUS_PENDING
}

pub(crate) fn wait(handle: HANDLE) -> NTSTATUS {
    let id = handle.addr();
    let bound = |state: &mut State| state.bindings.iter().any(|b| b.client == id || b.provider == id);
    let mut state = CHANGED.wait_while(state(), bound).unwrap_or_else(PoisonError::into_inner);
    state.clients.retain(|c| c.id != id);
    state.providers.retain(|p| p.id != id);
    STATUS_SUCCESS
}

/// Drops everything: ending 100,000 registrations one by one, each with a scan, is not what is measured.
pub(crate) fn forget_all() {
    let mut state = state();
    state.clients.clear();
    state.providers.clear();
    state.bindings.clear();
}
