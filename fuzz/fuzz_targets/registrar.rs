//! Arbitrary sequences of NMR calls and callback answers against the registrar. The interpreter of the bytes is shared
//! with `crates/nmr-registrar/tests/fuzz.rs`, which runs it with a random generator.
#![cfg_attr(feature = "fuzzer", no_main)]

#[path = "../../crates/nmr-registrar/tests/support/mod.rs"]
mod support;

sluice_fuzz::target!(|data| {
    support::fuzzed::run(data);
});
