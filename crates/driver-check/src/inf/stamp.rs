//! What stampinf fills in.

use super::{Check, Checker};
use crate::Arch;

/// The INF of `arch`, made from the text of an .inx file as stampinf makes it on Windows.
///
/// `date` is month, day and year, `mm/dd/yyyy`; `version` has four parts.
#[must_use]
pub fn stamp(inx: &str, arch: Arch, date: &str, version: &str) -> String {
    let arch = match arch {
        Arch::X64 => "amd64",
        Arch::Arm64 => "arm64",
    };
    let lines = inx.lines().map(|line| {
        let key = line.split('=').next().unwrap_or_default().trim();
        if key.eq_ignore_ascii_case("DriverVer") {
            format!("DriverVer   = {date},{version}")
        } else {
            line.replace("$ARCH$", arch)
        }
    });
    // INF files are read on Windows, also by people.
    lines.map(|line| line + "\r\n").collect()
}

impl Checker {
    pub(super) fn stamps(&mut self, text: &str, to_be_stamped: bool) {
        if !to_be_stamped && text.to_uppercase().contains("$ARCH$") {
            let text = "$ARCH$ stands for an architecture that stampinf was to fill in";
            self.report(Check::Stamp, text, "Stampinf Command Options");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{GOOD, findings};
    use super::*;

    #[test]
    fn stamping_fills_in_architecture_and_version() {
        let text = stamp(GOOD, Arch::Arm64, "11/23/2026", "1.2.3.4");
        assert!(text.contains("[DefaultInstall.NTarm64.Services]\r\n"));
        assert!(text.contains("DriverVer   = 11/23/2026,1.2.3.4\r\n"));
        assert!(findings(GOOD).iter().any(|finding| finding.starts_with("$ARCH$ stands for")));
    }
}
