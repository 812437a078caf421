//! A binding handle for the Complete function.

mod common;
use common::*;

fn main() {
    let registration = client();
    let provider = registration.providers().next().unwrap();
    let _ = provider.entered.slot.header.handle;
}
