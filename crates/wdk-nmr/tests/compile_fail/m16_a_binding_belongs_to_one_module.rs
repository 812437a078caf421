//! The table of one provider with the bindings of another.

mod common;
use common::*;

struct Other;

impl Provider for Other {
    type Npi = Adding;
    type Binding = String;
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        Adder.dispatch()
    }

    fn attach(&self, _: &ClientOffer<'_, Adding>) -> Result<String, Refusal> {
        Ok(String::new())
    }
}

fn main() {}
