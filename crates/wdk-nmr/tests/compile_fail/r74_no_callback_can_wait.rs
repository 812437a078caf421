//! A registration is waited for in the last callbacks of its bindings, with whatever they are given.

mod common;
use common::*;

struct Waiting(core::cell::RefCell<Option<DeregisteringClient<Counter, Program>>>);

unsafe impl Sync for Waiting {}

impl Client for Waiting {
    type Npi = Adding;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, provider: &ProviderOffer<'_, Adding>) -> Result<(), Refusal> {
        let _ = self.0.take().unwrap().wait(provider.passive());
        Ok(())
    }

    fn attached(&self, provider: AttachedProvider<'_, Self>) {
        let _ = self.0.take().unwrap().wait(provider.passive());
    }

    fn detaching(&self, binding: &()) {
        let _ = self.0.take().unwrap().wait(binding);
    }
}

fn main() {}
