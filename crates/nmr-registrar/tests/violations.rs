//! What a report of a violation says: the rule, where it was noticed, whose module it was, which binding, what it did
//! and what was expected.

mod support;
use std::ptr::null_mut;

use nmr_registrar::{Function, ModuleId, Place, Violation};
use support::*;

/// A client and a provider that the test makes mistakes with, and the one violation that this led to.
fn provoke(mistake: impl FnOnce(&mut Module, &mut Module), then: impl FnOnce(&Module, &Module)) -> (Violation, HANDLE) {
    let session = Session::new();
    session.name_image("driver.sys", 0..usize::MAX);
    let log = Log::default();
    let npi = unique_npi();
    let (mut client, mut provider) = (client("C", npi, &log), provider("P", npi, &log));
    mistake(&mut client, &mut provider);
    let provider = provider.registered();
    let client = client.registered();
    let handle = client.handle();
    then(&client, &provider);
    drop((client, provider));
    let mut violations = session.finish().violations;
    assert_eq!(violations.len(), 1, "{violations:?}");
    (violations.remove(0), handle)
}

#[test]
fn a_report_says_rule_place_module_binding_and_expectation() {
    let refuses_after_success = |client: &mut Module, _: &mut Module| {
        client.on_client_attach = Box::new(|offer| {
            let binding = Binding::allocate(offer.module, offer.handle);
            assert_eq!(offer.attach(binding.cast(), offer.module.dispatch), STATUS_SUCCESS);
            // SAFETY: what it breaks is R26; the registrar takes its context for freed then.
            drop(unsafe { Box::from_raw(binding) });
            STATUS_NOINTERFACE
        });
    };
    let (violation, client) = provoke(refuses_after_success, |_, _| {});
    assert_eq!((violation.rule, violation.place), (26, Place::Callback(Callback::ClientAttachProvider)));
    let module = violation.module.clone().expect("it is known whose callback it was");
    assert_eq!((module.side, module.image.as_deref()), (Side::Client, Some("driver.sys")));
    assert_eq!(module.registration, client.addr());
    assert!(matches!(module.id, ModuleId::Guid(_)));
    let text = violation.to_string();
    let binding = violation.binding.expect("it is about a binding");
    for part in [
        "R26 broken in ClientAttachProvider: ",
        "returned failure after NmrClientAttachProvider had succeeded; ",
        "expected: the status of the last NmrClientAttachProvider, unchanged; ",
        "by client module {6D6F6475-",
        " in driver.sys, number 0, NPI {",
        &format!("registration {:#x}", module.registration),
        &format!("binding {binding:#x}; see docs/nmr-rules.md#r26"),
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn a_report_about_a_registration_names_its_module() {
    let (violation, client) = provoke(
        |_, _| {},
        |client, _| {
            assert_eq!(client.wait(), STATUS_INVALID_PARAMETER);
        },
    );
    assert_eq!((violation.rule, violation.binding), (62, None));
    assert_eq!(violation.place, Place::Function(Function::WaitForClientDeregisterComplete));
    assert_eq!(violation.module.map(|module| module.registration), Some(client.addr()));
    assert_eq!(violation.expected, "NmrDeregister* before the wait");
}

#[test]
fn a_report_about_a_pending_part_names_the_side_that_pends() {
    let (violation, _) = provoke(
        |_, provider| {
            provider.on_detach = Box::new(|_, context| {
                // SAFETY: the default attach allocated it; it is freed in cleanup.
                let handle = unsafe { &*context.cast::<Binding>() }.handle();
                complete(Side::Provider, handle);
                complete(Side::Provider, handle);
                STATUS_PENDING
            });
        },
        |_, _| {},
    );
    assert_eq!(violation.rule, 45);
    assert_eq!(violation.place, Place::Function(Function::ProviderDetachClientComplete));
    assert_eq!(violation.module.map(|module| module.side), Some(Side::Provider));
    assert!(violation.binding.is_some() && violation.found.contains("a second time"));
}

#[test]
fn a_report_about_a_bad_handle_says_what_it_was() {
    for (handle, rule, says) in [
        (|_: &Module| null_mut(), 68, "a NULL handle"),
        (|client: &Module| client.handle(), 52, "is a client registration handle"),
        (|_: &Module| 0x1234_5678_usize as HANDLE, 68, "0x12345678 is a value that this registrar never gave out"),
    ] as [(fn(&Module) -> HANDLE, u8, &str); 3]
    {
        let (violation, _) = provoke(
            |_, _| {},
            |client, _| {
                assert_eq!(deregister(Side::Provider, handle(client)), STATUS_INVALID_PARAMETER);
            },
        );
        assert_eq!((violation.rule, violation.module), (rule, None));
        assert!(violation.found.contains(says), "{}", violation.found);
        assert_eq!(violation.expected, "a handle from NmrRegisterProvider");
    }
}
