//! Lets many threads use what has no lock - the guards of wdk-nmr, the policy swap - for as long as one likes, on the
//! memory model of the processor that it runs on.
//!
//! ```text
//! stress SECONDS
//! ```
//!
//! The models (loom) prove every interleaving that the language allows. This shows what they cannot: that the compiler
//! made of it what the processor needs. First it says what the processor shows at all ([`litmus`]): where nothing is
//! reordered, a missing barrier goes unnoticed.
//!
//! Exit code 0: everything held. 1: something did not. 2: wrong arguments.

mod barrier;
mod guards;
mod litmus;
mod swap;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let seconds = match &arguments[..] {
        [seconds] => seconds.parse::<u64>().ok().filter(|seconds| *seconds > 0),
        _ => None,
    };
    let Some(seconds) = seconds else {
        eprintln!("usage: stress SECONDS");
        return ExitCode::from(2);
    };
    match run(Duration::from_secs(seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(broken) => {
            eprintln!("error: {broken}");
            ExitCode::FAILURE
        }
    }
}

/// What takes a share of the time: its name, and what it is.
type Part = (&'static str, fn(Duration) -> Result<String, String>);

const PARTS: [Part; 5] = [
    ("litmus tests", litmus::run),
    ("guard Single", guards::single),
    ("guard Sharded", guards::sharded),
    ("guard PerProcessor", guards::per_processor),
    ("policy swap", swap::run),
];

fn run(time: Duration) -> Result<(), String> {
    for (name, part) in PARTS {
        println!("{name}: {}", part(time / PARTS.len() as u32).map_err(|broken| format!("{name}: {broken}"))?);
    }
    Ok(())
}
