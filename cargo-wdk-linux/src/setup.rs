//! Finds the programs that building and running the drivers needs, and installs the missing ones.
//!
//! Every other command asks [`ensure`] for its [`Tools`], which looks for files only, so that nothing is slower when
//! nothing is missing. What a tool is and which Debian package has it is said once, in `Tool`; what is to be done
//! about missing ones is decided by `plan`, a function of facts, and carried out by `install`.

use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::{fs, io};

use anyhow::{Context, Result, bail};

use crate::emulator;
use crate::kit::{Arch, Kit};
use crate::run::{self, line, output, program, succeeds};

/// Where the tools are.
#[derive(Debug)]
pub struct Tools {
    /// What they are used for.
    pub kit: Kit,
    /// Builds for Windows.
    pub rust: Rust,
    /// lld, called with `-flavor link` as first arguments.
    pub linker: PathBuf,
    /// The folder of libclang.so, which bindgen reads headers with.
    pub libclang: PathBuf,
    /// clang's own headers, of the same version.
    pub clang_headers: PathBuf,
    /// Makes import libraries.
    pub dlltool: PathBuf,
    /// Lists the symbols of mingw-w64's import libraries.
    pub nm: PathBuf,
    /// The headers of mingw-w64; ddk/ is among them.
    pub mingw_headers: PathBuf,
    /// The import libraries of mingw-w64.
    pub mingw_libraries: PathBuf,
    /// Links user-mode programs.
    pub mingw_gcc: PathBuf,
}

/// A Rust tool chain that has the libraries of a target, or their source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rust {
    /// cargo itself, no rustup proxy.
    pub cargo: PathBuf,
    /// rustc itself, no rustup proxy.
    pub rustc: PathBuf,
    /// Whether the libraries of the target are there as source only, for `-Zbuild-std`.
    pub build_std: bool,
}

impl Rust {
    /// The tool chain in a folder.
    #[must_use]
    pub fn at(root: &Path, build_std: bool) -> Self {
        Self { cargo: root.join("bin/cargo"), rustc: root.join("bin/rustc"), build_std }
    }

    /// The folder of the tool chain.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.rustc.ancestors().nth(2).unwrap_or(Path::new("/"))
    }
}

/// What can be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Rust,
    Linker,
    Clang,
    Llvm,
    MingwHeaders,
    MingwGcc,
    Wine,
    Osslsigncode,
}

impl Tool {
    fn description(self, arch: Arch) -> String {
        let text = match self {
            Self::Rust => {
                let targets = targets(arch).join(" ");
                return format!("the Rust core library for Windows (rustup target add {targets})");
            }
            Self::Linker => "lld 16 or later, the linker (rust-lld of a rustup tool chain, or lld-link)",
            Self::Clang => "clang and libclang, which read the headers",
            Self::Llvm => "llvm-dlltool and llvm-nm, which make the import libraries",
            Self::MingwHeaders => "the headers and import libraries of mingw-w64",
            Self::MingwGcc => "x86_64-w64-mingw32-gcc, which links user-mode programs",
            Self::Wine => "wine (64 bit), which runs the drivers",
            Self::Osslsigncode => "osslsigncode and openssl, which sign the drivers",
        };
        text.to_owned()
    }

    /// The packages of Debian and Ubuntu that have it.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Rust => &["rustc-web", "cargo-web", "rust-web-src"],
            // The one that comes with rustc-web: a tool chain of rustup brings its own.
            Self::Linker => &["lld-22"],
            Self::Clang => &["clang"],
            Self::Llvm => &["llvm"],
            Self::MingwHeaders => &["mingw-w64-x86-64-dev"],
            Self::MingwGcc => &["gcc-mingw-w64-x86-64-win32"],
            Self::Wine => &["wine64"],
            Self::Osslsigncode => &["osslsigncode", "openssl"],
        }
    }
}

