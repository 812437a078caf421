//! The rules of docs/nmr-rules.md (R1 to R74) that concern a module, and the mistakes (M1 to M28), against
//! nmr-registrar in its strict mode: a violation by the library or anything left behind fails the test.
//!
//! A test is named after the rule or the mistake that it is about, `r40_...` or `m7_...`. Mistakes that do not compile
//! are files of such a name in `tests/compile_fail`; races of the guard are models in `tests/loom.rs`, the instructions
//! that a rule asks for are looked at in `tests/bare.rs`, and calls at DISPATCH_LEVEL are made in
//! `tests/per_processor.rs`. That none is left out is a test too, in `coverage.rs`, which says why two rules have none.

#![allow(clippy::type_complexity, reason = "what a test does is in closures")]

mod common;

mod attach;
mod call;
mod coverage;
mod critical_region;
mod deregister;
mod detach;
mod diagnosis;
mod interface;
mod register;
