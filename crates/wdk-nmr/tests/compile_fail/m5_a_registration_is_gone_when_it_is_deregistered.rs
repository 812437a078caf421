//! A registration is used after it has been deregistered.

mod common;
use common::*;

fn driver_unload(passive: Passive<'_>) {
    let registration = client();
    let _ = registration.deregister(passive);
    let _ = registration.providers().count();
}

fn main() {}
