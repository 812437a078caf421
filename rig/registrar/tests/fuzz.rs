//! The fuzz target's function with a random generator: bounded, seeded, in every test run. `FUZZ_ROUNDS` and `FUZZ_SEED`
//! make it longer and different.

mod support;

use std::collections::BTreeSet;

fn from_environment(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, not a number")),
        Err(_) => otherwise,
    }
}

#[test]
fn arbitrary_calls_and_answers_neither_crash_nor_hang_nor_leak() {
    let rounds = from_environment("FUZZ_ROUNDS", 1_500);
    let mut state = from_environment("FUZZ_SEED", 0x5EED) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    let (mut cleanups, mut broken) = (0, BTreeSet::new());
    for round in 0..rounds {
        let length = 20 + round as usize % 400;
        let input: Vec<u8> = (0..length).map(|_| byte()).collect();
        let done = support::fuzzed::run(&input);
        cleanups += done.cleanups;
        broken.extend(done.broken);
    }
    // The inputs reach what they are for.
    assert!(u64::from(cleanups) > rounds, "{cleanups} cleanups");
    let expected = [19, 20, 21, 22, 25, 26, 45, 46, 48, 49, 52, 62, 66, 68];
    assert!(expected.iter().all(|rule| broken.contains(rule)), "only {broken:?}");
}
