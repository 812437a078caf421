//! Where the declarations that the library is built on are, for tests that compile both by themselves.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The source of wdk-nmr-sys: beside this package in the repository, else where cargo has it.
pub(crate) fn declarations() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wdk-nmr-sys/src/lib.rs");
    if beside.is_file() {
        return beside;
    }
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--offline", "--format-version=1"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = metadata.output().expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let sources = text.split("\"src_path\":\"").skip(1).filter_map(|rest| rest.split_once('"'));
    let mut paths = sources.map(|(path, _)| PathBuf::from(path));
    let found = paths.find(|path| path.ends_with("src/lib.rs") && path.to_string_lossy().contains("wdk-nmr-sys"));
    found.expect("cargo knows where the sources of wdk-nmr-sys are")
}
