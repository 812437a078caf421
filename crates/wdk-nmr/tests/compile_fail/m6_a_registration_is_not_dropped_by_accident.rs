//! A registration that nobody keeps.

mod common;
use common::*;

#[deny(unused_must_use)]
fn driver_entry(passive: Passive<'_>) -> Result<(), RegisterError> {
    let identity = Identity::new(ModuleId::IfLuid(1), ());
    ClientRegistration::register(Counter, identity, Program, passive)?;
    Ok(())
}

fn main() {}
