//! The rules of the NMR contract (R1 to R74) that concern a module, and the mistakes (M1 to M28), one test each, against
//! nmr-registrar in its strict mode: a violation by the library or anything left behind fails the test.
//!
//! Mistakes that do not compile are in `tests/compile_fail`, races of the guard in `tests/loom.rs`.

#![allow(clippy::type_complexity, reason = "what a test does is in closures")]

mod common;

mod attach;
mod call;
mod deregister;
mod detach;
mod diagnosis;
mod register;
