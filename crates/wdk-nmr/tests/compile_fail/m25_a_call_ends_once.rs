//! A call that is ended twice completes twice.

mod common;
use common::*;

fn main() {
    let registration = client();
    let provider = registration.providers().next().unwrap();
    let again = provider.clone();
    drop(provider);
    drop(again);
}
