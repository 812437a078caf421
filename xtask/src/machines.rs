//! `cargo xtask machines`: the commands of the README and of docs/driver-on-linux.md on new machines, one for each
//! release of Debian.
//!
//! A machine is a root file system that mmdebstrap makes under target/machines/, with what the README takes for
//! granted: git, a C compiler, and a Rust tool chain, for which that of this host is mounted read-only. What cargo has
//! fetched on this host is copied, so that a machine needs the network for Debian's packages only. In it:
//!
//! 1. a user without root, sudo or tools types the demo, and gets one line that root is to type;
//! 2. root types demo and tests in a clone of this repository, with the tools missing;
//! 3. the user types both in another clone, whose path has a space and letters outside ASCII;
//! 4. root and the user install `cargo wdk-linux` from their clones, make a driver in their home, and load it.
//!
//! Nothing of the host is written to. The mounts are those of a namespace of their own and end with it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use cargo_wdk_linux::debian;
use clap::ValueEnum;

use crate::clean::{megabytes, used};
use crate::layout;
use crate::run::{output, program, remove_folder, run as run_command};

/// The arguments of `cargo xtask machines`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The releases of Debian
    #[arg(value_enum, value_name = "RELEASE", default_values_t = [Release::Bookworm, Release::Trixie, Release::Sid])]
    releases: Vec<Release>,
    /// Type these commands only
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Type them as this user only
    #[arg(long = "as", value_enum)]
    account: Option<Account>,
    /// Use the machine that is there instead of making a new one
    #[arg(long)]
    keep: bool,
    /// A mirror of Debian [default: the one that apt uses here]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Take packages from a mirror that is a snapshot, whose index has expired
    #[arg(long)]
    snapshot: bool,
}

/// A part of the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// `cargo xtask demo`
    Demo,
    /// `cargo xtask test`
    Test,
    /// `cargo install --locked --path cargo-wdk-linux`, and a driver by it
    Tool,
}

impl Part {
    const ALL: [Self; 3] = [Self::Demo, Self::Test, Self::Tool];

    /// What is typed, after a change to the clone or, for the last lines of the tool, to the user's home.
    fn lines(self) -> &'static [&'static str] {
        match self {
            Self::Demo => &["cargo xtask demo"],
            Self::Test => &["cargo xtask test"],
            Self::Tool => &[
                "cargo install --quiet --locked --path cargo-wdk-linux",
                "cd && rm -rf hello && cargo wdk-linux new hello && cd hello && cargo wdk-linux run",
            ],
        }
    }
}

/// Who types the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Account {
    /// root, who may install what is missing
    Root,
    /// A user without root
    User,
}

impl Account {
    const ALL: [Self; 2] = [Self::Root, Self::User];

    fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::User => "schleuse",
        }
    }

    fn home(self) -> &'static str {
        match self {
            Self::Root => "/root",
            Self::User => "/home/schleuse",
        }
    }

    /// Where the clone lies.
    fn checkout(self) -> &'static str {
        match self {
            Self::Root => "/root/sluice",
            Self::User => "/home/schleuse/Schleuse für Treiber",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Release {
    /// Debian 12
    #[value(alias = "12")]
    Bookworm,
    /// Debian 13
    #[value(alias = "13")]
    Trixie,
    /// What becomes the next Debian
    #[value(alias = "unstable")]
    Sid,
}

impl Release {
    /// Debian's own name for it.
    fn suite(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Sid => "sid",
        }
    }
}

/// What a machine has before the first command.
const PACKAGES: &str = "ca-certificates,gcc,git,libc6-dev,passwd";