/// Installs what is missing, for arm64 also what runs drivers of that architecture, and returns the tools.
///
/// # Errors
/// Something is missing and cannot be installed.
pub fn run(kit: &Kit, arch: Arch) -> Result<Tools> {
    let mut tools = ensure(kit, arch)?;
    // Another command is content with what there is; a person who asks gets the pinned tool chain where it can be had.
    if tools.rust.build_std && rustup_target_add(kit, arch) {
        tools = ensure(kit, arch)?;
    }
    emulator::ensure(kit, arch)?;
    let library = if tools.rust.build_std { "built from source with" } else { "of" };
    println!("Everything is there. The core library for Windows is {library} {}.", tools.rust.rustc.display());
    Ok(tools)
}

/// The tools for drivers of `arch`. Installs what is missing.
///
/// # Errors
/// Something is missing and cannot be installed.
pub fn ensure(kit: &Kit, arch: Arch) -> Result<Tools> {
    is_writable(&kit.made).with_context(|| {
        format!(
            "expected a folder that can be written to, for {}: drivers and Wine prefixes are made there",
            kit.made.display()
        )
    })?;
    match find(kit, arch) {
        Ok(tools) => Ok(tools),
        Err(missing) => {
            install(kit, &missing, arch)?;
            find(kit, arch).or_else(|missing| bail!("still missing after the installation:\n{}", list(&missing, arch)))
        }
    }
}

/// The tools for drivers of `arch`, if all are there.
#[must_use]
pub fn present(kit: &Kit, arch: Arch) -> Option<Tools> {
    find(kit, arch).ok()
}

/// Whether files can be made in a folder, which is made if it is not there.
fn is_writable(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let file = folder.join(format!(".writable-{}", process::id()));
    fs::write(&file, "")?;
    fs::remove_file(file)
}

/// The targets that must be there for drivers of `arch` and the programs that go with them.
fn targets(arch: Arch) -> Vec<&'static str> {
    let mut targets = vec![arch.driver_target(), arch.program_target()];
    targets.dedup();
    targets
}

fn find(kit: &Kit, arch: Arch) -> Result<Tools, Vec<Tool>> {
    let mut missing = Vec::new();
    let mut need = |tool, found: Option<PathBuf>| {
        found.unwrap_or_else(|| {
            if !missing.contains(&tool) {
                missing.push(tool);
            }
            PathBuf::new()
        })
    };

    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(&kit.toolchain)).ok();
    let sysroot = sysroot.as_deref().map(|path| Path::new(path.trim_end()));
    let rust = find_rust(sysroot, Path::new("/usr"), arch).filter(is_recent);
    need(Tool::Rust, rust.as_ref().map(|rust| rust.rustc.clone()));
    let llvm = newest_llvm(Path::new("/usr/lib"));
    let in_llvm = |name: &str| {
        let versioned = llvm.as_ref().map(|llvm| llvm.join("bin").join(name)).filter(|file| file.is_file());
        program(name).or(versioned)
    };
    // What the rig and the signing find by themselves only has to be there.
    need(Tool::Wine, wdk_rig::wine_loader());
    need(Tool::Osslsigncode, program("osslsigncode").and_then(|_| program("openssl")));
    let tools = Tools {
        kit: kit.clone(),
        rust: rust.unwrap_or_else(|| Rust { cargo: PathBuf::new(), rustc: PathBuf::new(), build_std: false }),
        linker: need(Tool::Linker, sysroot.and_then(rust_lld).or_else(|| lld_link(Path::new("/usr/lib")))),
        libclang: need(Tool::Clang, llvm.as_ref().map(|llvm| llvm.join("lib"))),
        clang_headers: need(Tool::Clang, llvm.as_deref().and_then(clang_headers)),
        dlltool: need(Tool::Llvm, in_llvm("llvm-dlltool")),
        nm: need(Tool::Llvm, in_llvm("llvm-nm")),
        mingw_headers: need(Tool::MingwHeaders, folder_with("/usr/share/mingw-w64/include", "ddk/wdm.h")),
        mingw_libraries: need(Tool::MingwHeaders, folder_with("/usr/x86_64-w64-mingw32/lib", "libntoskrnl.a")),
        mingw_gcc: need(Tool::MingwGcc, program("x86_64-w64-mingw32-gcc")),
    };
    if missing.is_empty() { Ok(tools) } else { Err(missing) }
}

