//! The install sections: `[DefaultInstall.NTamd64]`, its like, and their `.Services`.

use super::sections::is_install;
use super::{Check, Checker, PRIMITIVE};

/// Directives of an install section that newer versions of Windows do not follow.
const LEGACY: [&str; 12] = [
    "delfiles",
    "renfiles",
    "delreg",
    "bitreg",
    "updateinis",
    "updateinifields",
    "ini2reg",
    "registerdlls",
    "unregisterdlls",
    "profileitems",
    "logconfig",
    "copyinf",
];

impl Checker {
    pub(super) fn installs(&mut self) {
        for install in self.section_names().into_iter().filter(|name| is_install(name)) {
            self.refer_to(&install);
            for (key, values) in self.lines(&install) {
                self.directive(&install, &key, &values);
            }
            self.services(&install);
        }
    }

    fn directive(&mut self, install: &str, key: &str, values: &[String]) {
        match key.to_lowercase().as_str() {
            "copyfiles" => values.iter().for_each(|name| self.copy_files(install, name)),
            "addreg" => values.iter().for_each(|name| {
                self.must_exist(install, key, name);
            }),
            "legacyuninstall" | "include" | "needs" => {}
            legacy if LEGACY.contains(&legacy) => {
                self.report_number(Check::Legacy, 1300, format!("[{install}] has {key}, a legacy directive"));
            }
            _ => {
                let text = format!("[{install}] has {key}, which is not a directive of an install section");
                self.report(Check::Install, text, PRIMITIVE);
            }
        }
    }

    fn services(&mut self, install: &str) {
        let services = format!("{install}.Services");
        if self.inf.section(&services).is_none() {
            let text = format!("there is no [{services}], so nothing starts what [{install}] installs");
            self.report_number(Check::Service, 1296, text);
            return;
        }
        self.refer_to(&services);
        for (key, values) in self.lines(&services) {
            if key.eq_ignore_ascii_case("AddService") {
                self.service(install, &services, &values);
            } else {
                let text = format!("[{services}] has {key}, which changes something outside the package");
                self.report_number(Check::Service, 1302, text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{finds, found_after};

    #[test]
    fn directives_of_an_install_section_are_known() {
        let with = |directive: &str| found_after("CopyFiles = ", &format!("{directive}\r\nCopyFiles = "));
        for directive in ["LegacyUninstall = 1", "Include = other.inf", "Needs = Other"] {
            assert_eq!(with(directive), Vec::<String>::new(), "{directive}");
        }
        let found = with("AddReg = Missing");
        let expected = "1203: AddReg in [DefaultInstall.NTamd64] refers to [Missing], which does not exist";
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:#?}");
    }

    #[test]
    fn directives_that_are_legacy_or_unknown_are_found() {
        for directive in ["DelFiles", "DelReg", "RegisterDlls", "LogConfig"] {
            finds("CopyFiles = ", &format!("{directive} = Example.Files\nCopyFiles = "), "1300:");
        }
        finds("CopyFiles = ", "CopyFlies = X\nCopyFiles = ", "[DefaultInstall.NTamd64] has CopyFlies");
        finds("AddService = ", "DelService = example\nAddService = ", "1302:");
        finds("ServiceType    =", "DelReg = X\nServiceType    =", "1300:");
    }
}
