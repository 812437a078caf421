//! `cargo xtask sanitize`: the tests of wdk-nmr under AddressSanitizer and ThreadSanitizer, with the runtime libraries
//! of a nightly tool chain.
//!
//! ThreadSanitizer has to see what the locks, the channels and the threads of std do, or it reports hundreds of races
//! that are none. So std is built for it from source, and nothing has to be suppressed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice;

use anyhow::{Context, Result};
use cargo_wdk_linux::setup::{self, Rust};
use clap::ValueEnum;

use crate::layout;
use crate::run::{output, run as run_command};

/// The arguments of `cargo xtask sanitize`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// One of the two; it is an error if it cannot be run here
    #[arg(long, value_name = "SANITIZER")]
    only: Option<Sanitizer>,
    /// What the tests themselves take
    #[arg(last = true)]
    rest: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sanitizer {
    /// Accesses to memory that is not, or no longer, there
    Address,
    /// Data races
    Thread,
}

/// `cargo xtask sanitize`.
///
/// # Errors
/// Something does not build, a test fails, a sanitizer has found something, or the only one that was asked for cannot
/// be run.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let sanitizers = arguments.only.as_ref().map_or(Sanitizer::value_variants(), slice::from_ref);
    for sanitizer in sanitizers {
        match sanitizer.test() {
            Ok(mut command) => {
                command.args(["--package", "wdk-nmr", "--lib", "--test", "contract", "--test", "per_processor", "--"]);
                run_command(command.args(&arguments.rest))?;
            }
            Err(missing) if arguments.only.is_some() => return Err(missing),
            Err(missing) => println!("{sanitizer:?}Sanitizer was not run: {missing}."),
        }
    }
    Ok(())
}

impl Sanitizer {
    /// `cargo test` under the sanitizer.
    ///
    /// # Errors
    /// What it needs is not there.
    fn test(self) -> Result<Command> {
        let nightly = Nightly::find()
            .context("there is no nightly tool chain (rustup toolchain install nightly --component rust-src)")?;
        match self {
            Self::Address => Ok(address(&nightly)),
            Self::Thread => thread(&nightly).context(
                "there is no source of std to build for it (rustup component add rust-src --toolchain nightly, or the \
                 Debian packages rustc-web, cargo-web and rust-web-src)",
            ),
        }
    }
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
}

fn address(nightly: &Nightly) -> Command {
    let mut command = test(&Rust::at(&nightly.root, false), &nightly.host, "address", "-Zsanitizer=address");
    // Some tests leak a registration, since that is what they are about.
    command.env("ASAN_OPTIONS", "detect_leaks=0");
    command
}

/// `None`: there is no source of std.
fn thread(nightly: &Nightly) -> Option<Command> {
    let mut flags = String::from("-Zsanitizer=thread");
    let rust = setup::with_source([nightly.root.as_path()]).or_else(|| {
        // Debian's tool chain comes without the runtime, and its compiler is content with that of the nightly. GNU ld
        // leaves symbols of that undefined, so the nightly's linker is taken as well.
        let libraries = nightly.root.join("lib/rustlib").join(&nightly.host);
        let (runtime, linker) = (libraries.join("lib/librustc-nightly_rt.tsan.a"), libraries.join("bin/gcc-ld"));
        flags += &format!(" -Zexternal-clangrt -Clink-arg=-fuse-ld=lld -Clink-arg=-B{}", linker.display());
        flags += &format!(" -Clink-arg=-Wl,--whole-archive,{},--no-whole-archive", runtime.display());
        flags += " -Clink-arg=-lm -Clink-arg=-lc";
        setup::with_source([Path::new("/usr")])
    })?;
    let mut command = test(&rust, &nightly.host, "thread", &flags);
    command
        .arg("-Zbuild-std=std,panic_unwind,test")
        // A stable tool chain has these options, but does not offer them by itself.
        .env("RUSTC_BOOTSTRAP", "1");
    Some(command)
}

/// `cargo test` of a tool chain, with nothing of the one that `cargo xtask` itself runs in.
fn test(rust: &Rust, host: &str, name: &str, flags: &str) -> Command {
    let mut command = Command::new(&rust.cargo);
    for inherited in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTDOC", "CARGO_ENCODED_RUSTFLAGS"] {
        command.env_remove(inherited);
    }
    command
        .current_dir(layout::root())
        .env("RUSTC", &rust.rustc)
        .env("RUSTFLAGS", flags)
        // With a target, build scripts are built without the sanitizer.
        .args(["test", "--target", host, "--target-dir"])
        .arg(layout::root().join("target/sanitize").join(name));
    command
}