/// The tool chain that can build for Windows: that of the workspace if it has the targets or can build them, else the
/// one under `usr`, whose library source comes as a Debian package.
fn find_rust(sysroot: Option<&Path>, usr: &Path, arch: Arch) -> Option<Rust> {
    let has = |root: &Path, target: &str| root.join("lib/rustlib").join(target).join("lib").is_dir();
    let complete = |root: &&Path| targets(arch).into_iter().all(|target| has(root, target));
    if let Some(root) = sysroot.filter(complete) {
        return Some(Rust::at(root, false));
    }
    with_source(sysroot.into_iter().chain([usr]))
}

/// The first of several tool chains that has the source of its libraries.
pub fn with_source<'a>(roots: impl IntoIterator<Item = &'a Path>) -> Option<Rust> {
    roots
        .into_iter()
        .find(|root| root.join("lib/rustlib/src/rust/library/core").is_dir())
        .map(|root| Rust::at(root, true))
        .filter(|rust| rust.cargo.is_file() && rust.rustc.is_file())
}

/// Whether a tool chain is as new as the workspace demands. Without its security suite, Debian 12 has an older
/// rustc-web.
fn is_recent(rust: &Rust) -> bool {
    let found = output(Command::new(&rust.rustc).arg("--version"));
    let found = found.ok().and_then(|text| version(text.split(' ').nth(1)?));
    found.is_some() && found >= version(env!("CARGO_PKG_RUST_VERSION"))
}

/// Major and minor of a version such as `1.91` or `1.96.0-nightly`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// The linker that rustup brings with every tool chain.
fn rust_lld(sysroot: &Path) -> Option<PathBuf> {
    let hosts = fs::read_dir(sysroot.join("lib/rustlib")).ok()?.flatten();
    hosts.map(|host| host.path().join("bin/rust-lld")).find(|file| file.is_file())
}

/// Debian's LLVM installations with their versions.
fn llvms(lib: &Path) -> impl Iterator<Item = (u32, PathBuf)> {
    let version = |path: &Path| path.file_name()?.to_str()?.strip_prefix("llvm-")?.parse().ok();
    let folders = fs::read_dir(lib).into_iter().flatten().flatten().map(|entry| entry.path());
    folders.filter_map(move |path| Some((version(&path)?, path)))
}

/// The newest LLVM that has libclang and the headers that belong to it.
fn newest_llvm(lib: &Path) -> Option<PathBuf> {
    llvms(lib).filter(|(_, path)| clang_headers(path).is_some() && has_libclang(path)).max().map(|(_, path)| path)
}

/// The newest lld, if it knows `/RELEASE`: before version 16 it takes that for the name of a file.
fn lld_link(lib: &Path) -> Option<PathBuf> {
    let programs = llvms(lib).map(|(version, path)| (version, path.join("bin/lld-link")));
    programs.filter(|(version, program)| *version >= 16 && program.is_file()).max().map(|(_, program)| program)
}

fn has_libclang(llvm: &Path) -> bool {
    fs::read_dir(llvm.join("lib")).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // Not libclang-cpp.so, which is another library.
            name.strip_prefix("libclang").is_some_and(|rest| rest.contains(".so") && !rest.starts_with("-cpp"))
        })
    })
}

fn clang_headers(llvm: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(llvm.join("lib/clang")).ok()?.flatten();
    versions.map(|version| version.path().join("include")).find(|include| include.join("stddef.h").is_file())
}

fn folder_with(path: &str, content: &str) -> Option<PathBuf> {
    Some(PathBuf::from(path)).filter(|path| path.join(content).is_file())
}

fn list(tools: &[Tool], arch: Arch) -> String {
    tools.iter().map(|tool| format!("  {}", tool.description(arch))).collect::<Vec<_>>().join("\n")
}

/// What the machine allows.
#[derive(Debug, Clone, Copy)]
struct Host {
    /// It has apt-get.
    apt: bool,
    right: Right,
}

/// How packages can be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    Root,
    SudoWithoutPassword,
    /// sudo asks for a password, which is for the person to type.
    Sudo,
    /// There is no sudo; root has a password.
    Su,
}

