//! A detach callback that frees the binding, while the peer may still call in.

mod common;
use common::*;

struct Freeing;

impl Client for Freeing {
    type Npi = Adding;
    type Binding = String;
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, _: &ProviderOffer<'_, Adding>) -> Result<String, Refusal> {
        Ok(String::new())
    }

    fn detaching(&self, binding: &String) {
        drop::<String>(*binding);
    }
}

fn main() {}
