//! A wait for a registration that nobody has deregistered.

mod common;
use common::*;

fn driver_unload(passive: Passive<'_>) {
    let _ = provider().wait(passive);
}

fn main() {}
