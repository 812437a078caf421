//! The fuzz target of this crate without a fuzzer.
#![cfg(not(loom))]

#[path = "../../sluice-core/tests/common/fuzz.rs"]
#[allow(unreachable_pub, missing_docs, reason = "shared with other crates")]
mod fuzz;
mod fuzzed;

#[test]
fn what_completes_a_name_has_it_or_one_was_said_to_be_missing() {
    fuzz::fuzz("assembler", fuzzed::run);
}
