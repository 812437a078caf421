//! The peer's table is kept for later.

mod common;
use common::*;

fn main() {
    let registration = client();
    let provider = registration.providers().next().unwrap();
    let _: &Table = provider.call(|table, _| table);
}
