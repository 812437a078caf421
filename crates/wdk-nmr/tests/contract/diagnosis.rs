//! What can be seen of a registration, through the API and in memory.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use nmr_registrar::Session;
use wdk_nmr::header::{
    CHUNK_MAGIC, ChunkHeader, LAYOUT_VERSION, REGISTRATION_MAGIC, ROLE_CLIENT, SLOT_MAGIC, SlotHeader,
};
use wdk_nmr::*;
use wdk_nmr_sys::*;

use crate::common::*;

static NOW: AtomicU64 = AtomicU64::new(1000);

fn clock() -> u64 {
    NOW.load(Ordering::Relaxed)
}

#[test]
fn a_hanging_unload_can_be_explained() {
    let _session = Session::new();
    let log = Log::default();
    let options = RegistrationOptions::new(CLIENT_ID, Characteristics::new(8)).clock(clock);
    let client = ClientRegistration::register(TestClient::new(&log), options, Program::default(), passive()).unwrap();
    let provider = provide(TestProvider::new(&log));
    let seen = |binding: Binding| (binding.state, binding.peer, binding.calls, binding.detaching_for);
    let attached = (BindingState::Attached, Some(PROVIDER_ID), 0, None);
    assert_eq!(client.bindings().map(seen).collect::<Vec<_>>(), [attached]);
    let peer = client.providers().next().unwrap().hold();
    let deregistering = client.start_deregistering();
    NOW.fetch_add(250, Ordering::Relaxed);
    let draining = (BindingState::Draining, Some(PROVIDER_ID), 1, Some(250));
    assert_eq!(deregistering.bindings().map(seen).collect::<Vec<_>>(), [draining]);
    drop(peer);
    deregistering.wait(passive()).unwrap();
    provider.deregister(passive()).unwrap();
}

#[test]
fn a_binding_is_seen_while_its_attach_callback_runs() {
    let _session = Session::new();
    let log = Log::default();
    let client = Arc::new(Mutex::new(Some(use_it(TestClient::new(&log)))));
    let states = |client: &Mutex<Option<_>>| -> Vec<BindingState> {
        let client = client.lock().unwrap();
        let client: &ClientRegistration<TestClient, Program> = client.as_ref().unwrap();
        client.bindings().map(|binding| binding.state).collect()
    };
    let mut raw = Raw::new();
    let in_callback = client.clone();
    raw.attach_as_provider = Box::new(move |_| {
        assert_eq!(states(&in_callback), [BindingState::Attaching]);
        (STATUS_SUCCESS, core::ptr::null())
    });
    raw.register_provider();
    assert_eq!(states(&client), [BindingState::Attached]);
    let client = client.lock().unwrap().take().unwrap();
    client.deregister(passive()).unwrap();
    raw.deregister();
}

#[test]
fn a_debugger_can_follow_the_structures() {
    let _session = Session::new();
    let log = Log::default();
    let mut raw = Raw::new();
    raw.attach_as_provider = Box::new(|(_, _, context)| {
        // What a debugger has: a binding context.
        let slot = context.cast::<SlotHeader>();
        // SAFETY: the context is a slot.
        let slot = unsafe { &*slot };
        assert_eq!(slot.magic, SLOT_MAGIC);
        let id: [u64; 3] = slot.peer_module.each_ref().map(|word| word.load(Ordering::Relaxed));
        assert_eq!(id, [1, 0x0003_0002_0000_0037, 0x0b0a_0908_0706_0504]);
        // SAFETY: a slot's registration outlives it.
        let registration = unsafe { &*slot.registration };
        assert_eq!(registration.magic, REGISTRATION_MAGIC);
        assert_eq!((registration.layout_version, registration.role), (LAYOUT_VERSION, ROLE_CLIENT));
        // SAFETY: a slot is in one of the registration's chunks.
        let chunk: &ChunkHeader = unsafe { &*registration.chunks.load(Ordering::Acquire) };
        assert_eq!(chunk.magic, CHUNK_MAGIC);
        let offset = context as usize - chunk.slots as usize;
        assert_eq!(offset as u64 % registration.slot_size, 0);
        assert!(offset as u64 / registration.slot_size < chunk.capacity as u64);
        (STATUS_SUCCESS, core::ptr::null())
    });
    raw.register_provider();
    let client = use_it(TestClient::new(&log));
    assert_eq!(client.providers().count(), 1);
    client.deregister(passive()).unwrap();
    raw.deregister();
}
