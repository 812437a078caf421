//! Sends a device of Sluice requests that no well-behaved program sends, and checks that the answers keep to the rules
//! of `DeviceIoControl` and of the contract (sluice-control).
//!
//! ```text
//! hostile sizes DEVICE                 every control code with every small input and output size
//! hostile random DEVICE SECONDS SEED   arbitrary requests from four threads, which open and close the device; they
//!                                      end early when there is a file `end` in the current folder
//! hostile deaths DEVICE COUNT          programs that are killed in the middle of large requests
//! hostile handles DEVICE COUNT         handles that are open at once, each used from another thread
//! hostile victim DEVICE                large requests until it is killed: what `deaths` starts
//! hostile host ADDRESS                 accepts a connection, as whoever works from a distance has one, and keeps it
//!                                      until there is a file `end`
//! ```
//!
//! Exit code 0: the device kept to the rules. 1: it did not. 2: wrong arguments.

mod counts;
#[cfg(windows)]
mod device;
mod request;
#[cfg(windows)]
mod run;

use std::process::ExitCode;

#[cfg(windows)]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["sizes", device] => run::sizes(device),
        ["random", device, seconds, seed] => match (seconds.parse(), seed.parse()) {
            (Ok(seconds), Ok(seed)) => run::random(device, seconds, seed),
            _ => return usage(),
        },
        ["deaths", device, count] => match count.parse() {
            Ok(count) => run::deaths(device, count),
            Err(_) => return usage(),
        },
        ["handles", device, count] => match count.parse() {
            Ok(count) => run::handles(device, count),
            Err(_) => return usage(),
        },
        ["victim", device] => run::victim(device),
        ["host", address] => run::host(address),
        _ => return usage(),
    };
    match outcome {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(broken) => {
            eprintln!("error: {broken}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(windows)]
fn usage() -> ExitCode {
    eprintln!(
        "usage: hostile sizes DEVICE\n       hostile random DEVICE SECONDS SEED\n       hostile deaths DEVICE COUNT\n\
         \x20      hostile handles DEVICE COUNT\n       hostile victim DEVICE\n       hostile host ADDRESS"
    );
    ExitCode::from(2)
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    eprintln!("error: expected Windows or Wine: only there are the drivers' devices");
    ExitCode::from(2)
}