/// `cargo xtask machines`.
///
/// # Errors
/// A machine cannot be made, or a command fails in one.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        output(Command::new("id").arg("-u"))?.trim_end() == "0",
        "expected root, who may mount, found another user"
    );
    ensure!(
        program("mmdebstrap").is_some(),
        "mmdebstrap is not installed, which makes the machines; `apt-get install mmdebstrap` installs it"
    );
    let rust = HostRust::find()?;
    let mut report = Vec::new();
    for release in &arguments.releases {
        let machine = Machine { root: layout::root().join("target/machines").join(release.suite()), rust: &rust };
        if !arguments.keep || !machine.root.join("etc/debian_version").is_file() {
            let mirror = arguments.mirror.clone().map_or_else(debian::mirror, Ok).context("--mirror names one")?;
            let took = machine.make(*release, &mirror, arguments.snapshot)?;
            report.push(format!("{:<9} made in {} s", release.suite(), took.as_secs()));
        }
        let parts = arguments.only.as_ref().map_or(&Part::ALL[..], std::slice::from_ref);
        let accounts = arguments.account.as_ref().map_or(&Account::ALL[..], std::slice::from_ref);
        for line in machine.try_commands(parts, accounts)? {
            report.push(format!("{:<9} {line}", release.suite()));
        }
    }
    println!("\n== What was seen ==\n{}", report.join("\n"));
    Ok(())
}

/// What a machine has of this host for Rust.
struct HostRust {
    /// The tool chain of this repository.
    toolchain: PathBuf,
    /// cargo's folder, with what it has fetched.
    cargo: PathBuf,
}

impl HostRust {
    fn find() -> Result<Self> {
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(layout::root()))?;
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")));
        Ok(Self {
            toolchain: PathBuf::from(sysroot.trim_end()),
            cargo: home.context("neither HOME nor CARGO_HOME is set")?,
        })
    }
}

/// A root file system, and what it borrows from this host.
struct Machine<'a> {
    root: PathBuf,
    rust: &'a HostRust,
}

