//! The end of a registration, and what happens if nobody ends it.

use core::mem;
use core::sync::atomic::Ordering;

use nmr_registrar::{Callback, Function, Session, When};
use wdk_nmr::*;
use wdk_nmr_sys::*;

use crate::common::*;

#[test]
fn r61_deregistering_without_a_peer_works() {
    let _session = Session::new();
    let log = Log::default();
    provide(TestProvider::new(&log)).deregister(passive()).unwrap();
    use_it(TestClient::new(&log)).deregister(passive()).unwrap();
    assert_eq!(log.take(), ["provider: gone", "client: gone"]);
}

#[test]
fn m5_nothing_is_freed_before_the_wait_has_returned() {
    let session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    let deregistering = provider.start_deregistering();
    assert_eq!(log.take(), Vec::<String>::new(), "deregistered, but not waited for");
    assert_eq!(session.report().registrations.len(), 1);
    deregistering.wait(passive()).unwrap();
    assert_eq!(log.take(), ["provider: gone"]);
}

#[test]
fn r65_the_image_is_let_go_when_everything_is_over_and_not_earlier() {
    let _session = Session::new();
    let log = Log::default();
    let program = Program::default();
    let options = RegistrationOptions::new(PROVIDER_ID, Characteristics::new(7));
    let provider =
        ProviderRegistration::register(TestProvider::new(&log), options, program.clone(), passive()).unwrap();
    let deregistering = provider.start_deregistering();
    assert_eq!(program.0.load(Ordering::Relaxed), 0);
    deregistering.wait(passive()).unwrap();
    assert_eq!(program.0.load(Ordering::Relaxed), 1);
}

#[test]
fn r68_a_registration_without_a_handle_does_not_exist() {
    let session = Session::new();
    let log = Log::default();
    session.fail(Function::RegisterProvider, 0, STATUS_INSUFFICIENT_RESOURCES);
    let options = RegistrationOptions::new(PROVIDER_ID, Characteristics::new(7));
    let result = ProviderRegistration::register(TestProvider::new(&log), options, Program::default(), passive());
    // There is nothing to deregister: NMR never sees the handle of an attempt that failed.
    assert!(result.is_err());
    assert!(session.violations().is_empty() && session.report().registrations.is_empty());
}

#[test]
fn r70_the_wait_lasts_as_long_as_the_peer_takes() {
    let _session = Session::new();
    let log = Log::default();
    let client = use_it(TestClient::new(&log));
    let mut raw = Raw::new();
    raw.detach = Box::new(|_| STATUS_PENDING);
    raw.register_provider();
    let deregistering = client.start_deregistering();
    let waits_for: Vec<_> = deregistering.bindings().map(|binding| (binding.state, binding.peer)).collect();
    assert_eq!(waits_for, [(BindingState::Detached, Some(ModuleId::Guid(guid(55))))], "the peer holds it up");
    // SAFETY: this side's function, once, after PENDING.
    unsafe { NmrProviderDetachClientComplete(raw.binding()) };
    assert_eq!(deregistering.bindings().count(), 0);
    deregistering.wait(passive()).unwrap();
    raw.deregister();
}

#[test]
fn r73_a_failing_driver_entry_takes_its_registration_back() {
    let _session = Session::new();
    let log = Log::default();
    fn entry(log: &Log) -> Result<Provided, NTSTATUS> {
        let registration = provide(TestProvider::new(log));
        let device: Result<(), NTSTATUS> = Err(STATUS_INSUFFICIENT_RESOURCES);
        if let Err(status) = device {
            registration.deregister(passive()).map_err(|leaked| leaked.status)?;
            return Err(status);
        }
        Ok(registration)
    }
    let client = use_it(TestClient::new(&log));
    assert_eq!(entry(&log).err(), Some(STATUS_INSUFFICIENT_RESOURCES));
    assert_eq!(log.count("provider: drop 1"), 1);
    client.deregister(passive()).unwrap();
}

