//! The fuzz target's function with a random generator: bounded, seeded, in every test run. `FUZZ_ROUNDS` and
//! `FUZZ_SEED` make it longer and different.

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
    let expected = [19, 20, 21, 22, 25, 26, 27, 43, 44, 45, 46, 48, 49, 50, 52, 62, 66, 68];
    assert!(expected.iter().all(|rule| broken.contains(rule)), "only {broken:?}");
}

/// What the fuzzer found worth keeping, in `fuzz/corpus/registrar`.
#[test]
fn the_corpus_of_the_fuzzer_neither_crashes_nor_hangs_nor_leaks() {
    let package = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    if package.join("Cargo.toml.orig").is_file() {
        return eprintln!("not replayed: the corpus is in the repository, not in this package");
    }
    let corpus = package.join("../../fuzz/corpus/registrar");
    let inputs = std::fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let mut count = 0;
    for input in inputs {
        let path = input.expect("the directory can be read").path();
        support::fuzzed::run(&std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        count += 1;
    }
    assert!(count > 100, "only {count} inputs in {}", corpus.display());
}
