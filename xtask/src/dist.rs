//! `cargo xtask dist`: the zip that a user downloads.
//!
//! It holds the drivers for both architectures, as they were built and test-signed, with symbols and INF files;
//! sluicectl; the header for clients in C; the documentation; what it was made of (sbom.cdx.json, CycloneDX) and under
//! which licences (licenses/); the checksums of all that (SHA256SUMS). The same commit gives the same zip, the
//! signatures aside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use driver_check::{image, inf};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::layout::{self, Arch};
use crate::run::{git, output};
use crate::{build, check_image, sign};

/// The packages whose dependencies go to users.
const PACKAGES: [&str; 4] = ["sluice", "probe", "gate", "sluicectl"];

/// Files of the repository that are in the zip, and where.
const FILES: &[(&str, &str)] = &[
    ("xtask/src/dist/README.md", "README.md"),
    ("xtask/src/dist/verify-on-windows.ps1", "verify-on-windows.ps1"),
    ("crates/wdk-nmr/debug/wdk_nmr.js", "debug/wdk_nmr.js"),
    ("crates/wdk-nmr/debug/wdk_nmr.natvis", "debug/wdk_nmr.natvis"),
    ("src/sluice.natvis", "debug/sluice.natvis"),
    ("src/sluice.wprp", "debug/sluice.wprp"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("LICENSE-MIT", "LICENSE-MIT"),
    ("crates/sluice-npi/include/sluice_npi.h", "include/sluice_npi.h"),
    ("tests/data/demo.pcapng", "demo.pcapng"),
    ("tests/data/demo.toml", "demo.toml"),
];

/// The arguments of `cargo xtask dist`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The processor architectures to pack
    #[arg(long, value_enum, default_values_t = [Arch::X64, Arch::Arm64])]
    arch: Vec<Arch>,
    /// Take the drivers that are under target/drivers/ instead of building them
    #[arg(long)]
    no_build: bool,
    /// An RFC 3161 time stamping server for the signatures (none is asked without it)
    #[arg(long, value_name = "URL")]
    timestamp: Option<String>,
}

/// `cargo xtask dist`.
///
/// # Errors
/// Something does not build, an image or an INF file is not as it should be, or a file cannot be read or written.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("sluice-{version}");
    let date = git(&["log", "-1", "--format=%cd", "--date=format:%m/%d/%Y"])?;
    let mut files = Files::new();
    for &arch in &arguments.arch {
        if !arguments.no_build {
            build::build(arch)?;
        }
        add_drivers(&mut files, arch, &layout::drivers(arch), &date, version)?;
        for signed in sign::sign(arch, arguments.timestamp.as_deref())? {
            add(&mut files, &signed, &format!("{arch}/signed/{}", file_name(&signed)))?;
        }
    }
    add(&mut files, &sign::certificate()?.der, "sluice.cer")?;
    for (from, to) in FILES {
        add(&mut files, &layout::root().join(from), to)?;
    }
    add_folder(&mut files, &layout::root().join("docs"), "docs")?;
    let packages = compiled_in(&metadata()?)?;
    files.insert("sbom.cdx.json".to_owned(), sbom(&packages, version, &git(&["rev-parse", "HEAD"])?)?);
    add_licenses(&mut files, &packages)?;
    files.insert("SHA256SUMS".to_owned(), checksums(&files).into_bytes());

    let path = layout::root().join("target/dist").join(format!("{name}.zip"));
    let bytes = archive(&files, &name)?;
    crate::run::write_if_changed(&path, &bytes)?;
    println!(
        "{:>9}  {}, {} files",
        bytes.len(),
        path.strip_prefix(layout::root()).unwrap_or(&path).display(),
        files.len()
    );
    Ok(())
}

/// What is in the zip: path, with `/`, and contents.
type Files = BTreeMap<String, Vec<u8>>;

fn add(files: &mut Files, from: &Path, to: &str) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    files.insert(to.to_owned(), bytes);
    Ok(())
}

fn add_folder(files: &mut Files, from: &Path, to: &str) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        let to = format!("{to}/{}", file_name(&path));
        if path.is_dir() { add_folder(files, &path, &to)? } else { add(files, &path, &to)? }
    }
    Ok(())
}

