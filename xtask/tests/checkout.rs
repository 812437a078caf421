//! The program works in the checkout that it is run in: not in the one that it was built in, which may have been moved
//! or copied since, or share a target directory with others.
#![cfg(unix)]

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// A checkout with the sources of this one and INF files of its own.
struct Checkout(PathBuf);

impl Checkout {
    fn new(name: &str) -> Self {
        let root = env::temp_dir().join(format!("xtask-checkout-{}", std::process::id())).join(name);
        for (file, text) in [
            ("docs/README.md", ""),
            ("inf/sluice.inx", "[Version]\nSignature = \"of this checkout\"\n"),
            ("inf/probe.inx", ""),
        ] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let xtask = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
        for folder in ["cargo-wdk-linux", "crates", "rig", "xtask"] {
            symlink(xtask.with_file_name(folder), root.join(folder)).unwrap();
        }
        Self(root)
    }

    /// The checkout after it was moved.
    fn moved(self, name: &str) -> Self {
        let to = self.0.with_file_name(name);
        fs::rename(&self.0, &to).unwrap();
        Self(to)
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        let _ = fs::remove_dir(self.0.parent().unwrap());
    }
}

/// The program, without what cargo has set for this test.
fn xtask(folder: &Path) -> Command {
    let program = env::var_os("CARGO_BIN_EXE_xtask").unwrap_or_else(|| OsString::from(env!("CARGO_BIN_EXE_xtask")));
    let mut command = Command::new(program);
    command.current_dir(folder).env_remove("CARGO_MANIFEST_DIR");
    command
}

/// What the program prints when it fails, as it has to.
#[track_caller]
fn fails(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    text
}

#[track_caller]
fn checks_its_own_files(command: &mut Command) {
    let text = fails(command.arg("check-inf"));
    assert!(text.starts_with("inf/sluice.inx: ") && text.contains("found \"of this checkout\""), "{text}");
}

#[test]
fn cargo_says_which_checkout_it_is_run_in() {
    // As after a copy with target/, or with a target directory that checkouts share: cargo runs the one program in
    // each.
    for name in ["one", "another"] {
        let checkout = Checkout::new(name);
        checks_its_own_files(xtask(&env::temp_dir()).env("CARGO_MANIFEST_DIR", checkout.0.join("xtask")));
    }
}

#[test]
fn a_checkout_that_was_moved_is_found_from_a_folder_in_it() {
    let checkout = Checkout::new("first").moved("Schleuse für Treiber");
    checks_its_own_files(&mut xtask(&checkout.0));
    checks_its_own_files(&mut xtask(&checkout.0.join("docs")));
}

#[test]
fn a_worktree_of_git_is_a_checkout_of_its_own_with_the_hooks_of_its_repository() {
    let checkout = Checkout::new("repository");
    let worktree = checkout.0.with_file_name("worktree");
    let git = |arguments: &[&str]| {
        let names = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"];
        let mut git = Command::new("git");
        // As in a commit hook of this very repository, git would work on the latter.
        git.env_remove("GIT_DIR").env_remove("GIT_INDEX_FILE").env_remove("GIT_WORK_TREE");
        let output = git.current_dir(&checkout.0).args(names).args(arguments).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "All"]);
    git(&["worktree", "add", "--quiet", worktree.to_str().unwrap()]);
    let worktree = Checkout(worktree);
    fs::write(checkout.0.join("inf/sluice.inx"), "[Version]\nSignature = \"of the other\"\n").unwrap();

    checks_its_own_files(&mut xtask(&worktree.0));

    let hooks = xtask(&worktree.0).arg("hooks").output().unwrap();
    assert!(hooks.status.success(), "{}", String::from_utf8_lossy(&hooks.stderr));
    assert!(checkout.0.join(".git/hooks/pre-commit").is_file());
}

#[test]
fn a_program_that_was_built_from_other_sources_does_nothing() {
    let checkout = Checkout::new("older");
    // Another harness, as in another commit.
    fs::remove_file(checkout.0.join("rig")).unwrap();
    fs::create_dir_all(checkout.0.join("rig/harness/src")).unwrap();
    fs::write(checkout.0.join("rig/harness/Cargo.toml"), "").unwrap();
    let text = fails(xtask(&checkout.0).arg("check-inf"));
    assert!(text.starts_with("error: expected the xtask of ") && text.contains("another checkout"), "{text}");
}

#[test]
fn a_folder_outside_every_checkout_is_named() {
    let text = fails(xtask(&env::temp_dir()).arg("check-inf"));
    assert!(text.starts_with("error: expected a folder in a checkout of Sluice, or a test that "), "{text}");
}

#[test]
fn a_checkout_that_cannot_be_written_to_is_named_before_anything_is_installed() {
    let checkout = Checkout::new("read-only");
    // Stands in for a file system that is mounted read-only, since root may write to a folder whatever its mode is.
    fs::write(checkout.0.join("target"), "").unwrap();
    let text = fails(xtask(&checkout.0).arg("build"));
    assert!(text.starts_with("error: expected a folder that can be written to, for "), "{text}");
}
