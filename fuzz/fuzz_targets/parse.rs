#![cfg_attr(feature = "fuzzer", no_main)]

#[path = "../../crates/sluice-core/tests/fuzzed/mod.rs"]
mod fuzzed;

sluice_fuzz::target!(|data| fuzzed::parse::run(data));
