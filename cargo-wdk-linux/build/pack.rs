//! Packs the sources of the kit into the program: what stands in for Windows, and the crates that drivers and their
//! tests use and that crates.io does not have yet.
//!
//! `cargo install` keeps nothing but the program, and a checkout may be gone or changed by the time it runs. So it
//! carries them, and unpacks them into a folder of the user's cache, where they are built once.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use toml::{Table, Value};

/// Packages that are packed with all that they depend on in this repository.
const PACKAGES: [&str; 4] = ["rig/netio", "rig/harness", "crates/wdk-nmr-wdm", "crates/version-resource"];
/// Folders that are packed as they are.
const FOLDERS: [&str; 4] = ["rig/wdk", "rig/crt", "rig/wine", "crates/wdk-nmr/examples/adding"];
/// What of a package is for its own tests.
const FOR_TESTS: [&str; 5] = ["dev-dependencies", "target", "test", "bench", "example"];

/// Packs the kit.
pub(crate) fn run() -> Result<(), Box<dyn std::error::Error>> {
    let package = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = package.parent().ok_or("this package lies in a repository")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let workspace: Table = fs::read_to_string(root.join("Cargo.toml"))?.parse()?;
    let mut pack = Pack { root, files: BTreeMap::new(), packages: BTreeSet::new() };
    for package in PACKAGES {
        pack.add_package(Path::new(package), &workspace)?;
    }
    for folder in FOLDERS {
        pack.add_folder(Path::new(folder))?;
    }
    let members = pack.packages.clone();
    pack.files.insert("Cargo.toml".into(), manifest_of_the_kit(&workspace, &members)?.into_bytes());
    pack.add_file(Path::new("Cargo.lock"))?;
    pack.write(&out)?;
    Ok(())
}

struct Pack<'a> {
    root: &'a Path,
    files: BTreeMap<PathBuf, Vec<u8>>,
    packages: BTreeSet<PathBuf>,
}

impl Pack<'_> {
    fn add_file(&mut self, file: &Path) -> io::Result<()> {
        println!("cargo::rerun-if-changed={}", self.root.join(file).display());
        self.files.insert(file.to_path_buf(), fs::read(self.root.join(file))?);
        Ok(())
    }

    fn add_folder(&mut self, folder: &Path) -> io::Result<()> {
        println!("cargo::rerun-if-changed={}", self.root.join(folder).display());
        for entry in fs::read_dir(self.root.join(folder))? {
            let path = folder.join(entry?.file_name());
            if path.file_name().is_some_and(|name| name == "target") {
                continue;
            }
            if self.root.join(&path).is_dir() { self.add_folder(&path)? } else { self.add_file(&path)? }
        }
        Ok(())
    }

    /// Adds a package without its tests, and those of the repository that it depends on.
    fn add_package(&mut self, folder: &Path, workspace: &Table) -> Result<(), Box<dyn std::error::Error>> {
        if !self.packages.insert(folder.to_path_buf()) {
            return Ok(());
        }
        self.add_folder(&folder.join("src"))?;
        for file in ["Cargo.toml", "build.rs", "README.md"] {
            if self.root.join(folder).join(file).is_file() {
                self.add_file(&folder.join(file))?;
            }
        }
        if self.root.join(folder).join("docs").is_dir() {
            self.add_folder(&folder.join("docs"))?;
        }
        let file = folder.join("Cargo.toml");
        let mut manifest: Table = fs::read_to_string(self.root.join(&file))?.parse()?;
        FOR_TESTS.iter().for_each(|section| drop(manifest.remove(*section)));
        for section in ["dependencies", "build-dependencies"] {
            let Some(Value::Table(dependencies)) = manifest.get(section) else { continue };
            for (name, dependency) in dependencies {
                let is_inherited = dependency.get("workspace").is_some();
                let (from, dependency) = if is_inherited {
                    (Path::new(""), &workspace["workspace"]["dependencies"][name])
                } else {
                    (folder, dependency)
                };
                if let Some(path) = dependency.get("path").and_then(Value::as_str) {
                    self.add_package(&normalized(&from.join(path)), workspace)?;
                }
            }
        }
        self.files.insert(file, toml::to_string(&manifest)?.into_bytes());
        Ok(())
    }

    /// Writes a table of the files, for `include!`.
    fn write(&self, out: &Path) -> io::Result<()> {
        let mut hasher = DefaultHasher::new();
        self.files.hash(&mut hasher);
        let mut text = String::from("pub(crate) const FILES: &[(&str, &[u8])] = &[\n");
        for (file, contents) in &self.files {
            let packed = out.join("kit").join(file);
            fs::create_dir_all(packed.parent().unwrap_or(out))?;
            fs::write(&packed, contents)?;
            let _ = writeln!(text, "({:?}, include_bytes!({:?})),", file.to_string_lossy(), packed.to_string_lossy());
        }
        let _ = writeln!(
            text,
            "];\n/// Names the contents of the kit.\nconst FINGERPRINT: &str = \"{:016x}\";",
            hasher.finish()
        );
        fs::write(out.join("kit.rs"), text)
    }
}

/// A workspace of the packed packages, with what they inherit.
fn manifest_of_the_kit(workspace: &Table, members: &BTreeSet<PathBuf>) -> Result<String, toml::ser::Error> {
    let mut kit = Table::new();
    let mut section = Table::new();
    let own = &workspace["workspace"];
    for key in ["resolver", "package", "lints"] {
        section.insert(key.into(), own[key].clone());
    }
    let is_there = |path: &str| members.contains(Path::new(path));
    let dependencies = own["dependencies"].as_table().cloned().unwrap_or_default().into_iter();
    let dependencies = dependencies.filter(|(_, value)| value.get("path").and_then(Value::as_str).is_none_or(is_there));
    section.insert("dependencies".into(), Value::Table(dependencies.collect()));
    let names = members.iter().map(|member| Value::String(member.to_string_lossy().into_owned()));
    section.insert("members".into(), Value::Array(names.collect()));
    section.insert("exclude".into(), Value::Array(vec!["rig/wdk".into()]));
    kit.insert("workspace".into(), Value::Table(section));
    kit.insert("profile".into(), workspace["profile"].clone());
    toml::to_string(&kit)
}

/// A path without `..`.
fn normalized(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}
