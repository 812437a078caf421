//! A peer is still held when the registration ends.

mod common;
use common::*;

fn driver_unload(passive: Passive<'_>) {
    let registration = client();
    let provider = registration.providers().next().unwrap();
    let _ = registration.deregister(passive);
    provider.call(|_, _| ());
}

fn main() {}
