//! A token is given to a thread for which it may not be true.

mod common;
use common::*;

fn driver_entry(passive: Passive<'static>) {
    std::thread::spawn(move || client().deregister(passive));
}

fn main() {}
