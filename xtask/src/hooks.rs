//! `cargo xtask hooks` installs a hook that git runs before each commit; `cargo xtask pre-commit` is what it does.
//!
//! It takes seconds, so it looks at what is quick to see: formatting, style, and clippy of the crates that the commit
//! changes. `.ci/run` decides.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::layout;
use crate::run::{cargo, git, output, run as run_command, write_executable};
use crate::style;

/// The hook. The second line is how it is recognized.
const HOOK: &str = "#!/bin/sh\n# Installed by `cargo xtask hooks`.\nexec cargo xtask pre-commit\n";

/// `cargo xtask hooks`.
///
/// # Errors
/// There is another hook, or the file cannot be written.
pub(crate) fn install() -> Result<()> {
    let folder = layout::root().join(git(&["rev-parse", "--git-path", "hooks"])?);
    install_in(&folder)?;
    println!(
        "Before each commit: formatting, style, and clippy of what changes. `git commit --no-verify` does without."
    );
    Ok(())
}

fn install_in(folder: &Path) -> Result<()> {
    let hook = folder.join("pre-commit");
    let is_foreign = fs::read_to_string(&hook).is_ok_and(|text| !text.contains("cargo xtask hooks"));
    if is_foreign {
        bail!("expected no pre-commit hook of your own, found {}; call `cargo xtask pre-commit` in it", hook.display());
    }
    write_executable(&hook, HOOK)?;
    Ok(())
}

/// `cargo xtask pre-commit`.
///
/// # Errors
/// Something is not as it should be; it is printed.
pub(crate) fn pre_commit() -> Result<()> {
    let changed: Vec<PathBuf> = git(&["diff", "--cached", "--name-only", "-z", "--diff-filter=ACMR"])?
        .split_terminator('\0')
        .map(PathBuf::from)
        .collect();
    style::check(&changed)?;
    if changed.iter().all(|file| file.extension().is_none_or(|extension| extension != "rs" && extension != "toml")) {
        return Ok(());
    }
    run_command(&mut cargo(&["fmt", "--all", "--check"]))?;
    let packages = changed_packages(&changed, &metadata()?);
    if packages.is_empty() {
        return Ok(());
    }
    let mut clippy = cargo(&["clippy", "--quiet", "--all-targets"]);
    for package in &packages {
        clippy.args(["--package", package]);
    }
    run_command(clippy.args(["--", "--deny", "warnings"]))
}

/// The packages with changed files that plain cargo can build on a host; `cargo xtask clippy` sees the others.
fn changed_packages(changed: &[PathBuf], metadata: &Value) -> BTreeSet<String> {
    let is_default = |package: &&Value| {
        let members = metadata["workspace_default_members"].as_array();
        members.is_some_and(|members| members.contains(&package["id"]))
    };
    let folder = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        manifest.parent()?.strip_prefix(metadata["workspace_root"].as_str()?).ok().map(Path::to_path_buf)
    };
    let packages: Vec<&Value> = metadata["packages"].as_array().into_iter().flatten().collect();
    let folders: Vec<(PathBuf, &Value)> =
        packages.into_iter().filter_map(|package| Some((folder(package)?, package))).collect();
    let owner = |file: &PathBuf| {
        let around = folders.iter().filter(|(folder, _)| file.starts_with(folder));
        around.max_by_key(|(folder, _)| folder.components().count()).map(|(_, package)| *package)
    };
    let owners = changed.iter().filter_map(owner).filter(is_default);
    owners.filter_map(|package| package["name"].as_str().map(str::to_owned)).collect()
}

/// What cargo says of the packages of the workspace.
///
/// # Errors
/// As [`output`].
pub(crate) fn metadata() -> Result<Value> {
    let text = output(&mut cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
    serde_json::from_str(&text).context("cargo metadata wrote something that is not JSON")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hook_of_somebody_else_stays() {
        let folder = std::env::temp_dir().join(format!("xtask-hooks-{}", std::process::id()));
        install_in(&folder).unwrap();
        install_in(&folder).expect("it may be installed again");
        fs::write(folder.join("pre-commit"), "#!/bin/sh\nmake test\n").unwrap();
        let refused = install_in(&folder).unwrap_err().to_string();
        let kept = fs::read_to_string(folder.join("pre-commit")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert!(refused.starts_with("expected no pre-commit hook of your own"), "{refused}");
        assert_eq!(kept, "#!/bin/sh\nmake test\n");
    }

    #[test]
    fn a_changed_file_belongs_to_the_closest_package_that_a_host_can_build() {
        let package = |name: &str, folder: &str| {
            let manifest = format!("/r/{folder}Cargo.toml");
            json!({ "id": name, "name": name, "manifest_path": manifest })
        };
        let metadata = json!({
            "workspace_root": "/r",
            "workspace_default_members": ["core", "rules"],
            "packages": [
                package("driver", ""), package("core", "crates/core/"), package("rules", "crates/core/rules/"),
            ],
        });
        let changed = |file: &str| changed_packages(&[file.into()], &metadata).into_iter().collect::<Vec<_>>();
        assert_eq!(changed("crates/core/src/lib.rs"), ["core"]);
        assert_eq!(changed("crates/core/rules/Cargo.toml"), ["rules"]);
        assert_eq!(changed("src/lib.rs"), [""; 0], "the driver needs a WDK");
    }
}
