//! The section `[Version]`.

use super::{Check, Checker, PRIMITIVE, VERSION};

impl Checker {
    pub(super) fn version(&mut self, to_be_stamped: bool) {
        let signature = self.value("Version", "Signature").unwrap_or_default();
        if !["$WINDOWS NT$", "$CHICAGO$"].contains(&signature.to_uppercase().as_str()) {
            let text =
                format!("expected the Signature \"$WINDOWS NT$\", found {signature:?}: Windows takes no such file");
            self.report(Check::Signature, text, VERSION);
        }
        for key in ["Class", "ClassGuid", "Provider"] {
            if self.value("Version", key).is_none() {
                let text = format!("[Version] does not state {key}, which a primitive driver must");
                self.report(Check::Identity, text, PRIMITIVE);
            }
        }
        if let Some(guid) = self.value("Version", "ClassGuid").filter(|guid| !is_guid(guid)) {
            let text = format!("expected a ClassGuid like {{nnnnnnnn-nnnn-nnnn-nnnn-nnnnnnnnnnnn}}, found {guid}");
            self.report(Check::Identity, text, VERSION);
        }
        let provider = self.value("Version", "Provider").map(|provider| self.expand(&provider));
        if provider.is_some_and(|provider| provider.to_lowercase().contains("microsoft")) {
            self.report_number(Check::Identity, 1204, "Provider cannot be Microsoft");
        }
        if self.value("Version", "CatalogFile").is_none_or(|file| !file.to_lowercase().ends_with(".cat")) {
            let text = "[Version] names no CatalogFile, so the package cannot be signed";
            self.report_number(Check::Catalog, 1233, text);
        }
        if self.value("Version", "PnpLockdown").as_deref() != Some("1") {
            self.report(Check::Lockdown, "PnpLockdown is not 1, so programs may change the driver's files", VERSION);
        }
        self.driver_ver(to_be_stamped);
    }

    fn driver_ver(&mut self, to_be_stamped: bool) {
        let line = self.inf.section("Version").and_then(|section| section.lines_of("DriverVer").next());
        let values = line.map(|line| line.values.clone()).unwrap_or_default();
        let is_to_come = line.is_some() && to_be_stamped && values.iter().all(String::is_empty);
        if !is_to_come && !is_driver_ver(&values) {
            let text = format!("expected a DriverVer like mm/dd/yyyy,w.x.y.z, found {:?}", values.join(","));
            self.report(Check::DriverVer, text, "INF DriverVer directive");
        }
    }
}

fn is_guid(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else { return false };
    let groups: Vec<&str> = inner.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.chars().all(|digit| digit.is_ascii_hexdigit()))
}

/// `mm/dd/yyyy` and `w.x.y.z`.
fn is_driver_ver(values: &[String]) -> bool {
    let [date, version] = values else { return false };
    let numbers = |text: &str, separator| text.split(separator).map(str::parse::<u16>).collect::<Result<Vec<_>, _>>();
    let Ok(&[month, day, year]) = numbers(date, '/').as_deref() else { return false };
    (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && year >= 2000
        && numbers(version, '.').is_ok_and(|parts| parts.len() == 4)
}

#[cfg(test)]
mod tests {
    use super::super::testing::finds;

    #[test]
    fn the_version_section_is_checked() {
        finds("$WINDOWS NT$", "$WINDOWS 95$", "expected the Signature \"$WINDOWS NT$\", found \"$WINDOWS 95$\"");
        finds("Class       = System", "", "[Version] does not state Class,");
        finds("Provider    = %Provider%", "", "[Version] does not state Provider");
        finds("{4D36E97D-", "{4D36E97-", "expected a ClassGuid like");
        finds("\"Example\"", "\"Microsoft\"", "1204:");
        finds("CatalogFile = example.cat", "", "1233:");
        finds("PnpLockdown = 1", "PnpLockdown = 0", "PnpLockdown is not 1");
    }

    #[test]
    fn date_and_version_are_checked() {
        for wrong in ["2026-11-23,1.2.3.0", "11/23/2026,1.2.3", "11/23,1.2.3.0", "13/23/2026,1.2.3.0", ""] {
            finds("11/23/2026,1.2.3.0", wrong, "expected a DriverVer like");
        }
        finds("DriverVer   = 11/23/2026,1.2.3.0", "", "expected a DriverVer like");
    }
}
