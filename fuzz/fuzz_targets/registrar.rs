//! Arbitrary sequences of NMR calls and callback answers against the registrar. The interpreter of the bytes is shared
//! with `crates/nmr-registrar/tests/fuzz.rs`, which runs it with a random generator.
#![no_main]

#[path = "../../crates/nmr-registrar/tests/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    support::fuzzed::run(data);
});
