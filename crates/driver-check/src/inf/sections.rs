//! Which sections there are: those that a primitive driver must not have, or not like that, and those that are of no
//! use.

use super::{Check, Checker, PRIMITIVE};

impl Checker {
    pub(super) fn kinds_of_sections(&mut self) {
        for name in self.section_names() {
            let lower = name.to_lowercase();
            if lower == "manufacturer" {
                let text = "[Manufacturer] makes it a device driver; a primitive driver has [DefaultInstall] alone";
                self.report_number(Check::Device, 1212, text);
            }
            if lower.starts_with("classinstall32") {
                self.report_number(Check::Device, 1285, format!("[{name}] installs a device class"));
            }
            if [".coinstallers", ".logconfigoverride", ".factdef"].iter().any(|legacy| lower.ends_with(legacy)) {
                self.report_number(Check::Legacy, 1300, format!("[{name}] is a legacy section"));
            }
            if lower.starts_with("defaultinstall") && !is_decorated(&lower) {
                let text = format!("[{name}] names no architecture; expected [DefaultInstall.NTamd64] or the like");
                self.report(Check::Architecture, text, PRIMITIVE);
            }
            let legacy_uninstall = self.value(&name, "LegacyUninstall").as_deref() == Some("1");
            if lower.starts_with("defaultuninstall") && !lower.ends_with(".services") && !legacy_uninstall {
                let text = format!("[{name}] is not allowed: Windows undoes the installation by itself");
                self.report(Check::Uninstall, text, PRIMITIVE);
            }
        }
        if !self.section_names().iter().any(|name| is_install(name)) {
            let text = "there is no [DefaultInstall] section for any architecture, so nothing is installed";
            self.report_number(Check::Install, 1297, text);
        }
    }

    pub(super) fn unreferenced(&mut self) {
        const KNOWN: [&str; 6] =
            ["version", "destinationdirs", "sourcedisksnames", "sourcedisksfiles", "strings", "manufacturer"];
        for name in self.section_names() {
            let lower = name.to_lowercase();
            let is_known = KNOWN.contains(&lower.as_str()) || lower.starts_with("default");
            if !is_known && !self.referenced.contains(&lower) {
                self.report_number(Check::Sections, 2083, format!("nothing refers to [{name}]"));
            }
        }
    }
}

/// `[DefaultInstall.NTamd64]` and the like, without an extension.
pub(super) fn is_install(name: &str) -> bool {
    let lower = name.to_lowercase();
    lower.starts_with("defaultinstall.") && is_decorated(&lower) && lower.matches('.').count() == 1
}

/// Whether the lower-case name of a section says for which architecture it is.
fn is_decorated(lower: &str) -> bool {
    let decoration = lower.split('.').nth(1).unwrap_or_default();
    ["ntamd64", "ntarm64", "nt$arch$"].contains(&decoration)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{finds, found_after};

    #[test]
    fn sections_that_a_primitive_driver_does_not_have_are_found() {
        finds("[Strings]", "[Manufacturer]\n[Strings]", "1212:");
        finds("[Strings]", "[ClassInstall32]\n[Strings]", "1285:");
        finds("[Strings]", "[DefaultInstall.NTamd64.CoInstallers]\n[Strings]", "1300:");
        finds("[DefaultInstall.NTamd64]", "[DefaultInstall]", "[DefaultInstall] names no architecture");
        finds("[DefaultInstall.NTamd64]", "[Other]", "1297:");
        let uninstall = "[DefaultUninstall.NTamd64]\nDelFiles = X\n[Strings]";
        finds("[Strings]", uninstall, "[DefaultUninstall.NTamd64] is not allowed");
        let legacy = found_after("[Strings]", "[DefaultUninstall.NTamd64]\nLegacyUninstall = 1\n[Strings]");
        assert_eq!(legacy, Vec::<String>::new());
    }

    #[test]
    fn sections_that_are_missing_or_that_nothing_refers_to_are_found() {
        let renamed = ("[Example.Files]", "[Example.Flies]");
        finds(renamed.0, renamed.1, "1203: CopyFiles in [DefaultInstall.NTamd64] refers to [Example.Files]");
        finds(renamed.0, renamed.1, "2083: nothing refers to [Example.Flies]");
        finds("[Example.Service]", "[Example.Servile]", "1203: AddService");
        finds("[DefaultInstall.NTamd64.Services]", "[Other]", "1296:");
        finds("DefaultDestDir = 13", "DefaultDestDir = 13\nOther = 13", "1203: an entry");
    }
}