impl Machine<'_> {
    /// Makes the machine, in the place of one that is there, and returns how long that took.
    ///
    /// Of a snapshot, the index may have expired: for apt in the machine, too.
    fn make(&self, release: Release, mirror: &str, snapshot: bool) -> Result<Duration> {
        let start = Instant::now();
        println!("\n== {}: a new machine ==", release.suite());
        remove_folder(&self.root)?;
        if let Some(folder) = self.root.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut mmdebstrap = Command::new("mmdebstrap");
        mmdebstrap.args(["--quiet", "--variant=minbase", &format!("--include={PACKAGES}"), release.suite()]);
        if snapshot {
            mmdebstrap.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
        }
        run_command(mmdebstrap.arg(&self.root).arg(mirror))?;
        self.within(Account::Root, "/", "useradd --create-home --shell /bin/sh schleuse")?;
        for account in Account::ALL {
            self.give_crates(account)?;
        }
        Ok(start.elapsed())
    }

    /// Copies what cargo has fetched on this host, and how it is configured, to a user of the machine.
    fn give_crates(&self, account: Account) -> Result<()> {
        let home = account.home();
        let cargo = self.root.join(home.trim_start_matches('/')).join(".cargo");
        fs::create_dir_all(cargo.join("registry"))?;
        for part in ["config.toml", "registry/cache", "registry/index"] {
            let (from, to) = (self.rust.cargo.join(part), cargo.join(part));
            if from.exists() {
                run_command(Command::new("cp").arg("-a").arg(from).arg(to))?;
            }
        }
        self.within(Account::Root, "/", &format!("chown -R {}: {home}", account.name()))
    }

    /// Types the commands as these users, and returns what was measured.
    fn try_commands(&self, parts: &[Part], accounts: &[Account]) -> Result<Vec<String>> {
        let mut report = Vec::new();
        for account in Account::ALL {
            self.clone_to(account)?;
        }

        if parts.contains(&Part::Demo)
            && let Some(line) = self.try_without_tools()?
        {
            report.push("a user without tools is told what root has to type".to_owned());
            if !accounts.contains(&Account::Root) {
                report.push(self.measure(Account::Root, &line)?);
            }
        }
        for part in parts {
            for account in accounts {
                for line in part.lines() {
                    report.push(self.measure(*account, line)?);
                }
            }
        }
        Ok(report)
    }

    /// Types the demo as a user who cannot install what is missing. If anything is, returns the line that root is to
    /// type.
    fn try_without_tools(&self) -> Result<Option<String>> {
        println!("\n== {}: a user without tools ==", self.root.display());
        let refused = self.command(Account::User, Account::User.checkout(), "cargo xtask demo").output();
        let refused = refused.context("cannot enter the machine")?;
        if refused.status.success() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&refused.stderr);
        let line =
            text.split_once("su -c '").and_then(|(_, rest)| rest.split_once('\'')).map(|(line, _)| line.to_owned());
        let line = line.filter(|line| line.starts_with("apt-get update && apt-get install"));
        Ok(Some(line.with_context(|| format!("expected one line for root to type, found:\n{text}"))?))
    }

    /// Types a line, and returns what it took.
    fn measure(&self, account: Account, line: &str) -> Result<String> {
        let (user, clone) = (account.name(), account.checkout());
        println!("\n== {}: {user} types {line} ==", self.root.display());
        let start = Instant::now();
        self.within(account, clone, line)?;
        let target = self.root.join(clone.trim_start_matches('/')).join("target");
        Ok(format!(
            "{user:<8} {:>5.1} minutes, target/ has {} MB, the machine {} MB: {line}",
            start.elapsed().as_secs_f64() / 60.0,
            megabytes(used(&target)),
            megabytes(used(&self.root)),
        ))
    }

    /// Clones this repository, as it was committed, to a folder of the machine; or brings the clone there up to date.
    fn clone_to(&self, account: Account) -> Result<()> {
        let clone = account.checkout();
        let folder = self.root.join(clone.trim_start_matches('/'));
        let git = || {
            let mut git = Command::new("git");
            // The clone belongs to a user of the machine.
            git.args(["-c", "safe.directory=*", "-C"]);
            git
        };
        if folder.join(".git").is_dir() {
            run_command(git().arg(&folder).args(["fetch", "--quiet"]).arg(layout::root()).arg("HEAD"))?;
            run_command(git().arg(&folder).args(["reset", "--quiet", "--hard", "FETCH_HEAD"]))?;
        } else {
            run_command(git().arg(layout::root()).args(["clone", "--quiet", "--no-hardlinks", "."]).arg(&folder))?;
        }
        self.within(Account::Root, "/", &format!("chown -R {}: '{clone}'", account.name()))
    }

    fn within(&self, account: Account, folder: &str, command: &str) -> Result<()> {
        let mut command = self.command(account, folder, command);
        ensure!(command.status().context("cannot enter the machine")?.success(), "failed in {}", self.root.display());
        Ok(())
    }

    /// A line that is typed in a folder of the machine.
    fn command(&self, account: Account, folder: &str, line: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", ENTER, "enter"]);
        command.arg(&self.root).arg(&self.rust.toolchain);
        command.args([account.name(), account.home(), folder, line]);
        command
    }
}

/// Enters a machine. The arguments: its root; the Rust tool chain of the host; the user, the user's home, the folder to
/// work in, the line to run.
///
/// The machine reaches the network as the host does: by its resolver, its certificates and its proxies.
const ENTER: &str = r#"
root=$1 toolchain=$2 user=$3 home=$4 folder=$5 line=$6
bind() { mkdir -p "$root$2" && mount --bind "$1" "$root$2" && mount -o remount,bind,ro "$root$2"; }
bind "$toolchain" /opt/rust
[ ! -d /etc/ssl/certs ] || bind /etc/ssl/certs /etc/ssl/certs
for file in /etc/resolv.conf /etc/hosts; do cat "$file" > "$root$file"; done
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
variables=$(env | grep -iE '^(https?_proxy|no_proxy|ssl_cert_file|ssl_cert_dir|git_ssl_cainfo|curl_ca_bundle)=' || true)
exec chroot "$root" setpriv --reuid "$user" --regid "$user" --init-groups env -i $variables \
    HOME="$home" USER="$user" LANG=C.UTF-8 \
    PATH="$home/.cargo/bin:/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
    sh -c 'cd "$1" && eval "$2"' sh "$folder" "$line"
"#;
