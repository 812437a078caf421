//! The public interface of this crate, wdk-nmr-sys and wdk-nmr-wdm, as it was agreed on last: `public-api.txt`,
//! `public-api-sys.txt` and `public-api-wdm.txt`. A change of it is a change of the version (semver), so it has to be
//! made on purpose.
//!
//! The list comes from rustdoc's JSON, which is not stable. The pinned toolchain writes it when it is told that it may
//! (RUSTC_BOOTSTRAP), and always in the same format, so that no nightly is needed. A new toolchain needs the version of
//! `public-api` that reads its format.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Set, it writes the lists anew.
const UPDATE: &str = "UPDATE_PUBLIC_API";

/// What is public in a package.
fn public_items(package: &str) -> Result<Vec<String>, String> {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("public-api");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["rustdoc", "--quiet", "--lib", "--package", package]).arg("--target-dir").arg(&target);
    cargo.args(["--", "-Z", "unstable-options", "--output-format", "json"]).env("RUSTC_BOOTSTRAP", "1");
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let json = target.join("doc").join(format!("{}.json", package.replace('-', "_")));
    let builder = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true);
    let api = builder.build().map_err(|error| error.to_string())?;
    Ok(api.items().map(|item| item.to_string()).collect())
}

fn compare(package: &str, file: &str) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let items = match public_items(package) {
        Ok(items) => items,
        // Outside the repository, where the toolchain is not pinned, another format says nothing about the crate.
        Err(error) if !manifest.join("../../rust-toolchain.toml").exists() => {
            eprintln!("not compared: {error}");
            return;
        }
        Err(error) => panic!("the public interface of {package} cannot be listed: {error}"),
    };
    assert!(items.len() > 10, "the list is not of an empty crate");
    let path = manifest.join(file);
    if env::var_os(UPDATE).is_some() {
        fs::write(&path, items.join("\n") + "\n").expect("the list is written");
        return;
    }
    let agreed = fs::read_to_string(&path).expect("the list is there");
    let agreed: Vec<_> = agreed.lines().collect();
    let gone = agreed.iter().filter(|item| !items.iter().any(|other| other == *item)).map(|item| format!("- {item}"));
    let new = items.iter().filter(|item| !agreed.contains(&item.as_str())).map(|item| format!("+ {item}"));
    let changes: Vec<_> = gone.chain(new).collect();
    assert!(
        changes.is_empty(),
        "the public interface of {package} has changed:\n{}\nIf that is what you want, run `{UPDATE}=1 cargo test -p \
         wdk-nmr --test public_api`, say it in CHANGELOG.md, and see whether it needs another version.",
        changes.join("\n")
    );
}

#[test]
fn a_change_of_the_public_interface_is_deliberate() {
    compare("wdk-nmr", "public-api.txt");
    compare("wdk-nmr-sys", "public-api-sys.txt");
    compare("wdk-nmr-wdm", "public-api-wdm.txt");
}
