//! A second wait for the same registration.

mod common;
use common::*;

fn driver_unload(passive: Passive<'_>) {
    let deregistering = provider().start_deregistering();
    let _ = deregistering.wait(passive);
    let _ = deregistering.wait(passive);
}

fn main() {}
