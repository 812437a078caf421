//! Files that other tools read: the makefile of cargo-make, the workflows, and the lock files. Tests that need a tool
//! on PATH (cargo-make, actionlint), as in the Linux workflow, do nothing but say so without it.
#![cfg(unix)]

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;
use sluice_rig::root;

fn is_installed(program: &str) -> bool {
    let found = env::split_paths(&env::var_os("PATH").unwrap()).any(|folder| folder.join(program).is_file());
    if !found {
        // Not println!, which a test that passes does not show.
        let _ = writeln!(io::stderr(), "not tested: {program} is not installed");
    }
    found
}

/// What `command` writes to both its outputs, once it has ended with success.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

fn cargo_make(folder: &Path) -> Command {
    let mut command = Command::new("cargo-make");
    command.args(["make", "--disable-check-for-updates"]).current_dir(folder);
    command
}

/// Cargo refuses such a file, which a merge can leave behind, and nothing but fuzzing reads that of the fuzz targets.
#[test]
fn no_lock_file_has_a_package_twice() {
    for file in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let mut packages: Vec<[&str; 2]> = text
            .split("[[package]]")
            .skip(1)
            .map(|package| ["name = ", "version = "].map(|key| package.lines().find(|l| l.starts_with(key)).unwrap()))
            .collect();
        assert!(packages.len() > 20, "{file}");
        packages.sort_unstable();
        let twice: Vec<_> = packages.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{file}: {twice:?}");
    }
}

