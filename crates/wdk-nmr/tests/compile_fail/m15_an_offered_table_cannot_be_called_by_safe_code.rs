//! A call of the client's table before the attach has been agreed.

mod common;

use common::*;

struct TwoWay;

unsafe impl Npi for TwoWay {
    const ID: NPIID = GUID::from_u128(1);
    type ProviderDispatch = ();
    type ClientDispatch = Table;
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

struct Eager;

impl Provider for Eager {
    type Npi = TwoWay;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        ProviderTable::none()
    }

    fn attach(&self, client: &ClientOffer<'_, TwoWay>) -> Result<(), Refusal> {
        (client.dispatch().add)(core::ptr::null_mut(), 1);
        Ok(())
    }
}

fn main() {}
