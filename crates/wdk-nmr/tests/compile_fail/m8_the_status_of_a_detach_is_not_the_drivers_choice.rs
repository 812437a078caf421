//! A detach that claims to be done.

mod common;
use common::*;

struct Hasty;

impl Client for Hasty {
    type Npi = Adding;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, _: &ProviderOffer<'_, Adding>) -> Result<(), Refusal> {
        Ok(())
    }

    fn detaching(&self, _: &()) -> NTSTATUS {
        0
    }
}

fn main() {}
