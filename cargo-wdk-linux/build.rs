//! Packs the kit for the program. The library alone, as xtask uses it, does without.

#[cfg(feature = "kit")]
#[path = "build/pack.rs"]
mod pack;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    #[cfg(feature = "kit")]
    pack::run()?;
    Ok(())
}
