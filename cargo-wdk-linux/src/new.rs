//! A new driver: a package that builds with this tool and, with the WDK, on Windows.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::packed;
use crate::run::write_if_changed;

/// The side of an NPI that a driver takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// It offers an interface to other drivers
    Provider,
    /// It uses the interface of another driver
    Client,
}

const BUILD_SCRIPT: &str = "//! Tells cargo how a driver is linked.\n\n\
    fn main() -> Result<(), Box<dyn std::error::Error>> {\n    wdk_build::configure_wdk_binary_build()?;\n    \
    // The checksum that the kernel verifies, and no time of day: the same source makes the same bytes.\n    \
    for argument in [\"/RELEASE\", \"/Brepro\"] {\n        \
    println!(\"cargo::rustc-cdylib-link-arg={argument}\");\n    }\n    Ok(())\n}\n";

const CARGO_CONFIG: &str = "# Drivers have no other C run-time library. cargo wdk-linux says the same.\n\
    [target.'cfg(all(windows, target_env = \"msvc\"))']\nrustflags = [\"-Ctarget-feature=+crt-static\"]\n";

/// Writes the package `name` into a folder of that name below `parent`.
///
/// # Errors
/// The name cannot be one of a driver, there is such a folder, or a file cannot be written.
pub fn write(parent: &Path, name: &str, role: Option<Role>) -> Result<()> {
    let is_part = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_';
    ensure!(
        name.starts_with(|first: char| first.is_ascii_lowercase()) && name.chars().all(is_part) && name.len() <= 32,
        "expected a name of up to 32 lower-case letters, digits and `_`, a letter first, for crate, image and service; \
         found {name:?}"
    );
    let folder = parent.join(name);
    ensure!(!folder.exists(), "expected a name that is not taken, found {} in its place", folder.display());
    for (file, text) in files(name, role)? {
        write_if_changed(&folder.join(file), text)?;
    }
    Ok(())
}

fn files(name: &str, role: Option<Role>) -> Result<Vec<(&'static str, String)>> {
    let named = |text: &str| text.replace("NAME", name);
    let mut files = vec![
        ("Cargo.toml", manifest(name, role.is_some())),
        ("build.rs", BUILD_SCRIPT.to_owned()),
        (".cargo/config.toml", CARGO_CONFIG.to_owned()),
        (".gitignore", "target/\n".to_owned()),
        ("tests/Cargo.toml", tests_manifest(name)),
        ("tests/load.rs", named(include_str!("../templates/load.rs"))),
    ];
    let Some(role) = role else {
        files.push(("src/lib.rs", named(include_str!("../templates/wdm.rs"))));
        return Ok(files);
    };
    let (module, file, registration, of) = match role {
        Role::Provider => ("provider", "src/provider.rs", "ProviderRegistration", "Adder"),
        Role::Client => ("client", "src/client.rs", "ClientRegistration", "Counter"),
    };
    let text = named(include_str!("../templates/nmr.rs")).replace("ROLE", module);
    files.push(("src/lib.rs", text.replace("REGISTRATION", registration).replace("MODULE", of)));
    for (file, example) in [("src/interface.rs", "interface"), (file, module)] {
        let packed = format!("crates/wdk-nmr/examples/adding/{example}.rs");
        files.push((file, packed::file(&packed).with_context(|| format!("{packed} is not packed"))?.to_owned()));
    }
    Ok(files)
}

fn manifest(name: &str, nmr: bool) -> String {
    let nmr = if nmr { "wdk-nmr = \"0.1\"\n" } else { "" };
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n\
         # tests/ is a package of its own: it loads the driver, it does not link it.\nautotests = false\n\n\
         [lib]\ncrate-type = [\"cdylib\"]\ntest = false\ndoctest = false\n\n\
         [build-dependencies]\nwdk-build = \"0.6\"\n\n\
         [dependencies]\nwdk = \"0.5\"\nwdk-alloc = \"0.4\"\n{nmr}wdk-panic = \"0.5\"\nwdk-sys = \"0.5\"\n\n\
         # A kernel has no unwinder; wdk-panic's handler is the end of every panic.\n\
         [profile.dev]\npanic = \"abort\"\n\n[profile.release]\npanic = \"abort\"\nlto = \"fat\"\ndebug = \"full\"\n\n\
         [workspace]\nexclude = [\"tests\"]\n\n\
         [workspace.metadata.wdk.driver-model]\ndriver-type = \"WDM\"\n"
    )
}

fn tests_manifest(name: &str) -> String {
    format!(
        "[package]\nname = \"{name}_tests\"\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n\n\
         [[test]]\nname = \"load\"\npath = \"load.rs\"\n\n\
         [dev-dependencies]\nanyhow = \"1\"\n# `cargo wdk-linux test` supplies it.\nwdk-rig = \"0.1\"\n\n[workspace]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_windows_or_rust_cannot_have_is_refused() {
        for name in ["", "7zip", "my-driver", "Über", "a/b", &"a".repeat(33)] {
            let error = write(Path::new("/nowhere"), name, None).unwrap_err().to_string();
            assert!(error.contains(&format!("found {name:?}")), "{error}");
        }
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        for role in [None, Some(Role::Provider), Some(Role::Client)] {
            for (file, text) in files("hello", role).unwrap() {
                for word in ["NAME", "ROLE", "REGISTRATION", "MODULE"] {
                    assert!(!text.contains(word), "{word} in {file}");
                }
            }
        }
    }
}
