//! A registration is waited for in its own callback.

mod common;
use common::*;

struct Waiting;

impl Client for Waiting {
    type Npi = Adding;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, provider: &ProviderOffer<'_, Adding>) -> Result<(), Refusal> {
        let _ = client().deregister(provider.passive());
        Ok(())
    }
}

fn main() {}
