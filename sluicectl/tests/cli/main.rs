//! sluicectl as its users meet it: arguments, files, output, exit codes.

mod classify;
mod policy;
mod support;
mod verify;
