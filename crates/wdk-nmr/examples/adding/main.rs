//! A provider, a client of it, and both of them brought together by nmr-registrar, a stand-in for NETIO.SYS. In drivers
//! the same code runs on Windows' own, and `main` is two DriverEntry routines.

#![allow(unreachable_pub, reason = "the modules are shown in the documentation as they would be in a driver")]

mod client;
mod interface;
mod provider;

use nmr_registrar as _;
use wdk_nmr::{Passive, Resident};

/// Holds nothing, since a program stays where it is. A driver holds a reference to its DRIVER_OBJECT.
struct Program;

// SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
unsafe impl Resident for Program {}

fn main() {
    // SAFETY: threads of a program are at PASSIVE_LEVEL, and this is no callback.
    let passive = unsafe { Passive::new() };
    let provider = provider::entry(Program, passive).expect("registered");
    let client = client::entry(Program, passive).expect("registered");
    for number in [3, 4] {
        println!("the sum is {:?}", client::add_everywhere(&client, number).collect::<Vec<_>>());
    }
    provider.deregister(passive).expect("the provider unloads under the client");
    println!("without a provider: {:?}", client::add_everywhere(&client, 5).collect::<Vec<_>>());
    client.deregister(passive).expect("the client unloads");
}

#[test]
fn the_example_runs() {
    main();
}
