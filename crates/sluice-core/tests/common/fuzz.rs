//! The fuzz targets without a fuzzer, so that every test run has them: first what the fuzzers found worth keeping
//! (`fuzz/corpus`), then changed copies of it.
//!
//! The same copies in every run, unless FUZZ_SEED names another seed. FUZZ_ROUNDS says how many of them each target
//! gets instead of the usual number, or FUZZ_SECONDS how long it takes. An input that fails is left in a file, whose
//! name is printed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use fastrand::Rng;

/// How many inputs each target gets unless FUZZ_ROUNDS or FUZZ_SECONDS is set.
const ROUNDS: u64 = 20_000;

/// As long as the longest inputs that the fuzzers make.
const MAX_LENGTH: usize = 4096;

fn from_environment(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, and has to be a number")))
}

/// An input on trial. It is kept if the target panics.
struct Trial<'input> {
    target: &'input str,
    input: &'input [u8],
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-failure", self.target));
            match fs::write(&file, self.input) {
                Ok(()) => eprintln!("{} failed on the input in {}", self.target, file.display()),
                Err(error) => eprintln!("{}: {error}; {} failed on {:?}", file.display(), self.target, self.input),
            }
        }
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| file.expect("the folder can be read").path())
        .collect();
    files.sort();
    assert!(files.len() > 50, "only {} inputs in {}", files.len(), folder.display());
    files.iter().map(|file| fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))).collect()
}

/// A copy of an input with a few changes of the kinds that fuzzers make.
fn changed(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = rng.choice(corpus).expect("there are inputs").clone();
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(0..=input.len());
        let end = rng.usize(at..=input.len().min(at + 16));
        match rng.u8(0..7) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..end)),
            2 => drop(input.splice(at..at, (0..rng.usize(1..16)).map(|_| rng.u8(..)).collect::<Vec<u8>>())),
            3 => input[at..end].fill(*rng.choice(&[0, 1, 0x7F, 0x80, 0xFF]).expect("there are values")),
            4 => input[at..end]
                .iter_mut()
                .for_each(|byte| *byte = byte.wrapping_add(*rng.choice(&[1, 0xFF]).expect("there are values"))),
            5 => {
                let other = rng.choice(corpus).expect("there are inputs");
                let from = rng.usize(0..=other.len());
                input.truncate(at);
                input.extend(&other[from..]);
            }
            _ => input[at..end].iter_mut().for_each(|byte| *byte ^= 1 << rng.u8(0..8)),
        }
    }
    input.truncate(MAX_LENGTH);
    input
}

/// Gives a target its corpus and changed copies of it.
pub fn fuzz(target: &str, run: fn(&[u8])) {
    let corpus = corpus(target);
    let try_one = |input: &[u8]| {
        let _trial = Trial { target, input };
        run(input);
    };
    corpus.iter().for_each(|input| try_one(input));

    let rng = &mut Rng::with_seed(from_environment("FUZZ_SEED").unwrap_or(0x5EED));
    let end = from_environment("FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let count = from_environment("FUZZ_ROUNDS").unwrap_or(ROUNDS);
    let mut rounds = 0;
    while end.map_or(rounds < count, |end| rounds % 256 != 0 || Instant::now() < end) {
        try_one(&changed(&corpus, rng));
        rounds += 1;
    }
    println!("{target}: {} inputs and {rounds} changed ones", corpus.len());
}
