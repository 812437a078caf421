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
    let nmr = if role.is_some() { "wdk-nmr = \"0.1\"\nwdk-nmr-wdm = \"0.1\"\n" } else { "" };
    let manifest = include_str!("../templates/manifest.toml").replace("NMR_DEPENDENCIES\n", nmr);
    let mut files = vec![
        ("Cargo.toml", named(&manifest)),
        ("build.rs", named(include_str!("../templates/build.rs"))),
        (".cargo/config.toml", include_str!("../templates/cargo_config.toml").to_owned()),
        (".gitignore", "target/\n".to_owned()),
        ("tests/Cargo.toml", named(include_str!("../templates/tests.toml"))),
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
                for word in ["NAME", "NMR_DEPENDENCIES", "ROLE", "REGISTRATION", "MODULE"] {
                    assert!(!text.contains(word), "{word} in {file}");
                }
            }
        }
    }
}
