//! Safe code that claims to be at DISPATCH_LEVEL.

mod common;
use common::*;

fn main() {
    let _ = fast_client().providers().at_dispatch(Dispatch::new()).count();
}
