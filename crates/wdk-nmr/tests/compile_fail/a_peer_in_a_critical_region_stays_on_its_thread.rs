//! The thread that has entered a critical region is the one to leave it.

mod common;
use common::*;

struct Kernel;

impl CriticalRegion for Kernel {
    fn enter() -> bool {
        true
    }
    fn leave() {}
}

struct Careful;

impl Client for Careful {
    type Npi = Adding;
    type Binding = ();
    type Guard = InCriticalRegion<Kernel, Single>;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, _: &ProviderOffer<'_, Adding>) -> Result<(), Refusal> {
        Ok(())
    }
}

fn careful_client() -> ClientRegistration<Careful, Program> {
    todo!()
}

fn main() {
    let registration = careful_client();
    let provider = registration.providers().next().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || drop(provider));
    });
}
