//! The workspace of a driver's author: which of its packages are drivers, and of what kind.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cargo::Cargo;
use crate::kit::{Arch, Kit, Workspace};
use crate::packed;
use crate::run::{output, run};
use crate::setup::Tools;

/// The versions of Microsoft's crates that the stand-in for wdk-build fits.
const FITTING: &str = "wdk 0.5, wdk-sys 0.5, wdk-alloc 0.4, wdk-panic 0.5 and wdk-build 0.6";

/// A workspace with drivers.
#[derive(Debug)]
pub struct Project {
    /// Its root.
    pub root: PathBuf,
    /// The names of all packages that its packages depend on.
    dependencies: Vec<String>,
    /// The names of those that lie outside of the root.
    outside: Vec<String>,
    /// The drivers: packages with a `cdylib` that use wdk-sys or wdk-build.
    pub drivers: Vec<Driver>,
}

/// A driver of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Driver {
    /// The name of the package.
    pub package: String,
    /// The name of its library, as cargo's files have it: of image, symbols and service.
    pub library: String,
    /// What its metadata, or that of the workspace, says: WDM, KMDF or UMDF.
    pub model: String,
}

impl Project {
    /// The workspace around the current folder.
    ///
    /// # Errors
    /// There is none, or it has no driver.
    pub fn find(folder: &Path) -> Result<Self> {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
        cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(folder);
        let metadata = output(&mut cargo).context("expected a package or workspace of cargo in this folder")?;
        let project = Self::of(&metadata)?;
        ensure!(
            !project.drivers.is_empty(),
            "expected a driver in {}: a package with `crate-type = [\"cdylib\"]` that depends on wdk-sys; `cargo \
             wdk-linux new NAME` makes one",
            project.root.display()
        );
        Ok(project)
    }

    fn of(metadata: &str) -> Result<Self> {
        let metadata: Value = serde_json::from_str(metadata).context("cargo metadata wrote something else")?;
        let root = metadata["workspace_root"].as_str().context("cargo metadata names no root")?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut project =
            Self { root: root.into(), dependencies: Vec::new(), outside: Vec::new(), drivers: Vec::new() };
        for package in list(&metadata["packages"]) {
            let names: Vec<String> = list(&package["dependencies"]).iter().map(|named| text(&named["name"])).collect();
            let is_cdylib = |target: &&Value| list(&target["crate_types"]).iter().any(|kind| kind == "cdylib");
            let targets = list(&package["targets"]);
            if names.iter().any(|name| name == "wdk-sys" || name == "wdk-build")
                && let Some(library) = targets.iter().find(is_cdylib)
            {
                let model = [&package["metadata"], &metadata["metadata"]]
                    .into_iter()
                    .find_map(|own| own["wdk"]["driver-model"]["driver-type"].as_str());
                project.drivers.push(Driver {
                    package: text(&package["name"]),
                    library: text(&library["name"]),
                    model: model.unwrap_or("WDM").to_uppercase(),
                });
            }
            project.dependencies.extend(names);
            let dependencies = list(&package["dependencies"]).into_iter();
            let outside =
                dependencies.filter(|named| named["path"].as_str().is_some_and(|path| !path.starts_with(root)));
            project.outside.extend(outside.map(|named| text(&named["name"])));
        }
        Ok(project)
    }

    /// Leaves the drivers of these names alone, or all where there are none, and says whether they can be built.
    ///
    /// # Errors
    /// There is no such driver, or one is for a framework.
    pub fn select(&mut self, names: &[String]) -> Result<()> {
        for name in names {
            ensure!(
                self.drivers.iter().any(|driver| driver.package == *name),
                "expected one of the drivers {}, found {name}",
                self.drivers.iter().map(|driver| driver.package.as_str()).collect::<Vec<_>>().join(", ")
            );
        }
        self.drivers.retain(|driver| names.is_empty() || names.contains(&driver.package));
        self.drivers.iter().try_for_each(Driver::is_wdm)
    }

    /// The workspace as it is built, with the stand-ins of `kit`.
    #[must_use]
    pub fn workspace(&self, kit: &Kit) -> Workspace {
        let name = self.root.file_name().map_or_else(|| "driver".into(), |name| name.to_string_lossy());
        let name = name.replace(|character: char| !character.is_ascii_alphanumeric(), "-");
        Workspace {
            root: self.root.clone(),
            made: self.root.join("target/wdk-linux"),
            name: format!("/{name}"),
            patches: packed::patches(kit, &self.dependencies),
        }
    }

    /// Where the built drivers of an architecture are put.
    #[must_use]
    pub fn built(&self, arch: Arch) -> PathBuf {
        self.root.join("target/wdk-linux").join(arch.to_string())
    }

