#![cfg_attr(feature = "fuzzer", no_main)]

#[path = "../../crates/sluice-assembler/tests/fuzzed/mod.rs"]
mod fuzzed;

sluice_fuzz::target!(|data| fuzzed::run(data));
