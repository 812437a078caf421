//! A registration that nobody keeps.

mod common;
use common::*;

#[deny(unused_must_use)]
fn driver_entry(passive: Passive<'_>) -> Result<(), RegisterError> {
    let options = RegistrationOptions::new(ModuleId::IfLuid(1), ());
    ClientRegistration::register(Counter, options, Program, passive)?;
    Ok(())
}

fn main() {}