/// What to do about missing tools.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// Install these packages, running apt-get with this in front of it.
    Install { prefix: &'static [&'static str], packages: Vec<&'static str> },
    /// The person has to type this.
    Ask(String),
    /// The person has to find these tools for their own system.
    Explain(String),
}

fn plan(missing: &[Tool], host: Host, arch: Arch) -> Plan {
    let packages: Vec<_> = missing.iter().flat_map(|tool| tool.packages()).copied().collect();
    if !host.apt {
        return Plan::Explain(format!(
            "This is not Debian or Ubuntu, so these have to be installed by hand:\n{}",
            list(missing, arch)
        ));
    }
    let line = format!(
        "apt-get update && {}apt-get install -y --no-install-recommends {}",
        if host.right == Right::Sudo { "sudo " } else { "" },
        packages.join(" ")
    );
    match host.right {
        Right::Root => Plan::Install { prefix: &[], packages },
        Right::SudoWithoutPassword => Plan::Install { prefix: &["sudo", "-n"], packages },
        Right::Sudo => Plan::Ask(format!("sudo {line}")),
        Right::Su => Plan::Ask(format!("su -c '{line}'")),
    }
}

fn install(kit: &Kit, missing: &[Tool], arch: Arch) -> Result<()> {
    println!("Missing:\n{}", list(missing, arch));
    let mut missing = missing.to_vec();
    if missing.contains(&Tool::Rust) && rustup_target_add(kit, arch) {
        // What counts is what is there, not what rustup believes.
        missing = match find(kit, arch) {
            Ok(_) => return Ok(()),
            Err(missing) => missing,
        };
    }
    match plan(&missing, host(), arch) {
        Plan::Install { prefix, packages } => apt_get(prefix, &packages),
        Plan::Ask(what) => bail!("root has to install the rest. Type this, then try again:\n  {what}"),
        Plan::Explain(what) => bail!(what),
    }
}

/// Whether rustup could fetch the targets. Without a network, or behind a mirror that has none, it fails fast.
fn rustup_target_add(kit: &Kit, arch: Arch) -> bool {
    let mut command = Command::new("rustup");
    command.args(["target", "add"]).args(targets(arch)).current_dir(&kit.toolchain);
    println!("$ {}", line(&command));
    let added = succeeds(&mut command);
    if !added {
        println!("rustup cannot fetch them here.");
    }
    added
}

fn host() -> Host {
    let root = output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim_end() == "0");
    let right = if root {
        Right::Root
    } else if succeeds(Command::new("sudo").args(["-n", "true"])) {
        Right::SudoWithoutPassword
    } else if program("sudo").is_some() {
        Right::Sudo
    } else {
        Right::Su
    };
    Host { apt: program("apt-get").is_some(), right }
}

fn apt_get(prefix: &[&str], packages: &[&str]) -> Result<()> {
    // A list that is out of date names packages that are too old, or gone.
    apt(prefix, &["update"])?;
    apt(prefix, &[&["install", "-y", "--no-install-recommends"], packages].concat())
}

