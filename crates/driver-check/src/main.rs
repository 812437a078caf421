//! `driver-check`: what Windows demands of driver images and INF files, for a shell.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use anyhow::{Context, Result};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
use driver_check::image::{Expectations, ImportList, MayPanic, StackLimit};
use driver_check::{Arch, Check, Finding, image, inf};

/// Checks driver images and INF files for what Windows refuses
///
/// Prints one line for each finding: what is wrong, the name of the check, and the page that says so.
/// The exit code is 0 if nothing was found, 1 if something was, 2 if a file cannot be read.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check driver images (.sys), each with its .pdb beside it
    Image(ImageArguments),
    /// Check INF files of primitive drivers, or .inx files that are still to be stamped
    Inf(InfArguments),
}

#[derive(clap::Args)]
struct ImageArguments {
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The processor architecture that the images must be for; either one without it
    #[arg(long, value_enum)]
    arch: Option<Arch>,

    /// A list of the functions that may be imported; any kernel function without it
    ///
    /// Each line has a module, a function, and the first build of Windows that exports it. Lines that start with # are
    /// comments.
    #[arg(long, value_name = "FILE")]
    imports: Option<PathBuf>,

    /// The oldest build of Windows that has to load the images, for --imports
    #[arg(long, value_name = "BUILD", default_value_t = 19041, requires = "imports")]
    oldest_build: u32,

    /// A name that an image may export
    #[arg(long, value_name = "NAME")]
    allow_export: Vec<String>,

    /// A function that may panic, and who may call it: wdk::print=DriverEntry,driver_unload
    ///
    /// Functions are named by a part of their path.
    #[arg(long, value_name = "FUNCTION=CALLER,..", value_parser = may_panic)]
    may_panic: Vec<MayPanic>,

    /// The most that one frame may take of the stack, in bytes
    #[arg(long, value_name = "BYTES")]
    frame_limit: Option<u32>,

    /// The most that a function may take of the stack with all that it calls: my_driver::classify=4096
    #[arg(long, value_name = "FUNCTION=BYTES", value_parser = stack_limit)]
    stack_limit: Vec<StackLimit>,

    /// A check to leave out
    #[arg(long, value_name = "CHECK", value_parser = named::<image::Check>())]
    allow: Vec<image::Check>,
}

#[derive(clap::Args)]
struct InfArguments {
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// A check to leave out
    #[arg(long, value_name = "CHECK", value_parser = named::<inf::Check>())]
    allow: Vec<inf::Check>,
}

/// Takes the name of a check.
fn named<C: Check + Send + Sync>() -> impl TypedValueParser<Value = C> {
    let names = C::ALL.iter().map(|check| PossibleValue::new(check.name()));
    PossibleValuesParser::new(names).try_map(|name| {
        let check = C::ALL.iter().copied().find(|check| check.name() == name);
        check.ok_or("expected the name of a check")
    })
}

fn may_panic(argument: &str) -> Result<MayPanic, String> {
    let parts = argument.split_once('=').filter(|(function, callers)| !function.is_empty() && !callers.is_empty());
    let (function, callers) = parts.ok_or("expected FUNCTION=CALLER, with a comma between callers")?;
    Ok(MayPanic { function: function.to_owned(), callers: callers.split(',').map(str::to_owned).collect() })
}

fn stack_limit(argument: &str) -> Result<StackLimit, String> {
    let parts = argument.rsplit_once('=').filter(|(function, _)| !function.is_empty());
    let parsed = parts.and_then(|(function, bytes)| Some((function, bytes.parse().ok()?)));
    let (function, bytes) = parsed.ok_or("expected FUNCTION=BYTES, with a number of bytes")?;
    Ok(StackLimit { function: function.to_owned(), bytes })
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Image(arguments) => check_images(&arguments),
        Command::Inf(arguments) => check_all(&arguments.files, |file| inf::check_file(file, &arguments.allow)),
    };
    match outcome {
        Ok(0) => ExitCode::SUCCESS,
        Ok(findings) => {
            eprintln!("{findings} {}", if findings == 1 { "finding" } else { "findings" });
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn check_images(arguments: &ImageArguments) -> Result<usize> {
    let mut local_paths = image::paths_of_this_machine();
    local_paths.extend(env::current_dir().ok().map(|folder| folder.to_string_lossy().into_owned()));
    let expectations = Expectations {
        arch: arguments.arch,
        exports: arguments.allow_export.clone(),
        imports: arguments.imports.as_deref().map(|file| import_list(file, arguments.oldest_build)).transpose()?,
        may_panic: arguments.may_panic.clone(),
        frame_limit: arguments.frame_limit,
        stack_limits: arguments.stack_limit.clone(),
        local_paths,
        allow: arguments.allow.clone(),
    };
    check_all(&arguments.files, |file| image::check_file(file, &expectations))
}

fn import_list(file: &Path, oldest_build: u32) -> Result<ImportList> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    ImportList::parse(&text, oldest_build).with_context(|| file.display().to_string())
}

/// Prints what is found in each file, and returns how much that is.
fn check_all<C: Check>(files: &[PathBuf], check: impl Fn(&Path) -> io::Result<Vec<Finding<C>>>) -> Result<usize> {
    let mut count = 0;
    for file in files {
        let found = check(file).with_context(|| format!("cannot read {}", file.display()))?;
        if found.is_empty() {
            println!("{}: nothing found", file.display());
        }
        for finding in &found {
            println!("{}: {finding}", file.display());
        }
        count += found.len();
    }
    Ok(count)
}