/// What is tested on Windows: all that plain `cargo test` tests, but for what is not for that host.
#[test]
fn the_list_of_packages_for_windows_is_complete() {
    const NOT_FOR_WINDOWS: [&str; 3] = ["cargo-wdk-linux", "wdk-rig", "xtask"];
    let metadata =
        output(Command::new("cargo").args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root()));
    let metadata: Value = serde_json::from_str(metadata.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();
    let members = metadata["workspace_default_members"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let tested =
        packages.filter(|package| members.contains(&package["id"])).map(|package| package["name"].as_str().unwrap());
    let mut expected: Vec<&str> = tested.filter(|name| !NOT_FOR_WINDOWS.contains(name)).collect();
    expected.sort_unstable();

    // The workflow runs this task.
    let makefile = fs::read_to_string(root().join("Makefile.toml")).unwrap();
    let task = makefile.split("[tasks.test.windows]").nth(1).and_then(|task| task.split(']').next()).unwrap();
    let words: Vec<&str> = task
        .split(|character: char| character.is_whitespace() || "\",".contains(character))
        .filter(|word| !word.is_empty())
        .collect();
    let named: Vec<&str> = words.windows(2).filter(|pair| pair[0] == "--package").map(|pair| pair[1]).collect();
    assert_eq!(named, expected);
}

#[test]
fn workflows_pass_actionlint() {
    if is_installed("actionlint") {
        output(Command::new("actionlint").current_dir(root()));
    }
}

#[test]
fn cargo_make_knows_every_task_of_the_manual() {
    if !is_installed("cargo-make") {
        return;
    }
    let text = output(cargo_make(&root()).arg("--list-all-steps"));
    assert!(!text.contains("Found unknown key"), "{text}");
    let manual = fs::read_to_string(root().join("docs/windows.md")).unwrap();
    let rows = manual.lines().filter(|line| line.starts_with("| `")).map(|line| line.split('|').nth(1).unwrap());
    let tasks: Vec<&str> = rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(tasks.len() >= 14, "{tasks:?}");
    for task in tasks {
        assert!(text.lines().any(|line| line.starts_with(&format!("{task} - "))), "{task} is not listed");
    }
}

/// A folder in which the tasks for Windows run on this host: the makefile with the platforms exchanged, the tools of
/// the WDK replaced by scripts that print how they were called, and empty files for what cargo would have built.
struct Windows(PathBuf);

impl Windows {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("xtask-makefile-{name}-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let makefile = fs::read_to_string(root().join("Makefile.toml")).unwrap();
        let makefile = makefile
            .replace(".windows]", ".linux]")
            .replace("platforms = [\"windows\"]", "platforms = [\"linux\"]")
            .replace("windows_load_script", "mac_load_script")
            .replace("command = \"cargo\"", "command = \"tool-cargo\"")
            .replace("--fail-on-error cargo", "--fail-on-error tool-cargo");
        write("Makefile.toml", &makefile);
        write("Cargo.toml", "[package]\nname = \"sluice\"\nversion = \"1.2.3\"\nedition = \"2024\"\n");
        write("src/lib.rs", "");
        for file in ["inf/sluice.inx", "inf/probe.inx", "inf/gate.inx", "crates/sluice-npi/include/sluice_npi.h"] {
            write(file, "");
        }
        let built = ["sluice", "probe", "gate"].map(|driver| [format!("{driver}.dll"), format!("{driver}.pdb")]);
        for file in built.concat().iter().map(String::as_str).chain(["sluicectl.exe"]) {
            write(&format!("out/{file}"), "");
        }
        write("target/signing/sluice.cer", "");
        let tools = [
            "tool-cargo",
            "stampinf",
            "infverif",
            "inf2cat",
            "signtool",
            "sc.exe",
            "pnputil",
            "verifier",
            "msbuild",
            "powershell",
        ];
        let tools = tools.map(|tool| ("bin", tool)).into_iter().chain([("out/package", "sluicectl.exe")]);
        for (place, tool) in tools {
            let path = format!("{place}/{tool}");
            let environment = "[${PSModulePath-}] [${CARGO_ENCODED_RUSTFLAGS-}]";
            write(&path, &format!("#!/bin/sh\necho \"RUN {tool} $*\"\necho \"WITH {tool} {environment}\"\n"));
            fs::set_permissions(folder.join(path), fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self(folder)
    }

    /// The tools that `task` runs, with their arguments.
    fn run(&self, task: &str, target: &str) -> Vec<String> {
        self.lines("RUN ", task, target)
    }

    /// The tools that `task` runs, with what matters of their environment.
    fn run_with(&self, task: &str, target: &str) -> Vec<String> {
        self.lines("WITH ", task, target)
    }

    fn lines(&self, prefix: &str, task: &str, target: &str) -> Vec<String> {
        let mut path = vec![self.0.join("bin")];
        path.extend(env::split_paths(&env::var_os("PATH").unwrap()));
        let mut command = cargo_make(&self.0);
        // What the init task of wdk-build sets.
        for (name, value) in [
            ("CARGO_MAKE_CRATE_TARGET_TRIPLE", target),
            ("CARGO_MAKE_CARGO_BUILD_TEST_FLAGS", &format!("--release --target {target}")),
            ("WDK_BUILD_OUTPUT_DIRECTORY", "out"),
        ] {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        // What PowerShell 7 leaves to the programs that it starts.
        command.env("PSModulePath", "C:\\Program Files\\PowerShell\\7\\Modules");
        let text = output(command.arg(task).env("PATH", env::join_paths(path).unwrap()));
        text.lines().filter_map(|line| line.strip_prefix(prefix)).map(str::to_owned).collect()
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn package_stamps_checks_signs_and_catalogues_each_driver() {
    if !is_installed("cargo-make") {
        return;
    }
    let windows = Windows::new("package");
    let run = windows.run("package", "aarch64-pc-windows-msvc");
    let packages = "--package sluice --package probe --package gate --package sluicectl";
    let build = format!("tool-cargo build {packages} --release --target");
    assert_eq!(run[0], format!("{build} aarch64-pc-windows-msvc"));
    assert!(run[1].starts_with("powershell "), "the certificate: {run:#?}");
    let of = |driver: &str| {
        [
            format!("stampinf -f out/package/{driver}/{driver}.inf -d * -a arm64 -c {driver}.cat -v 1.2.3.0"),
            format!("infverif /v /w out/package/{driver}/{driver}.inf"),
            format!("signtool sign /v /fd SHA256 /s My /n Sluice test certificate out/package/{driver}/{driver}.sys"),
            format!(
                "inf2cat /driver:out/package/{driver} /os:10_VB_ARM64,10_CO_ARM64,10_NI_ARM64,10_GE_ARM64 /uselocaltime"
            ),
            format!("signtool sign /v /fd SHA256 /s My /n Sluice test certificate out/package/{driver}/{driver}.cat"),
        ]
    };
    assert_eq!(run[2..], [of("sluice"), of("probe"), of("gate")].concat());
    for file in ["sluice/sluice.sys", "probe/probe.pdb", "gate/gate.sys", "sluicectl.exe", "sluice_npi.h", "sluice.cer"]
    {
        assert!(windows.0.join("out/package").join(file).is_file(), "{file}");
    }
}

#[test]
fn windows_powershell_gets_no_module_path_of_another_one() {
    if !is_installed("cargo-make") {
        return;
    }
    let windows = Windows::new("modules");
    let with = windows.run_with("package", "x86_64-pc-windows-msvc");
    let powershell: Vec<_> = with.iter().filter(|line| line.starts_with("powershell ")).collect();
    assert!(matches!(powershell[..], [one] if one.starts_with("powershell [] ")), "{powershell:?}");
}

#[test]
fn drivers_are_built_with_neutral_names_for_the_folders_of_the_machine() {
    if !is_installed("cargo-make") {
        return;
    }
    let windows = Windows::new("paths");
    for task in ["build", "clients"] {
        let with = windows.run_with(task, "x86_64-pc-windows-msvc");
        let flags = with[0].strip_prefix("tool-cargo [] [").unwrap().strip_suffix(']').unwrap();
        let flags: Vec<&str> = flags.split('\u{1f}').collect();
        let here = windows.0.canonicalize().unwrap();
        let [target, cargo, source] = flags[..] else { panic!("{task}: {flags:?}") };
        // The variable replaces the flags of this file.
        assert!(fs::read_to_string(root().join(".cargo/config.toml")).unwrap().contains(&format!("[\"{target}\"]")));
        assert!(cargo.starts_with("--remap-path-prefix=/") && cargo.ends_with("=/cargo"), "{task}: {cargo}");
        assert_eq!(source, format!("--remap-path-prefix={}=/sluice", here.display()), "{task}");
    }
}

/// The release tells its user what the makefile does.
#[test]
fn catalogues_are_for_the_same_versions_of_windows_in_both_places() {
    let lists = |file: &str, before: &str| -> Vec<String> {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let behind = text.split(before).skip(1).map(|rest| rest.split(['"', '\'']).next().unwrap().to_owned());
        let mut lists: Vec<String> = behind.filter(|list| list.contains("10_VB")).collect();
        lists.sort();
        lists
    };
    let makefile = lists("Makefile.toml", "-pc-windows-msvc\" = \"");
    assert_eq!(makefile.len(), 2);
    assert_eq!(lists("xtask/src/dist/README.md", "/os:"), makefile);
}

/// ApiValidator may refuse the functions of NMR and nothing else.
#[test]
fn the_windows_workflow_lets_the_nine_functions_pass() {
    let names = |file: &str| -> std::collections::BTreeSet<String> {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| word.len() > 5 && word.starts_with("Nmr")).map(str::to_owned).collect()
    };
    let workflow = names(".github/workflows/windows.yml");
    assert_eq!(workflow.len(), 9);
    let declared = names("crates/wdk-nmr-sys/src/lib.rs");
    assert!(workflow.is_subset(&declared), "{workflow:?}");
}

#[test]
fn drivers_are_installed_started_verified_and_stopped_in_order() {
    if !is_installed("cargo-make") {
        return;
    }
    let windows = Windows::new("life");
    let run = |task| windows.run(task, "x86_64-pc-windows-msvc");
    let package = "out/package";
    assert_eq!(
        run("install"),
        ["sluice", "probe", "gate"].map(|name| format!("pnputil /add-driver {package}/{name}/{name}.inf /install"))
    );
    assert_eq!(run("start"), ["sluice", "probe", "gate"].map(|name| format!("sc.exe start {name}")));
    let stopped = ["gate", "probe", "sluice"].map(|name| format!("sc.exe stop {name}"));
    assert_eq!(run("stop"), stopped);
    let standard = "verifier /ruleclasses 1 2 4 5 6 8 9 12 18 20 26 /driver sluice.sys probe.sys gate.sys";
    assert_eq!(run("verify-on"), [standard]);
    let files = "--capture tests/data/demo.pcapng --policy tests/data/demo.toml";
    let verify = format!("sluicectl.exe verify --existing --gate {files} --rounds 100");
    assert_eq!(run("verify"), [verify.as_str()]);
    assert_eq!(run("verify-low-resources-on"), [standard.replace(" 2 4 ", " 2 3 4 ")]);
    assert_eq!(run("verify-low-resources"), [format!("{verify} --low-resources")]);
    assert_eq!(run("verify-isolation-on"), ["verifier /onecheck /rc 33 36 /driver sluice.sys probe.sys gate.sys"]);
    assert_eq!(run("verify-off"), ["verifier /reset"]);
    assert_eq!(run("uninstall")[..3], stopped);
    assert!(run("clients")[1].ends_with("probe-c.vcxproj /p:Configuration=Release /p:Platform=x64"));
}
