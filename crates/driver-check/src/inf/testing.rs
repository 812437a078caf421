//! An INF file that nothing is wrong with, of which a test changes one thing.

use super::{check, stamp};
use crate::Arch;

/// The .inx file of a primitive driver.
pub(super) const GOOD: &str = r#"
[Version]
Signature   = "$WINDOWS NT$"
Class       = System
ClassGuid   = {4D36E97D-E325-11CE-BFC1-08002BE10318}
Provider    = %Provider%
CatalogFile = example.cat
DriverVer   =
PnpLockdown = 1

[DestinationDirs]
DefaultDestDir = 13

[SourceDisksNames]
1 = %Disk%

[SourceDisksFiles]
example.sys = 1

[DefaultInstall.NT$ARCH$]
CopyFiles = Example.Files

[DefaultInstall.NT$ARCH$.Services]
AddService = example,,Example.Service

[Example.Files]
example.sys

[Example.Service]
Description    = %Description% ; shown by services.msc
ServiceType    = 1
StartType      = 3
ErrorControl   = 1
ServiceBinary  = %13%\example.sys
LoadOrderGroup = NDIS
Security       = "D:P(A;;CCLCSWRPWPDTLOCRRC;;;SY)(A;;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;BA)(A;;CCLCSWLOCRRC;;;IU)"

[Strings]
Provider    = "Example"
Disk        = "Example disk"
Description = "Does nothing"
"#;

pub(super) fn stamped() -> String {
    stamp(GOOD, Arch::X64, "11/23/2026", "1.2.3.0")
}

pub(super) fn findings(text: &str) -> Vec<String> {
    check(text, false).iter().map(ToString::to_string).collect()
}

/// What is found when `from` is replaced by `to` in an INF file that nothing is wrong with.
pub(super) fn found_after(from: &str, to: &str) -> Vec<String> {
    let text = stamped();
    assert!(text.contains(from), "{from} is not in the file");
    findings(&text.replace(from, to))
}

/// Among what is found after the replacement is something that starts with `expected`.
#[track_caller]
pub(super) fn finds(from: &str, to: &str, expected: &str) {
    let found = found_after(from, to);
    assert!(found.iter().any(|finding| finding.starts_with(expected)), "{expected} is not among {found:#?}");
}
