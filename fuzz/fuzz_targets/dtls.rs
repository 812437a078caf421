#![no_main]

#[path = "../../crates/sluice-core/tests/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::dtls::run(data));
