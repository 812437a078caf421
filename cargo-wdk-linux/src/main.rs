//! `cargo wdk-linux`: builds, checks, signs, runs and tests Windows kernel drivers in Rust on Linux.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use std::{env, io, thread};

use anyhow::{Context, Result, bail, ensure};
use cargo_wdk_linux::new::{self, Role};
use cargo_wdk_linux::project::Project;
use cargo_wdk_linux::run::run as run_command;
use cargo_wdk_linux::setup::{self, Tools};
use cargo_wdk_linux::told::told;
use cargo_wdk_linux::{Arch, Kit, Workspace, emulator, packed, signature, twin};
use clap::Parser;
use driver_check::Check as _;
use driver_check::image::{self, Expectations, MayPanic};
use wdk_rig::{DRIVERS_VARIABLE, RIG_VARIABLE, Rig};

/// How cargo calls it: with the name of the subcommand first.
#[derive(Parser)]
#[command(name = "cargo", bin_name = "cargo")]
enum Cargo {
    /// Build, check, sign, run and test Windows kernel drivers on Linux
    #[command(subcommand, version)]
    WdkLinux(Action),
}

#[derive(clap::Subcommand)]
enum Action {
    /// Install what building and running drivers needs, and build the rig
    Setup(Target),
    /// Make a new WDM driver in a folder of its name
    New {
        /// The name of package, image and service
        name: String,
        /// Let it be one side of an NPI, by the crate wdk-nmr
        #[arg(long, value_enum)]
        nmr: Option<Role>,
    },
    /// Build the drivers of this workspace into target/wdk-linux/ARCH/
    Build(Build),
    /// Check that Windows accepts the images
    Check {
        /// Images (.sys) with their symbols (.pdb) beside them [default: the drivers of this workspace, built]
        files: Vec<PathBuf>,
        #[command(flatten)]
        build: Build,
        /// A check to leave out, by the name that its finding shows
        #[arg(long, value_name = "CHECK")]
        allow: Vec<String>,
    },
    /// Sign the drivers with a test certificate
    Sign(Build),
    /// Load the drivers in Wine, show what they do, unload them, and report what is left
    Run {
        #[command(flatten)]
        build: Build,
        /// Unload after this many seconds [default: at Enter; at once without a terminal]
        #[arg(long)]
        seconds: Option<u64>,
    },
    /// Run the tests in tests/, a package of its own that uses wdk-rig
    Test {
        #[command(flatten)]
        build: Build,
        /// What cargo test gets
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

#[derive(clap::Args)]
struct Target {
    /// The processor architecture
    #[arg(long, value_enum, default_value_t = Arch::X64)]
    arch: Arch,
}

#[derive(clap::Args)]
struct Build {
    #[command(flatten)]
    target: Target,
    /// Optimize, as what is installed should be: the default
    #[arg(long, conflicts_with = "debug")]
    release: bool,
    /// Do not optimize, and check arithmetic and unsafe code while it runs
    #[arg(long)]
    debug: bool,
    /// A driver of the workspace [default: all of them]
    #[arg(long, short, value_name = "NAME")]
    package: Vec<String>,
}

fn main() -> ExitCode {
    let Cargo::WdkLinux(action) = Cargo::parse();
    match run(&action) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(action: &Action) -> Result<()> {
    let folder = env::current_dir().context("cannot tell the current folder")?;
    match action {
        Action::Setup(target) => set_up(&folder, target.arch),
        Action::New { name, nmr } => {
            new::write(&folder, name, *nmr)?;
            println!("{name}/ is a driver. `cd {name} && cargo wdk-linux run` loads it.");
            Ok(())
        }
        Action::Build(build) => Session::of(&folder, build)?.build().map(drop),
        Action::Check { files, build, allow } => check(&folder, files, build, allow),
        Action::Sign(build) => sign(&folder, build),
        Action::Run { build, seconds } => load(&folder, build, *seconds),
        Action::Test { build, arguments } => test(&folder, build, arguments),
    }
}

fn set_up(folder: &Path, arch: Arch) -> Result<()> {
    let kit = packed::unpack(folder)?;
    let tools = setup::run(&kit, arch)?;
    packed::make(&tools, arch)?;
    packed::fetch(&kit)?;
    println!("The kit is in {}.", kit.sources.display());
    Ok(())
}

/// A workspace, and what builds it for one architecture.
struct Session {
    project: Project,
    tools: Tools,
    arch: Arch,
    release: bool,
}

impl Session {
    fn of(folder: &Path, build: &Build) -> Result<Self> {
        let arch = build.target.arch;
        let mut project = Project::find(folder)?;
        project.select(&build.package)?;
        let kit = packed::unpack(&project.root)?;
        let tools = setup::ensure(&kit, arch)?;
        packed::make(&tools, arch)?;
        Ok(Self { project, tools, arch, release: build.release || !build.debug })
    }

    fn kit(&self) -> &Kit {
        &self.tools.kit
    }

    fn build(&self) -> Result<Vec<PathBuf>> {
        let images = self.project.build(&self.tools, self.arch, self.release)?;
        for image in &images {
            println!("{}", image.strip_prefix(&self.project.root).unwrap_or(image).display());
        }
        Ok(images)
    }
}

fn check(folder: &Path, files: &[PathBuf], build: &Build, allow: &[String]) -> Result<()> {
    let named = |name: &String| {
        let check = image::Check::ALL.iter().copied().find(|check| check.name() == name);
        let names = || image::Check::ALL.iter().map(|check| check.name()).collect::<Vec<_>>().join(", ");
        check.with_context(|| format!("expected the name of a check, found {name:?}; there are {}", names()))
    };
    let allow = allow.iter().map(named).collect::<Result<Vec<_>>>()?;
    let built;
    let files = if files.is_empty() {
        built = Session::of(folder, build)?.build()?;
        &built[..]
    } else {
        files
    };
    let mut local_paths = image::paths_of_this_machine();
    local_paths.push(folder.to_string_lossy().into_owned());
    let expectations = Expectations {
        arch: Some(build.target.arch.into()),
        may_panic: MayPanic::printing().into(),
        local_paths,
        allow,
        ..Expectations::default()
    };
    let mut count = 0;
    for file in files {
        let found =
            image::check_file(file, &expectations).with_context(|| format!("cannot read {}", file.display()))?;
        found.iter().for_each(|finding| println!("{}: {finding}", file.display()));
        if found.is_empty() {
            println!("{}: nothing found", file.display());
        }
        count += found.len();
    }
    ensure!(count == 0, "{count} finding{}", if count == 1 { "" } else { "s" });
    Ok(())
}

fn sign(folder: &Path, build: &Build) -> Result<()> {
    let session = Session::of(folder, build)?;
    let certificate = signature::certificate(&packed::cache()?.join("signing"), "wdk-linux")?;
    let signed = session.project.root.join("target/wdk-linux/signed").join(build.target.arch.to_string());
    for image in session.build()? {
        let to = signed.join(image.file_name().unwrap_or_default());
        let name = image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        signature::sign_file(&image, &to, &certificate, &name, None)?;
        println!("{} is signed", to.display());
    }
    println!("A machine that is to load them has test signing on, and trusts {}.", certificate.der.display());
    Ok(())
}

fn load(folder: &Path, build: &Build, seconds: Option<u64>) -> Result<()> {
    let arch = build.target.arch;
    let session = Session::of(folder, build)?;
    emulator::ensure(session.kit(), arch)?;
    let images = session.build()?;
    wdk_rig::use_folders(session.kit().made.clone(), session.project.root.join("target/wdk-linux"));
    let rig = Rig::new(arch.into(), "run")?;
    rig.create_service("netio")?;
    rig.start("netio")?;
    let mut shown = rig.events()?.len();
    let mut started = Vec::new();
    for (image, driver) in images.iter().zip(&session.project.drivers) {
        println!("> sc start {}", driver.library);
        rig.install_file(image, &driver.library)?;
        let outcome = rig.start(&driver.library);
        show(&rig, &mut shown)?;
        outcome?;
        started.push(driver.library.as_str());
    }
    wait(&rig, &mut shown, seconds)?;
    let mut left = Vec::new();
    for driver in started.iter().rev() {
        println!("> sc stop {driver}");
        let outcome = rig.stop(driver);
        show(&rig, &mut shown)?;
        let found = outcome?;
        println!("{driver} has left: {found}");
        if !found.is_nothing() {
            left.push(*driver);
        }
    }
    ensure!(left.is_empty(), "something is left behind by {}", left.join(", "));
    Ok(())
}

/// Shows what happens until Enter, or for some seconds.
fn wait(rig: &Rig, shown: &mut usize, seconds: Option<u64>) -> Result<()> {
    const POLL: Duration = Duration::from_millis(200);
    if let Some(seconds) = seconds {
        for _ in 0..seconds * 5 {
            thread::sleep(POLL);
            show(rig, shown)?;
        }
    } else if io::stdin().is_terminal() {
        println!("Enter unloads what was loaded.");
        let enter = thread::spawn(|| io::stdin().read_line(&mut String::new()));
        while !enter.is_finished() {
            thread::sleep(POLL);
            show(rig, shown)?;
        }
    }
    match rig.bug_check()? {
        Some(event) => bail!("{event}"),
        None => Ok(()),
    }
}

/// Shows the events that were not shown yet.
fn show(rig: &Rig, shown: &mut usize) -> Result<()> {
    let events = rig.events()?;
    for event in events.iter().skip(*shown) {
        if let Some(text) = told(event) {
            println!("  {:>9.4} {:<10} {text}", event.seconds, event.driver);
        }
    }
    *shown = events.len();
    Ok(())
}

fn test(folder: &Path, build: &Build, arguments: &[String]) -> Result<()> {
    let arch = build.target.arch;
    let session = Session::of(folder, build)?;
    let tests = session.project.root.join("tests");
    ensure!(
        tests.join("Cargo.toml").is_file(),
        "expected a package in {} that uses wdk-rig, with a workspace of its own; `cargo wdk-linux new` makes one with \
         each driver, to take it from",
        tests.display()
    );
    emulator::ensure(session.kit(), arch)?;
    session.build()?;
    let made = session.project.root.join("target/wdk-linux");
    let workspace = Workspace {
        root: tests,
        made: made.join("tests"),
        name: "/tests".into(),
        patches: packed::patches(session.kit(), &["wdk-rig"]),
    };
    let twin = twin::make(&workspace)?;
    packed::resolve(&twin)?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg("test").arg("--target-dir").arg(made.join("tests/cargo")).args(arguments).current_dir(twin);
    let (variable, value) = wdk_rig::Arch::from(arch).variable();
    cargo.env(variable, value).env(RIG_VARIABLE, &session.kit().made).env(DRIVERS_VARIABLE, made);
    run_command(&mut cargo)
}
