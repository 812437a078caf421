//! sluicectl as its users meet it: arguments, files, output, exit codes.

mod classify;
#[path = "../../src/documentation.rs"]
mod documentation;
mod help;
mod import;
mod policy;
mod support;
mod verify;
