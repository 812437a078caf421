//! A call into the client before the attach has been agreed.

mod common;
use common::*;

struct Eager;

impl Provider for Eager {
    type Npi = Adding;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        todo!()
    }

    fn attach(&self, client: &ClientOffer<'_, Adding>) -> Result<(), Refusal> {
        client.call(|_, _| ());
        Ok(())
    }
}

fn main() {}
