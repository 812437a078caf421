//! The registry values that a package writes.

use super::{Check, Checker};

impl Checker {
    /// Checks the sections that AddReg refers to.
    pub(super) fn registry(&mut self) {
        let directives = self.inf.sections.iter().flat_map(|section| section.lines_of("AddReg"));
        let names: Vec<String> = directives.flat_map(|line| line.values.clone()).collect();
        for name in names {
            for (_, values) in self.lines(&name) {
                let root = values.first().map(|root| root.to_uppercase()).unwrap_or_default();
                let key = values.get(1).map(|key| key.to_lowercase()).unwrap_or_default();
                if key.contains(r"currentcontrolset\services") {
                    let text = format!("[{name}] writes to the Services key; that of the service itself is HKR");
                    self.report_number(Check::Registry, 1221, text);
                } else if root != "HKR" {
                    let text = format!("[{name}] writes to {root}, not to HKR, the service's own key");
                    self.report_number(Check::Registry, 1304, text);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::found_after;

    #[test]
    fn registry_writes_outside_the_service_are_found() {
        let with = |line: &str| {
            let added = "AddReg = Example.Registry\r\nLoadOrderGroup = NDIS\r\n[Example.Registry]\r\n";
            found_after("LoadOrderGroup = NDIS", &format!("{added}{line}\r\n[Example.Service]"))
        };
        assert_eq!(with(r#"HKR,Parameters,Limit,0x10001,1"#), Vec::<String>::new());
        assert!(with(r#"HKLM,"Software\Example",Limit,0x10001,1"#)[0].starts_with("1304:"));
        assert!(with(r#"HKLM,SYSTEM\CurrentControlSet\Services\example,Limit,0x10001,1"#)[0].starts_with("1221:"));
    }
}
