//! `cargo xtask coverage`: what the host tests reach, line by line, with cargo-llvm-cov; with `--fuzz`, what the
//! corpora of the fuzz targets reach ([`fuzz`]).
//!
//! It needs the profile tools of the LLVM that rustc was built with: the component llvm-tools of the tool chain, or
//! Debian's packages of the same version.

mod fuzz;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::layout;
use crate::run::{cargo, output, run as run_command, succeeds};

/// The arguments of `cargo xtask coverage`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The packages whose tests are run [default: all that a host can test]
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
    /// What the inputs in fuzz/corpus reach, instead: an error if they miss a line that fuzz/unreached.txt does not
    /// explain
    #[arg(long, conflicts_with = "packages")]
    fuzz: bool,
    /// First remove the inputs that reach nothing that others do not reach
    #[arg(long, requires = "fuzz")]
    minimise: bool,
}

/// `cargo xtask coverage`.
///
/// # Errors
/// A tool is missing; the error says which, and how to install it. Or a test fails, or a corpus misses lines.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let rustc = |arguments: &[&str]| output(Command::new("rustc").args(arguments).current_dir(layout::root()));
    let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?.trim_end());
    let version = rustc(&["--version", "--verbose"])?;
    let tools = tools(&sysroot, Path::new("/usr/lib"), &version)?;
    if arguments.fuzz {
        return fuzz::run(&tools, host(&version)?, arguments.minimise);
    }
    if !succeeds(&mut cargo(&["llvm-cov", "--version"])) {
        bail!("cargo-llvm-cov is not installed; `cargo install --locked cargo-llvm-cov` installs it");
    }
    let pages = layout::root().join("target/coverage");
    let mut command = cargo(&["llvm-cov", "--html", "--output-dir"]);
    command.arg(&pages).env("LLVM_COV", tools.join("llvm-cov")).env("LLVM_PROFDATA", tools.join("llvm-profdata"));
    for package in &arguments.packages {
        command.args(["--package", package]);
    }
    run_command(&mut command)?;
    println!("The pages are in {}.", pages.join("html").display());
    Ok(())
}

/// The triple of the host of the rustc that says `version` of itself.
fn host(version: &str) -> Result<&str> {
    version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not name its host")
}

/// The folder of llvm-cov and llvm-profdata for the rustc that says `version` of itself.
///
/// # Errors
/// They are not installed.
fn tools(sysroot: &Path, lib: &Path, version: &str) -> Result<PathBuf> {
    let host = host(version)?;
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "));
    let llvm = llvm.context("rustc does not name its LLVM")?;
    let major = llvm.split('.').next().unwrap_or(llvm);
    let folders = [sysroot.join("lib/rustlib").join(host).join("bin"), lib.join(format!("llvm-{major}/bin"))];
    let has_both = |folder: &PathBuf| folder.join("llvm-cov").is_file() && folder.join("llvm-profdata").is_file();
    folders.into_iter().find(has_both).with_context(|| {
        format!(
            "llvm-cov and llvm-profdata of LLVM {major} are not installed; `rustup component add llvm-tools` installs \
             them, or on Debian the package llvm-{major}"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_tools_are_those_of_the_compiler_s_own_version() {
        let root = std::env::temp_dir().join(format!("xtask-coverage-{}", std::process::id()));
        let version = "rustc 1.95.0\nhost: x86_64-unknown-linux-gnu\nLLVM version: 22.1.0\n";
        let make = |folder: &str| {
            for name in ["llvm-cov", "llvm-profdata"] {
                fs::create_dir_all(root.join(folder)).unwrap();
                fs::write(root.join(folder).join(name), "").unwrap();
            }
        };
        let find = || tools(&root.join("sysroot"), &root.join("lib"), version);
        make("lib/llvm-19/bin");
        let missing = find().unwrap_err().to_string();
        make("lib/llvm-22/bin");
        let of_debian = find().unwrap();
        make("sysroot/lib/rustlib/x86_64-unknown-linux-gnu/bin");
        let of_rustup = find().unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert!(missing.contains("rustup component add llvm-tools") && missing.contains("llvm-22"), "{missing}");
        assert_eq!(of_debian, root.join("lib/llvm-22/bin"));
        assert_eq!(of_rustup, root.join("sysroot/lib/rustlib/x86_64-unknown-linux-gnu/bin"));
    }
}
