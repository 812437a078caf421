//! A wait at DISPATCH_LEVEL.

mod common;
use common::*;

fn in_a_dpc(dispatch: Dispatch<'_>) {
    let _ = provider().start_deregistering().wait(dispatch);
}

fn main() {}
