//! `cargo xtask sanitize`: the tests of wdk-nmr under AddressSanitizer, with the runtime library of a nightly tool chain.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::layout;
use crate::run::{output, run as run_command};

/// The arguments of `cargo xtask sanitize`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What the tests themselves take
    #[arg(last = true)]
    rest: Vec<OsString>,
}

/// `cargo xtask sanitize`.
///
/// # Errors
/// Something does not build, a test fails, or the sanitizer has found something.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Some(nightly) = Nightly::find() else {
        println!("Not run: there is no nightly tool chain (rustup toolchain install nightly).");
        return Ok(());
    };
    let mut command = nightly.test();
    command.args(["--package", "wdk-nmr", "--lib", "--test", "contract", "--test", "per_processor", "--"]);
    run_command(command.args(&arguments.rest))
}

/// A nightly tool chain of rustup.
struct Nightly {
    root: PathBuf,
    host: String,
}

impl Nightly {
    fn find() -> Option<Self> {
        let rustc =
            |arguments: &[&str]| output(Command::new("rustup").args(["run", "nightly", "rustc"]).args(arguments)).ok();
        let root = PathBuf::from(rustc(&["--print", "sysroot"])?.trim_end());
        let version = rustc(&["--version", "--verbose"])?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: "))?.to_owned();
        Some(Self { root, host })
    }

    /// `cargo test`, with nothing of the tool chain that `cargo xtask` itself runs in.
    fn test(&self) -> Command {
        let mut command = Command::new(self.root.join("bin/cargo"));
        for inherited in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTDOC", "CARGO_ENCODED_RUSTFLAGS"] {
            command.env_remove(inherited);
        }
        command
            .current_dir(layout::root())
            .env("RUSTC", self.root.join("bin/rustc"))
            .env("RUSTFLAGS", "-Zsanitizer=address")
            // Some tests leak a registration, since that is what they are about.
            .env("ASAN_OPTIONS", "detect_leaks=0")
            // With a target, build scripts are built without the sanitizer.
            .args(["test", "--target", &self.host, "--target-dir"])
            .arg(layout::root().join("target/sanitize/address"));
        command
    }
}