fn apt(prefix: &[&str], arguments: &[&str]) -> Result<()> {
    // `env` sets the variable behind sudo as well. Another apt-get, a nightly upgrade for one, is waited for.
    let words =
        [prefix, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=600"], arguments]
            .concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    println!("$ {}", line(&command));
    run::run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("1.96.0-nightly"), Some((1, 96)));
        assert!(version("1.100") > version("1.91"));
        assert!(version("1.85.0") < version(env!("CARGO_PKG_RUST_VERSION")));
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn root_installs_exactly_the_packages_of_what_is_missing() {
        let host = Host { apt: true, right: Right::Root };
        assert_eq!(
            plan(&[Tool::Wine, Tool::Rust], host, Arch::X64),
            Plan::Install { prefix: &[], packages: vec!["wine64", "rustc-web", "cargo-web", "rust-web-src"] }
        );
    }

    #[test]
    fn sudo_is_used_only_where_it_asks_nothing() {
        let host = Host { apt: true, right: Right::SudoWithoutPassword };
        let Plan::Install { prefix, .. } = plan(&[Tool::Llvm], host, Arch::X64) else { panic!("nothing is installed") };
        assert_eq!(prefix, ["sudo", "-n"]);
    }

    #[test]
    fn without_the_right_the_person_gets_one_line_to_type() {
        for (right, expected) in [
            (Right::Sudo, "sudo apt-get update && sudo apt-get install -y --no-install-recommends llvm clang"),
            (Right::Su, "su -c 'apt-get update && apt-get install -y --no-install-recommends llvm clang'"),
        ] {
            let host = Host { apt: true, right };
            assert_eq!(plan(&[Tool::Llvm, Tool::Clang], host, Arch::X64), Plan::Ask(expected.to_owned()));
        }
    }

    #[test]
    fn another_system_is_told_which_tools_it_lacks() {
        let host = Host { apt: false, right: Right::Root };
        let Plan::Explain(text) = plan(&[Tool::MingwGcc, Tool::Rust], host, Arch::Arm64) else { panic!("{host:?}") };
        assert!(text.contains("x86_64-w64-mingw32-gcc"), "{text}");
        assert!(text.contains("rustup target add aarch64-pc-windows-msvc"), "{text}");
    }

    /// A folder that holds these empty files and is gone when it is dropped.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[&str]) -> Self {
            let root = std::env::temp_dir().join(format!("wdk-linux-setup-{name}-{}", std::process::id()));
            for file in files {
                let path = root.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const TARGETS: [&str; 4] = [
        "rustup/bin/cargo",
        "rustup/bin/rustc",
        "rustup/lib/rustlib/x86_64-pc-windows-msvc/lib/libcore.rlib",
        "rustup/lib/rustlib/x86_64-pc-windows-gnu/lib/libcore.rlib",
    ];
    const SOURCE: [&str; 3] = ["usr/bin/cargo", "usr/bin/rustc", "usr/lib/rustlib/src/rust/library/core/Cargo.toml"];

    #[test]
    fn installed_targets_are_preferred_to_source() {
        let tree = Tree::new("both", &[&TARGETS[..], &SOURCE[..]].concat());
        let rust = find_rust(Some(&tree.0.join("rustup")), &tree.0.join("usr"), Arch::X64).unwrap();
        assert_eq!((rust.cargo, rust.build_std), (tree.0.join("rustup/bin/cargo"), false));
    }

    #[test]
    fn a_tool_chain_that_lacks_one_target_is_not_mixed_with_the_source_of_another() {
        let tree = Tree::new("one", &[&TARGETS[..3], &SOURCE[..]].concat());
        let rust = find_rust(Some(&tree.0.join("rustup")), &tree.0.join("usr"), Arch::X64).unwrap();
        assert_eq!((rust.rustc, rust.build_std), (tree.0.join("usr/bin/rustc"), true));
    }

    #[test]
    fn neither_targets_nor_source_is_a_missing_tool() {
        let tree = Tree::new("none", &TARGETS[..2]);
        assert_eq!(find_rust(Some(&tree.0.join("rustup")), &tree.0.join("usr"), Arch::X64), None);
    }

    #[test]
    fn the_newest_llvm_with_libclang_is_taken() {
        let tree = Tree::new(
            "llvm",
            &[
                "llvm-9/lib/libclang.so.1",
                "llvm-9/lib/clang/9/include/stddef.h",
                "llvm-14/lib/libclang-14.so.1",
                "llvm-14/lib/clang/14.0.6/include/stddef.h",
                "llvm-15/lib/libclang-cpp.so.15",
                "llvm-15/lib/clang/15/include/stddef.h",
            ],
        );
        assert_eq!(newest_llvm(&tree.0), Some(tree.0.join("llvm-14")));
    }

    #[test]
    fn an_lld_that_cannot_set_the_checksum_is_none() {
        let tree = Tree::new("lld", &["llvm-14/bin/lld-link"]);
        assert_eq!(lld_link(&tree.0), None);
        let tree = Tree::new("lld-new", &["llvm-14/bin/lld-link", "llvm-16/bin/lld-link", "llvm-22/lib/libLLVM.so"]);
        assert_eq!(lld_link(&tree.0), Some(tree.0.join("llvm-16/bin/lld-link")));
    }
}
