//! Safe code that claims to be at PASSIVE_LEVEL.

mod common;
use common::*;

fn main() {
    let _ = client().deregister(Passive::new());
}
