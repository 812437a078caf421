//! The fuzz targets of this crate without a fuzzer.

#[path = "common/fuzz.rs"]
#[allow(unreachable_pub, missing_docs, reason = "shared with other crates")]
mod fuzz;
mod fuzzed;

use fuzz::fuzz;

#[test]
fn what_arbitrary_bytes_are_read_as_keeps_the_invariants() {
    fuzz("parse", fuzzed::parse::run);
}

#[test]
fn what_frames_that_are_mostly_right_are_read_as_keeps_the_invariants() {
    fuzz("layers", fuzzed::layers::run);
}

#[test]
fn a_table_with_arbitrary_changes_is_refused_or_answers() {
    fuzz("table", fuzzed::table::run);
}

#[test]
fn what_initial_packets_of_quic_are_read_as_keeps_the_invariants() {
    fuzz("quic", fuzzed::quic::run);
}

#[test]
fn what_dtls_hellos_are_read_as_keeps_the_invariants() {
    fuzz("dtls", fuzzed::dtls::run);
}
