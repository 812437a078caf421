//! The whole life of a binding, in both orders of registration and of deregistration, without a session: tests of other
//! crates use the nine functions like this.

mod support;
use support::*;

fn whole_life(provider_first: bool, client_ends_first: bool) -> Vec<String> {
    let log = Log::default();
    let npi = unique_npi();
    let (client, provider) = (client("C", npi, &log), provider("P", npi, &log));
    let (first, second) = if provider_first { (&provider, &client) } else { (&client, &provider) };
    assert_eq!(first.register(), STATUS_SUCCESS);
    assert_eq!(log.calls(), [""; 0]);
    assert_eq!(second.register(), STATUS_SUCCESS);
    let (first, second) = if client_ends_first { (&client, &provider) } else { (&provider, &client) };
    first.end();
    second.end();
    log.calls()
}

#[test]
fn both_orders_lead_through_the_same_life() {
    let expected = [
        "C.ClientAttachProvider",
        "P.ProviderAttachClient",
        "C.ClientDetachProvider",
        "P.ProviderDetachClient",
        "C.ClientCleanupBindingContext",
        "P.ProviderCleanupBindingContext",
    ];
    for provider_first in [false, true] {
        for client_ends_first in [false, true] {
            assert_eq!(whole_life(provider_first, client_ends_first), expected);
        }
    }
}

#[test]
fn both_sides_pend_and_complete() {
    let log = Log::default();
    let npi = unique_npi();
    let provider = provider("P", npi, &log).detaching_with(STATUS_PENDING).registered();
    let client = client("C", npi, &log).detaching_with(STATUS_PENDING).registered();
    assert_eq!(client.deregister(), STATUS_PENDING);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.waited());
        client.binding(0).complete();
        assert_eq!(log.count(Callback::ClientCleanupBindingContext), 0);
        provider.binding(0).complete();
        waiting.join().unwrap();
    });
    assert_eq!(log.count(Callback::ClientCleanupBindingContext), 1);
    assert_eq!(log.count(Callback::ProviderCleanupBindingContext), 1);
}
