//! Where the rig and the drivers lie.
//!
//! In this order: what the program has said ([`use_folders`]), what the environment says (`cargo wdk-linux test` sets
//! it for the tests of a driver), and the folders of a checkout of Sluice.

use std::env;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::root;

/// Names the folder with the parts of the rig, by architecture.
pub const RIG_VARIABLE: &str = "WDK_RIG_FOLDER";
/// Names the folder with the drivers that are tested, by architecture.
pub const DRIVERS_VARIABLE: &str = "WDK_RIG_DRIVERS";

static CHOSEN: OnceLock<[PathBuf; 2]> = OnceLock::new();

/// Says where the parts of the rig and the drivers lie, each in a folder for every architecture. It counts once, before
/// the first rig.
pub fn use_folders(rig: PathBuf, drivers: PathBuf) {
    let _ = CHOSEN.set([rig, drivers]);
}

pub(crate) fn rig() -> PathBuf {
    find(0, RIG_VARIABLE, "target/rig")
}

pub(crate) fn drivers() -> PathBuf {
    find(1, DRIVERS_VARIABLE, "target/drivers")
}

fn find(index: usize, variable: &str, in_checkout: &str) -> PathBuf {
    let chosen = CHOSEN.get().map(|chosen| chosen[index].clone());
    chosen.or_else(|| env::var_os(variable).map(PathBuf::from)).unwrap_or_else(|| root().join(in_checkout))
}
