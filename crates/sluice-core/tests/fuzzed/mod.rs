//! What the fuzz targets of this crate do with their input: `fuzz/` gives it to a fuzzer, `tests/fuzz.rs` to a
//! generator.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each target uses a part of it")]

#[path = "../common/layers.rs"]
mod by_layers;
mod choices;
pub mod dtls;
mod invariants;
pub mod layers;
#[path = "../common/packets.rs"]
mod packets;
pub mod parse;
pub mod quic;
#[path = "../common/quic.rs"]
mod quic_packets;
pub mod table;