/// Adds the drivers in `folder` after having checked them, and the INF files of those that have one.
fn add_drivers(files: &mut Files, arch: Arch, folder: &Path, date: &str, version: &str) -> Result<()> {
    let mut names: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?,
        Err(_) => bail!("there are no drivers in {}; `cargo xtask build --arch {arch}` makes them", folder.display()),
    };
    names.sort();
    for path in names.iter().filter(|path| path.is_file()) {
        let name = file_name(path);
        if let Some(driver) = name.strip_suffix(".sys") {
            let found = image::check_file(path, &check_image::expectations(Some(arch))?)
                .with_context(|| format!("cannot read {}", path.display()))?;
            ensure!(found.is_empty(), "{} is not fit for release: {}", path.display(), found[0]);
            let inx = layout::root().join("inf").join(format!("{driver}.inx"));
            if let Ok(text) = fs::read_to_string(&inx) {
                let stamped = inf::stamp(&text, arch.into(), date, &format!("{version}.0"));
                files.insert(format!("{arch}/{driver}.inf"), stamped.into_bytes());
            }
        }
        add(files, path, &format!("{arch}/{name}"))?;
    }
    for name in ["sluice.sys", "sluice.pdb", "probe.sys", "probe.pdb", "gate.sys", "gate.pdb"] {
        let path = format!("{arch}/{name}");
        ensure!(
            files.contains_key(&path),
            "{name} is missing from {}; `cargo xtask build --arch {arch}` makes it",
            folder.display()
        );
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The lines that `sha256sum --check` reads.
fn checksums(files: &Files) -> String {
    let hex = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    files.iter().map(|(path, bytes)| format!("{}  {path}\n", hex(bytes))).collect()
}

/// A zip with `files` in the folder `name`, the same bytes for the same files.
fn archive(files: &Files, name: &str) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    // The time of a file is that of the start of the format, 1980.
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o644);
    for (path, bytes) in files {
        zip.start_file(format!("{name}/{path}"), options)?;
        zip.write_all(bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// What cargo knows about the packages that are built for Windows.
fn metadata() -> Result<Value> {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", Arch::X64.driver_target()]);
    let text = output(cargo.current_dir(layout::root()))?;
    serde_json::from_str(&text).context("cargo metadata wrote something that is not JSON")
}

/// The packages that are compiled into what users get, in order of their names.
fn compiled_in(metadata: &Value) -> Result<Vec<Value>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), package)).collect();
    let nodes: BTreeMap<String, Value> =
        list(&metadata["resolve"]["nodes"]).into_iter().map(|node| (text(&node["id"]), node)).collect();

    // Build and development dependencies are not compiled into anything.
    let mut reached = BTreeSet::new();
    let is_root = |package: &&Value| PACKAGES.contains(&text(&package["name"]).as_str()) && is_ours(package);
    let mut left: Vec<String> = packages.values().filter(is_root).map(|package| text(&package["id"])).collect();
    ensure!(left.len() == PACKAGES.len(), "cargo metadata does not know all of {}", PACKAGES.join(", "));
    while let Some(id) = left.pop() {
        if !reached.insert(id.clone()) {
            continue;
        }
        for dependency in nodes.get(&id).map(|node| list(&node["deps"])).unwrap_or_default() {
            if list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()) {
                left.push(text(&dependency["pkg"]));
            }
        }
    }
    let mut found: Vec<Value> = reached.iter().filter_map(|id| packages.get(id)).cloned().collect();
    found.sort_by_key(name_and_version);
    Ok(found)
}

/// Whether a package is of this repository.
fn is_ours(package: &Value) -> bool {
    package["source"].is_null()
}

fn name_and_version(package: &Value) -> (String, String) {
    (text(&package["name"]), text(&package["version"]))
}

/// Adds the licence texts of the packages of others, which ask for that. Rust's own libraries are no packages; their
/// licences are those of this repository.
fn add_licenses(files: &mut Files, packages: &[Value]) -> Result<()> {
    for package in packages.iter().filter(|package| !is_ours(package)) {
        let (name, version) = name_and_version(package);
        let manifest = PathBuf::from(text(&package["manifest_path"]));
        let folder = manifest.parent().unwrap_or(&manifest);
        let before = files.len();
        for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_file() && is_license(&file_name(&path)) {
                add(files, &path, &format!("licenses/{name}-{version}/{}", file_name(&path)))?;
            }
        }
        if files.len() == before {
            // All that there is to pass on is what its author says in the manifest.
            let (license, authors) = (text(&package["license"]), &package["authors"]);
            ensure!(!license.is_empty(), "{name} {version} says nothing about its licence");
            let note =
                format!("{name} {version} comes without a licence text. Its manifest says: {license}; {authors}\n");
            files.insert(format!("licenses/{name}-{version}/LICENSE"), note.into_bytes());
        }
    }
    Ok(())
}

/// Whether a file is a licence or a notice that goes with one, by its name.
fn is_license(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"].iter().any(|start| name.starts_with(start))
}