/// A registration that is leaked in one of three ways goes on working, and keeps the image.
fn leaked(leak: impl FnOnce(Provided)) {
    let session = Session::new();
    let log = Log::default();
    let program = Program::default();
    let options = RegistrationOptions::new(PROVIDER_ID, Characteristics::new(7));
    let provider =
        ProviderRegistration::register(TestProvider::new(&log), options, program.clone(), passive()).unwrap();
    leak(provider);
    assert_eq!(program.0.load(Ordering::Relaxed), 0, "the image stays");
    assert_eq!(log.take(), Vec::<String>::new(), "the provider stays");
    drop(session.finish());
}

#[test]
fn m6_a_forgotten_registration_keeps_the_image_and_goes_on() {
    let session = Session::new();
    let log = Log::default();
    let program = Program::default();
    let options = RegistrationOptions::new(PROVIDER_ID, Characteristics::new(7));
    let provider = ProviderRegistration::register(TestProvider::new(&log), options, program.clone(), passive());
    // Nothing ever looks at it again.
    let _forgotten = mem::ManuallyDrop::new(provider.unwrap());
    let client = use_it(TestClient::new(&log));
    assert_eq!(client.providers().map(|provider| call(&provider, 5)).collect::<Vec<_>>(), [105]);
    client.deregister(passive()).unwrap();
    assert_eq!(program.0.load(Ordering::Relaxed), 0, "the image stays");
    let leaks = session.finish().leaks;
    assert_eq!(leaks.registrations.len(), 1, "the registrar knows of it");
}

#[test]
fn m6_a_dropped_registration_is_a_leak_and_does_not_wait() {
    leaked(drop);
}

#[test]
fn m6_a_dropped_deregistration_is_a_leak_and_does_not_wait() {
    leaked(|provider| drop(provider.start_deregistering()));
}

#[test]
fn m5_a_deregistration_that_nmr_refuses_is_a_leak() {
    for function in [Function::DeregisterProvider, Function::WaitForProviderDeregisterComplete] {
        let session = Session::new();
        let log = Log::default();
        let program = Program::default();
        let options = RegistrationOptions::new(PROVIDER_ID, Characteristics::new(7));
        let provider =
            ProviderRegistration::register(TestProvider::new(&log), options, program.clone(), passive()).unwrap();
        session.fail(function, 0, STATUS_INVALID_PARAMETER);
        let leaked = provider.deregister(passive()).unwrap_err();
        assert_eq!(leaked.status, STATUS_INVALID_PARAMETER);
        assert_eq!(log.take(), Vec::<String>::new());
        assert_eq!(program.0.load(Ordering::Relaxed), 0, "the image stays");
        drop(session.finish());
    }
}

#[test]
fn m22_no_lock_is_held_when_nmr_calls_back() {
    // Each callback finds the library usable: it walks the peers of the registration that is calling back.
    let session = Session::new();
    let log = Log::default();
    let provider = std::sync::Arc::new(provide(TestProvider::new(&log)));
    let mut client = TestClient::new(&log);
    let others = provider.clone();
    let seen = log.clone();
    client.on_detaching = Box::new(move |_| seen.add(format!("clients: {}", others.bindings().count())));
    let client = use_it(client);
    let pause = session.pause(When::Before, Callback::ProviderDetachClient);
    std::thread::scope(|scope| {
        let deregistering = scope.spawn(|| client.deregister(passive()).unwrap());
        pause.wait_until_reached();
        assert_eq!(provider.clients().count(), 1, "not detached yet on this side");
        pause.resume();
        deregistering.join().unwrap();
    });
    assert_eq!(log.count("clients: 1"), 1);
    std::sync::Arc::into_inner(provider).unwrap().deregister(passive()).unwrap();
}

#[test]
fn m26_who_is_attached_is_a_snapshot() {
    let _session = Session::new();
    let log = Log::default();
    let provider = provide(TestProvider::new(&log));
    assert_eq!(provider.clients().count(), 0);
    let client = use_it(TestClient::new(&log));
    let mut clients = provider.clients();
    client.deregister(passive()).unwrap();
    assert!(clients.next().is_none(), "a peer that has gone meanwhile is passed over");
    provider.deregister(passive()).unwrap();
}
