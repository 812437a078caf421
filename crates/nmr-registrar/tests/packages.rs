//! The packages that are published can be built and tested by people who have nothing else of the repository.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// In the order in which they are published.
const PACKAGES: [&str; 8] = [
    "wdk-nmr-sys",
    "nmr-registrar",
    "nmr-registrar-capi",
    "wdk-nmr",
    "wdk-nmr-wdm",
    "wdk-wfp-sys",
    "wfp-engine",
    "wdk-wfp",
];

/// The repository, unless this package has been taken out of it.
fn repository() -> Option<&'static Path> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    root.join("crates/nmr-registrar/Cargo.toml").is_file().then_some(root)
}

/// Runs a command, which must succeed.
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let text = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "{command:?} failed:\n{text}");
}

/// Cargo, without what the cargo that runs this test has set for it.
fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG")) {
        command.env_remove(name);
    }
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    command
}

/// Makes the packages and unpacks them into `folder`. Their folders, in the order of [`PACKAGES`].
fn unpack(root: &Path, folder: &Path) -> [PathBuf; PACKAGES.len()] {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).expect("the folder can be made");
    let mut package = cargo();
    package.args(["package", "--offline", "--no-verify", "--allow-dirty", "--target-dir"]).arg(folder.join("made"));
    PACKAGES.iter().for_each(|name| _ = package.args(["--package", name]));
    run(package.current_dir(root));
    PACKAGES.map(|name| {
        let name = format!("{name}-{}", env!("CARGO_PKG_VERSION"));
        let archive = folder.join(format!("made/package/{name}.crate"));
        run(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(folder));
        folder.join(name)
    })
}

#[test]
fn every_package_says_what_it_is() {
    let Some(root) = repository() else { return };
    for folder in unpack(root, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("described")) {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("it is there");
        let mut needed = vec!["description", "license", "readme", "rust-version", "documentation", "keywords"];
        needed.extend(["categories", "missing_docs"]);
        for key in needed {
            let is_set =
                |line: &str| line.split_once(" = ").is_some_and(|(found, value)| found == key && value != "\"\"");
            assert!(manifest.lines().any(is_set), "{}: no {key}", folder.display());
        }
        // What is for drivers is documented as drivers see it.
        let for_drivers = !manifest.contains("\"development-tools::testing\"");
        let target = "default-target = \"x86_64-pc-windows-msvc\"";
        assert_eq!(manifest.contains(target), for_drivers, "{}: {target}", folder.display());
    }
}

#[test]
fn every_package_brings_its_licences_and_what_its_pages_point_to() {
    let Some(root) = repository() else { return };
    let folders = unpack(root, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages"));
    for folder in &folders {
        for file in ["LICENSE-MIT", "LICENSE-APACHE", "README.md", "src/lib.rs"] {
            let path = folder.join(file);
            let length = fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).len();
            assert!(length > 300, "{} has {length} bytes", path.display());
        }
        let readme = fs::read_to_string(folder.join("README.md")).expect("it is there");
        for link in readme.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(link, _)| link)) {
            assert!(link.contains("://") || folder.join(link).is_file(), "{}: {link} is not there", folder.display());
        }
    }
    let [_, registrar, capi, .., engine, _] = &folders;
    for file in [registrar.join("docs/nmr-rules.md"), engine.join("docs/wfp-rules.md")] {
        assert!(file.is_file(), "{}, which reports point to, is not there", file.display());
    }
    assert!(capi.join("include/km/ntddk.h").is_file());
}

#[test]
#[ignore = "builds the packages and their tests from nothing, which takes minutes: run it with --ignored"]
fn every_package_passes_its_tests_outside_of_the_repository() {
    let Some(root) = repository() else { return };
    let folder = env::temp_dir().join(format!("nmr-packages-{}", std::process::id()));
    let folders = unpack(root, &folder);
    // What is not published yet is found beside it, everything else where the repository's lock file says.
    let mut manifest = String::from("[workspace]\nresolver = \"3\"\nmembers = [\"*-0.1.0\"]\n\n[patch.crates-io]\n");
    for (name, folder) in PACKAGES.iter().zip(&folders) {
        manifest += &format!("{name} = {{ path = {:?} }}\n", folder.file_name().expect("a folder"));
    }
    fs::write(folder.join("Cargo.toml"), manifest).expect("it can be written");
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("it can be copied");
    run(cargo()
        .args(["test", "--offline", "--workspace", "--no-fail-fast"])
        .env_remove("CARGO_TARGET_DIR")
        .current_dir(&folder));
    fs::remove_dir_all(&folder).expect("it can be removed");
}
