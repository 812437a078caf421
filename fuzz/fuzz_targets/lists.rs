//! Lists of packets as NDIS could never make them against gate.sys, with a filter engine and a Sluice for tests. The
//! interpreter of the bytes is shared with `crates/sluice-gate/tests/gate`, which runs it with a random generator.
#![cfg_attr(feature = "fuzzer", no_main)]

#[path = "../../crates/sluice-gate/tests/gate/fuzzed.rs"]
mod fuzzed;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../crates/sluice-gate/tests/gate/host.rs"]
mod host;

sluice_fuzz::target!(|data| {
    fuzzed::run(data);
});
