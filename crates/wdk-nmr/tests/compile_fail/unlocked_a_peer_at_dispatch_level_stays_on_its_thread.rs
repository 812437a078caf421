//! A call that was counted on one processor ends on another.

mod common;
use common::*;

fn in_a_dpc(dispatch: Dispatch<'static>) {
    let registration: &'static _ = Box::leak(Box::new(fast_client()));
    let provider = registration.providers().at_dispatch(dispatch).next().unwrap();
    std::thread::spawn(move || drop(provider));
}

fn main() {}
