//! A registration without a word about the level.

mod common;
use common::*;

fn main() {
    let options = RegistrationOptions::new(ModuleId::IfLuid(1), ());
    let _ = ClientRegistration::register(Counter, options, Program, ());
}
