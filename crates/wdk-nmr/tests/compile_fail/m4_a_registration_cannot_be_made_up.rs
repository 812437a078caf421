//! A registration that NMR does not know.

mod common;
use common::*;

fn main() {
    let _ = ProviderRegistration::<Adder, Program> { inner: todo!() };
}
