//! A call that is held, counted on the processor that it started on.

mod common;
use common::*;

fn in_a_dpc(dispatch: Dispatch<'_>) {
    let registration = fast_client();
    let provider = registration.providers().at_dispatch(dispatch).next().unwrap();
    let _ = provider.hold();
}

fn main() {}
