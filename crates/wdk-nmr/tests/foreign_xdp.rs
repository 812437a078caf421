//! The client of the example `xdp` against the other side as it ships: src/nmr of XDP for Windows, unchanged, compiled
//! for this host with the headers of nmr-registrar.
//!
//! ```text
//! git clone https://github.com/microsoft/xdp-for-windows
//! XDP_NMR=$PWD/xdp-for-windows/src/nmr cargo test -p wdk-nmr --test foreign_xdp -- --ignored
//! ```
//!
//! XDP's own headers need all of the WDK. In their place `tests/foreign/xdp` has what src/nmr uses of them.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Runs a command, which must succeed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let text = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "{command:?} failed:\n{text}");
    text
}

/// Compiles every C file of `sources` into a static library in `folder`.
fn library(sources: &Path, crates: &Path, folder: &Path) {
    let entries = fs::read_dir(sources).unwrap_or_else(|error| panic!("XDP_NMR, {}: {error}", sources.display()));
    let files = entries.map(|entry| entry.expect("the folder can be read").path());
    let files: Vec<_> = files.filter(|file| file.extension().is_some_and(|extension| extension == "c")).collect();
    for needed in ["provider.c", "common.c"] {
        assert!(files.iter().any(|file| file.ends_with(needed)), "XDP_NMR, {}, has no {needed}", sources.display());
    }
    let include = [crates.join("wdk-nmr/tests/foreign/xdp"), crates.join("nmr-registrar/include/km")];
    let include = include.into_iter().chain([crates.join("nmr-registrar/include")]);
    let include: Vec<_> = include.flat_map(|folder| [PathBuf::from("-I"), folder]).collect();
    let objects = files.iter().map(|file| {
        let object = folder.join(file.file_name().expect("a file")).with_extension("o");
        let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut compile = Command::new(compiler);
        compile.args(["-c", "-g", "-std=gnu11", "-Wall", "-Werror", "-Wno-multichar"]).args(&include);
        run(compile.arg(file).arg("-o").arg(&object));
        object
    });
    run(Command::new("ar").arg("crs").arg(folder.join("libxdp_nmr.a")).args(objects));
}

/// Makes a package that links the program, the library, wdk-nmr and the registrar.
fn package(crates: &Path, folder: &Path) {
    let program = crates.join("wdk-nmr/tests/foreign/xdp/program.rs");
    let mut manifest = format!(
        "[workspace]\n[package]\nname = \"foreign-xdp\"\nedition = \"2024\"\n[[bin]]\nname = \"foreign-xdp\"\npath = \
         {program:?}\n[dependencies]\n"
    );
    for (name, path) in
        [("wdk-nmr", "wdk-nmr"), ("nmr-registrar", "nmr-registrar"), ("nmr-registrar-capi", "nmr-registrar/capi")]
    {
        manifest += &format!("{name} = {{ path = {:?} }}\n", crates.join(path));
    }
    fs::write(folder.join("Cargo.toml"), manifest).expect("it can be written");
    let link = ["link-search=native=", "link-lib=static=xdp_nmr"].map(|flag| {
        let search = if flag.ends_with('=') { folder.to_str().expect("a path in Unicode") } else { "" };
        format!("    println!(\"cargo::rustc-{flag}{search}\");\n")
    });
    fs::write(folder.join("build.rs"), format!("fn main() {{\n{}}}\n", link.concat())).expect("it can be written");
    fs::copy(crates.join("../Cargo.lock"), folder.join("Cargo.lock")).expect("the repository has a lock file");
}

#[test]
#[ignore = "needs the sources of XDP for Windows: XDP_NMR names the folder src/nmr, and --ignored runs it"]
fn the_provider_of_xdp_attaches_to_the_client_of_the_example_and_detaches() {
    let sources = env::var_os("XDP_NMR").expect("XDP_NMR is the folder src/nmr of XDP for Windows");
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder of the crates");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign-xdp");
    fs::create_dir_all(&folder).expect("the folder can be made");
    library(Path::new(&sources), crates, &folder);
    package(crates, &folder);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--offline", "--quiet", "--target-dir"]).arg(folder.join("target")).current_dir(&folder);
    let printed = run(&mut cargo);
    assert!(printed.contains("attached to the clients three times"), "{printed}");
}
