//! Notes which sources the program is built from.

use std::path::Path;

#[path = "src/sources.rs"]
mod sources;

fn main() -> std::io::Result<()> {
    let xtask = std::env::var("CARGO_MANIFEST_DIR").map_err(std::io::Error::other)?;
    let root = Path::new(&xtask).parent().unwrap_or(Path::new(&xtask));
    for package in sources::PACKAGES {
        println!("cargo::rerun-if-changed=../{package}/Cargo.toml");
        println!("cargo::rerun-if-changed=../{package}/src");
    }
    println!("cargo::rustc-env=SOURCES={}", sources::fingerprint(root)?);
    Ok(())
}
