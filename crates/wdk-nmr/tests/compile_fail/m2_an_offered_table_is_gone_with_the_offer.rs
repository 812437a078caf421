//! The table of a client that was offered is kept for later.

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

fn keep(client: &ClientOffer<'_, TwoWay>) -> &'static Table {
    client.dispatch()
}

fn main() {}