/// A bill of materials in CycloneDX 1.5 of these packages.
fn sbom(packages: &[Value], version: &str, commit: &str) -> Result<Vec<u8>> {
    let component = |package: &Value| {
        let (name, version) = name_and_version(package);
        let mut component = json!({
            "type": "library",
            "bom-ref": format!("pkg:cargo/{name}@{version}"),
            "purl": format!("pkg:cargo/{name}@{version}"),
            "name": name,
            "version": version,
        });
        if let Some(license) = package["license"].as_str() {
            // Cargo once allowed a slash for "or".
            component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
        }
        component
    };
    let components: Vec<Value> = packages.iter().map(component).collect();
    let bom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": { "type": "application", "bom-ref": "sluice", "name": "sluice", "version": version },
            "properties": [{ "name": "git:commit", "value": commit }],
        },
        "components": components,
    });
    Ok(serde_json::to_vec_pretty(&bom)?)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn checksums_are_those_of_sha256sum() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  x64/a\n\
                        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  x64/b\n";
        assert_eq!(checksums(&files(&[("x64/a", "abc"), ("x64/b", "")])), expected);
    }

    #[test]
    fn the_same_files_give_the_same_archive_and_come_out_again() {
        let files = files(&[("README.md", "hello"), ("x64/sluice.sys", "MZ")]);
        let bytes = archive(&files, "sluice-1").unwrap();
        assert_eq!(bytes, archive(&files, "sluice-1").unwrap());
        let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        let names: Vec<String> = zip.file_names().map(|name| name.unwrap().into_owned()).collect();
        assert_eq!(names, ["sluice-1/README.md", "sluice-1/x64/sluice.sys"]);
        let text = std::io::read_to_string(zip.by_name("sluice-1/README.md").unwrap()).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn the_bill_of_materials_has_what_is_compiled_in_and_nothing_else() {
        let package = |name: &str, source: Value| {
            let license = "MIT/Apache-2.0";
            json!({ "id": name, "name": name, "version": "1.0.0", "source": source, "license": license })
        };
        let registry = |name| package(name, json!("registry"));
        let dependency =
            |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind, "target": null }] });
        let metadata = json!({
            "packages": [
                package("sluice", Value::Null), package("probe", Value::Null), package("gate", Value::Null),
                package("sluicectl", Value::Null),
                registry("wdk"), registry("bindgen"), registry("loom"), registry("deep"),
            ],
            "resolve": { "nodes": [
                { "id": "sluice", "deps": [
                    dependency("wdk", Value::Null),
                    dependency("bindgen", json!("build")),
                    dependency("loom", json!("dev")),
                ] },
                { "id": "wdk", "deps": [dependency("deep", Value::Null)] },
            ] },
        });
        let bom: Value =
            serde_json::from_slice(&sbom(&compiled_in(&metadata).unwrap(), "1.0.0", "c0ffee").unwrap()).unwrap();
        let names: Vec<&str> =
            bom["components"].as_array().unwrap().iter().filter_map(|component| component["name"].as_str()).collect();
        assert_eq!(names, ["deep", "gate", "probe", "sluice", "sluicectl", "wdk"]);
        assert_eq!(bom["metadata"]["properties"][0]["value"], "c0ffee");
        assert_eq!(bom["components"][0]["purl"], "pkg:cargo/deep@1.0.0");
        assert_eq!(bom["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
    }

    #[test]
    fn every_package_of_others_brings_its_licence() {
        let folder = std::env::temp_dir().join(format!("xtask-dist-licenses-{}", std::process::id()));
        let package = |name: &str, source: Value| {
            let manifest = folder.join(name).join("Cargo.toml");
            json!({ "name": name, "version": "1.0.0", "source": source, "license": "MIT", "manifest_path": manifest })
        };
        let packages =
            [package("ours", Value::Null), package("with", json!("registry")), package("without", json!("registry"))];
        for (file, text) in [("with/license-MIT", "as is"), ("with/README.md", ""), ("without/lib.rs", "")] {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut files = Files::new();
        add_licenses(&mut files, &packages).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(
            files.keys().collect::<Vec<_>>(),
            ["licenses/with-1.0.0/license-MIT", "licenses/without-1.0.0/LICENSE"]
        );
        assert_eq!(files["licenses/with-1.0.0/license-MIT"], b"as is");
        let note = String::from_utf8_lossy(&files["licenses/without-1.0.0/LICENSE"]);
        assert!(note.contains("MIT"), "{note}");
    }

    #[test]
    fn drivers_that_are_missing_or_not_fit_are_named() {
        let folder = std::env::temp_dir().join(format!("xtask-dist-{}", std::process::id()));
        let add = || add_drivers(&mut Files::new(), Arch::X64, &folder, "11/23/2026", "1.2.3").unwrap_err().to_string();
        assert!(add().contains("there are no drivers in"), "{}", add());
        fs::create_dir_all(&folder).unwrap();
        assert!(add().contains("sluice.sys is missing"), "{}", add());
        fs::write(folder.join("sluice.sys"), "no image").unwrap();
        assert!(add().contains("sluice.sys is not fit for release: expected a 64-bit PE image"), "{}", add());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn every_file_of_the_repository_that_is_packed_exists() {
        for (from, _) in FILES {
            assert!(layout::root().join(from).is_file(), "{from}");
        }
    }
}
