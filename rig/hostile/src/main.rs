//! Sends a device of Sluice requests that no well-behaved program sends, and checks that the answers keep to the rules
//! of `DeviceIoControl` and of the contract (sluice-control).
//!
//! ```text
//! hostile sizes DEVICE                 every control code with every small input and output size
//! hostile random DEVICE SECONDS SEED   arbitrary requests from four threads, which open and close the device
//! ```
//!
//! Exit code 0: the device kept to the rules. 1: it did not. 2: wrong arguments.

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
        "usage: hostile sizes DEVICE\n       hostile random DEVICE SECONDS SEED\n       hostile busy DEVICE SECONDS"
    );
    ExitCode::from(2)
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    eprintln!("error: this program is for Windows and Wine; elsewhere there are no such devices");
    ExitCode::from(2)
}
