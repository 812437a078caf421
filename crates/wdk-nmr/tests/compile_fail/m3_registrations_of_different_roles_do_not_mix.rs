//! A provider's registration where a client's belongs.

mod common;
use common::*;

fn unload(client: ClientRegistration<Counter, Program>, passive: Passive<'_>) {
    let _ = client.deregister(passive);
}

fn driver_unload(passive: Passive<'_>) {
    unload(provider(), passive);
}

fn main() {}
