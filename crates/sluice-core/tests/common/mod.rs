//! What tests and benches share: the specification of a policy, ClassBench files and captures.
#![allow(dead_code, reason = "each test uses a part of it")]

pub mod captures;
pub mod classbench;
pub mod linear;
