//! Where things lie in the repository and under target/.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub(crate) use cargo_wdk_linux::Arch;
use cargo_wdk_linux::{Kit, Workspace};

/// The root of the checkout that this program runs in.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(sluice_rig::root)
}

/// What a user installs: sluice.sys, its client drivers, their symbols, and the programs that go with them.
pub(crate) fn drivers(arch: Arch) -> PathBuf {
    sluice_rig::Arch::from(arch).drivers()
}

/// What stands in for Windows and must never get onto one: netio.sys and what else Wine lacks.
pub(crate) fn rig(arch: Arch) -> PathBuf {
    sluice_rig::Arch::from(arch).rig()
}

/// What stands in for Windows: the sources of this checkout, and what is made of them in target/rig/.
pub(crate) fn kit() -> Kit {
    let root = root().to_path_buf();
    Kit { made: root.join("target/rig"), sources: root.clone(), toolchain: root }
}

/// The workspace of this checkout.
pub(crate) fn workspace() -> Workspace {
    Workspace {
        root: root().to_path_buf(),
        made: root().join("target/rig"),
        name: "/sluice".into(),
        patches: vec![("wdk-build".into(), "rig/wdk/wdk-build".into())],
    }
}