    /// Builds the drivers, and returns the images.
    ///
    /// # Errors
    /// The crates of Microsoft have other versions than the stand-in fits, or something does
    /// not build.
    pub fn build(&self, tools: &Tools, arch: Arch, release: bool) -> Result<Vec<PathBuf>> {
        let workspace = self.workspace(&tools.kit);
        let mut cargo = Cargo::new(tools, &workspace)?;
        cargo.release = release;
        packed::resolve(cargo.twin()).with_context(|| match &self.outside[..] {
            [] => "cannot choose versions of crates".to_owned(),
            names => format!(
                "only an absolute path leads to what lies outside of {}: {}",
                self.root.display(),
                names.join(", ")
            ),
        })?;
        let lock = workspace.twin().join("Cargo.lock");
        let lock = fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
        is_fitting(&lock)?;
        let mut command = cargo.driver_command("build", arch);
        for driver in &self.drivers {
            command.args(["--package", &driver.package]);
        }
        run(&mut command)?;
        let built = self.built(arch);
        let collect = |driver: &Driver| {
            let [image, _] = cargo.collect_driver(&driver.library, arch, &built)?;
            Ok(image)
        };
        self.drivers.iter().map(collect).collect()
    }
}

/// Whether every wdk-build of a Cargo.lock is the stand-in, which has no source there.
fn is_fitting(lock: &str) -> Result<()> {
    let packages = lock.split("[[package]]").skip(1);
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
        line.map(|value| value.trim_end_matches('"').to_owned())
    };
    let foreign = packages
        .clone()
        .find(|package| value(package, "name").as_deref() == Some("wdk-build") && package.contains("\nsource = "));
    let Some(foreign) = foreign else { return Ok(()) };
    let version = value(foreign, "version").unwrap_or_default();
    // A dependency is a line of its own, with the version where there are several.
    let named = [" \"wdk-build\",".to_owned(), format!(" \"wdk-build {version}\",")];
    let users = packages.filter(|package| package.lines().any(|line| named.iter().any(|name| name == line)));
    let users = users.filter_map(|package| Some(format!("{} {}", value(package, "name")?, value(package, "version")?)));
    bail!(
        "expected {FITTING}, found wdk-build {version}, which builds on Windows only; it is used by {}. Name the \
         fitting versions in Cargo.toml, or install a cargo-wdk-linux that fits yours",
        users.collect::<Vec<_>>().join(", ")
    )
}

impl Driver {
    /// Whether the tool can build and run it.
    fn is_wdm(&self) -> Result<()> {
        ensure!(
            self.model == "WDM",
            "expected a WDM driver, found {}: {} says so in its metadata. A framework's driver needs wdf.h and the \
             library that calls WdfVersionBind, which only the WDK has, and nothing stands in for the framework in \
             Wine. Build it on Windows with `cargo wdk build`; `cargo wdk-linux check FILE.sys` checks the image here",
            self.model,
            self.package
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{"workspace_root":"/w","metadata":{"wdk":{"driver-model":{"driver-type":"WDM"}}},
        "packages":[
            {"name":"my-driver","metadata":null,
             "dependencies":[{"name":"wdk-sys"},{"name":"wdk-nmr","path":"/elsewhere/wdk-nmr"}],
             "targets":[{"name":"my_driver","crate_types":["cdylib"]}]},
            {"name":"other","dependencies":[{"name":"wdk-build"},{"name":"logic","path":"/w/logic"}],
             "metadata":{"wdk":{"driver-model":{"driver-type":"KMDF"}}},
             "targets":[{"name":"other","crate_types":["cdylib"]}]},
            {"name":"logic","dependencies":[],"metadata":null,"targets":[{"name":"logic","crate_types":["lib"]}]}]}"#;

    #[test]
    fn drivers_are_the_cdylibs_that_use_the_wdk_and_each_has_its_model() {
        let project = Project::of(METADATA).unwrap();
        let found: Vec<_> = project.drivers.iter().map(|driver| (&*driver.package, &*driver.library)).collect();
        assert_eq!(found, [("my-driver", "my_driver"), ("other", "other")]);
        assert_eq!(project.outside, ["wdk-nmr"]);
        project.drivers[0].is_wdm().unwrap();
        let error = project.drivers[1].is_wdm().unwrap_err().to_string();
        assert!(error.contains("found KMDF: other says so") && error.contains("WdfVersionBind"), "{error}");
    }

    #[test]
    fn the_crates_of_the_kit_are_patched_as_far_as_they_are_used() {
        let kit = Kit { sources: "/kit".into(), made: "/kit/target".into(), toolchain: "/w".into() };
        let workspace = Project::of(METADATA).unwrap().workspace(&kit);
        let names: Vec<_> = workspace.patches.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["wdk-build", "wdk-nmr", "wdk-nmr-sys"]);
    }

    #[test]
    fn another_version_of_wdk_build_is_named_with_those_that_use_it() {
        let package = |name: &str, version: &str, rest: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n{rest}\n")
        };
        let stand_in = package("wdk-build", "0.6.0", "");
        let sys = package("wdk-sys", "0.3.0", "dependencies = [\n \"wdk-build 0.3.0\",\n]");
        let foreign = package("wdk-build", "0.3.0", "source = \"registry+https://example\"");
        is_fitting(&stand_in).unwrap();
        let error = is_fitting(&(foreign + &stand_in + &sys)).unwrap_err().to_string();
        assert!(error.contains("found wdk-build 0.3.0") && error.contains("used by wdk-sys 0.3.0"), "{error}");
    }
}
