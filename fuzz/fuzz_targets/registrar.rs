//! Arbitrary sequences of NMR calls and callback answers against the registrar. The interpreter of the bytes is shared
//! with `rig/registrar/tests/fuzz.rs`, which runs it with a random generator.
#![no_main]

#[path = "../../rig/registrar/tests/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    support::fuzzed::run(data);
});
