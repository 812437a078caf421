//! A handler of another module.

mod common;

use common::*;

struct Other;

impl Provider for Other {
    type Npi = Adding;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_table!(Self, Table { version: 1, size: 16, add: fn add })
    }

    fn attach(&self, _: &ClientOffer<'_, Adding>) -> Result<(), Refusal> {
        Ok(())
    }
}

fn add(call: ProviderCall<'_, Adder>, number: u32) -> u32 {
    call.binding() + number
}

fn main() {}
