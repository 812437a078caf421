//! The binding is used after the call that may have completed the detach.

mod common;
use common::*;

fn main() {
    let registration = client();
    let provider = registration.providers().next().unwrap();
    let binding = provider.binding();
    drop(provider);
    println!("{binding}");
}
