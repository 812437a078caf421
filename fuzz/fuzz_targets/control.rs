//! Arbitrary codes and buffers against the dispatchers of both devices, with the real engine behind them. The
//! interpreter of the bytes is shared with `crates/sluice-engine/tests/engine`, which runs it with a random generator.
#![cfg_attr(feature = "fuzzer", no_main)]

#[path = "../../crates/sluice-engine/tests/engine/fuzzed.rs"]
mod fuzzed;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../crates/sluice-engine/tests/engine/host.rs"]
mod host;

sluice_fuzz::target!(|data| {
    fuzzed::run(data);
});
