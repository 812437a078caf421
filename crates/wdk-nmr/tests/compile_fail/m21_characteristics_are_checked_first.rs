//! The peer's characteristics are read without a look at their header.

mod common;
use common::*;

struct Trusting;

impl Client for Trusting {
    type Npi = Adding;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, provider: &ProviderOffer<'_, Adding>) -> Result<(), Refusal> {
        let ModuleId::Guid(_) = provider.module_id() else { return Err(Refusal::NO_INTERFACE) };
        Ok(())
    }
}

fn main() {}
