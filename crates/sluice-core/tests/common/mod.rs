//! What tests and benches share: the specification of a policy, ClassBench files and captures.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test uses a part of it")]

pub mod captures;
pub mod classbench;
pub mod layers;
pub mod linear;
pub mod packets;
pub mod quic;
