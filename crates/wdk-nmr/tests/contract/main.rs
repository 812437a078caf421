//! The rules of the NMR contract (R1 to R74) that concern a module, and the mistakes (M1 to M28), one test each, against
//! nmr-registrar in its strict mode: a violation by the library or anything left behind fails the test.
//!
//! Mistakes that do not compile are in `tests/compile_fail`, races of the guard in `tests/loom.rs`, memory that runs out
//! in `tests/allocation.rs`. What is said of several rules at once:
//!
//! * The strict registrar reports every departure from R10 to R13, R15, R19, R26, R45, R46, R52, R54, R61, R62, R64, R66,
//!   R68 and R74, whichever test provokes it; R17, R20, R21, R27, R56, R58 and R59 are what `r4`, `r27`, `r35` and `r53`
//!   rest on.
//! * R2, R6, R8, R14, R16, R32, R34, R37, R39, R41, R42 and R67 are for NMR to keep. The tests of R4, R35 and R40 run into
//!   most of them.
//! * R48 and R49 are what this library does not do: it never completes before it was asked to detach, and never returns
//!   anything but STATUS_SUCCESS and STATUS_PENDING.
//! * R72 is for the driver.

#![allow(clippy::type_complexity, reason = "what a test does is in closures")]

mod common;

mod attach;
mod call;
mod deregister;
mod detach;
mod diagnosis;
mod register;
