//! INF files of primitive drivers: what InfVerif would reject, as far as its rules are documented.
//!
//! A primitive driver is software that is bound to no device and runs from the driver store. Where InfVerif has a
//! number for a rule, the finding starts with it. InfVerif, which runs on Windows only, has the last word.

mod event_log;
mod files;
mod install;
mod parse;
mod registry;
mod sections;
mod service;
mod stamp;
mod strings;
#[cfg(test)]
mod testing;
mod text;
mod version;

use std::path::Path;
use std::{fs, io};

use parse::Inf;
pub use stamp::stamp;
pub use text::decode;

checks! {
    /// What is checked of an INF file.
    enum Check {
        /// The file is an INF file of Windows.
        Signature = "signature",
        /// Class, ClassGuid and Provider are stated.
        Identity = "identity",
        /// The package can be signed.
        Catalog = "catalog",
        /// Programs cannot change the driver's files.
        Lockdown = "lockdown",
        /// Date and version are stated.
        DriverVer = "driver-ver",
        /// stampinf has filled everything in.
        Stamp = "stamp",
        /// Nothing is there that makes it the INF of a device.
        Device = "device",
        /// No directive or section is one that newer Windows refuses.
        Legacy = "legacy",
        /// Sections name the architecture that they are for.
        Architecture = "architecture",
        /// Something is installed, by directives that exist.
        Install = "install",
        /// Uninstalling is left to Windows.
        Uninstall = "uninstall",
        /// Sections that are referred to exist, and the other way round.
        Sections = "sections",
        /// So do strings.
        Strings = "strings",
        /// Files are on a disk and keep their names.
        Files = "files",
        /// They are installed to the driver store.
        Destination = "destination",
        /// The service is stated whole, and its file is installed.
        Service = "service",
        /// It is a driver.
        ServiceType = "service-type",
        /// It starts on demand.
        StartType = "start-type",
        /// Windows starts without it.
        ErrorControl = "error-control",
        /// A protected descriptor says who may start and stop it.
        Security = "security",
        /// The System log finds the texts of its entries.
        EventLog = "event-log",
        /// Registry values belong to the service.
        Registry = "registry",
    }
}

/// Something in an INF file that is not as it should be. Its text starts with InfVerif's number, where there is one.
pub type Finding = crate::Finding<Check>;

const ERRORS: &str = "INF Validation Errors and Warnings";
const PRIMITIVE: &str = "Creating a new primitive driver";
const VERSION: &str = "INF Version Section";
const SERVICE: &str = "INF AddService directive";

/// Checks the INF file `file`, all but what is `allow`ed. One that is called .inx may still have what stampinf fills
/// in.
///
/// # Errors
/// The file cannot be read.
pub fn check_file(file: &Path, allow: &[Check]) -> io::Result<Vec<Finding>> {
    let text = decode(&fs::read(file)?)?;
    let mut findings = check(&text, file.extension().is_some_and(|extension| extension == "inx"));
    findings.retain(|finding| !allow.contains(&finding.check));
    Ok(findings)
}

/// Checks the text of an INF file, or of an .inx file that is still `to_be_stamped`.
#[must_use]
pub fn check(text: &str, to_be_stamped: bool) -> Vec<Finding> {
    let mut checker = Checker { inf: Inf::parse(text), referenced: Vec::new(), findings: Vec::new() };
    checker.version(to_be_stamped);
    checker.kinds_of_sections();
    checker.strings(text);
    checker.stamps(text, to_be_stamped);
    checker.installs();
    checker.destinations();
    checker.registry();
    checker.unreferenced();
    checker.findings
}

struct Checker {
    inf: Inf,
    /// The sections that something refers to, in lower case.
    referenced: Vec<String>,
    findings: Vec<Finding>,
}

impl Checker {
    fn report(&mut self, check: Check, text: impl Into<String>, source: &'static str) {
        self.findings.push(Finding { check, text: text.into(), source });
    }

    /// Reports what InfVerif has a number for.
    fn report_number(&mut self, check: Check, number: u16, text: impl AsRef<str>) {
        self.report(check, format!("{number}: {}", text.as_ref()), ERRORS);
    }

    fn value(&self, section: &str, key: &str) -> Option<String> {
        self.inf.section(section)?.value(key).map(str::to_owned).filter(|value| !value.is_empty())
    }

    /// The keys and values of a section, none if there is no such section.
    fn lines(&self, section: &str) -> Vec<(String, Vec<String>)> {
        let lines = self.inf.section(section).map(|section| section.lines.as_slice()).unwrap_or_default();
        lines.iter().map(|line| (line.key.clone(), line.values.clone())).collect()
    }

    fn section_names(&self) -> Vec<String> {
        self.inf.sections.iter().map(|section| section.name.clone()).collect()
    }

    fn refer_to(&mut self, section: &str) {
        self.referenced.push(section.to_lowercase());
    }

    /// Whether the section `name`, to which a directive refers, exists.
    fn must_exist(&mut self, from: &str, directive: &str, name: &str) -> bool {
        self.refer_to(name);
        let exists = self.inf.section(name).is_some();
        if !exists {
            let text = format!("{directive} in [{from}] refers to [{name}], which does not exist");
            self.report_number(Check::Sections, 1203, text);
        }
        exists
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{GOOD, found_after, stamped};
    use super::*;
    use crate::Arch;

    #[test]
    fn a_good_file_has_no_findings_before_and_after_stamping() {
        assert_eq!(check(GOOD, true), []);
        for arch in [Arch::X64, Arch::Arm64] {
            assert_eq!(check(&stamp(GOOD, arch, "11/23/2026", "1.2.3.0"), false), [], "{arch}");
        }
    }

    #[test]
    fn a_check_that_is_left_out_finds_nothing_and_no_other_is() {
        let file = std::env::temp_dir().join(format!("driver-check-{}.inf", std::process::id()));
        std::fs::write(&file, stamped().replace("StartType      = 3", "StartType = 0").replace("PnpLockdown = 1", ""))
            .unwrap();
        let found = check_file(&file, &[Check::StartType]).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(found.iter().map(|finding| finding.check).collect::<Vec<_>>(), [Check::Lockdown]);
    }

    #[test]
    fn a_file_that_is_called_inx_may_still_have_what_is_to_be_filled_in() {
        let found = |extension: &str| {
            let name = format!("driver-check-stamp-{}.{extension}", std::process::id());
            let file = std::env::temp_dir().join(name);
            std::fs::write(&file, GOOD).unwrap();
            let found = check_file(&file, &[]).unwrap();
            std::fs::remove_file(&file).unwrap();
            found.iter().map(|finding| finding.check).collect::<Vec<_>>()
        };
        assert_eq!(found("inx"), []);
        assert_eq!(found("inf"), [Check::DriverVer, Check::Stamp]);
    }

    #[test]
    fn a_finding_names_its_number_its_check_and_its_source() {
        let found = found_after("CatalogFile = example.cat", "");
        let text = "1233: [Version] names no CatalogFile, so the package cannot be signed";
        assert_eq!(found, [format!("{text} [catalog: INF Validation Errors and Warnings]")]);
    }
}
