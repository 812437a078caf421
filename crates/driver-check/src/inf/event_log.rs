//! The source in the System log that a service registers for its driver.

use super::{Check, Checker, SERVICE};

impl Checker {
    /// Checks the event-log section that an AddService directive names.
    pub(super) fn event_log(&mut self, services: &str, section: &str) {
        if section.is_empty() || !self.must_exist(services, "AddService", section) {
            return;
        }
        let mut values = Vec::new();
        for (_, names) in self.lines(section).into_iter().filter(|(key, _)| key.eq_ignore_ascii_case("AddReg")) {
            for name in names {
                self.must_exist(section, "AddReg", &name);
                values.extend(self.lines(&name).into_iter().map(|(_, values)| values));
            }
        }
        for name in ["EventMessageFile", "TypesSupported"] {
            let is_set = values.iter().any(|value| value.get(2).is_some_and(|set| set.eq_ignore_ascii_case(name)));
            if !is_set {
                let text = format!("[{section}] does not set {name}, so the Event Viewer finds no text for an entry");
                self.report(Check::EventLog, text, SERVICE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::found_after;

    #[test]
    fn the_source_of_entries_in_the_system_log_is_checked() {
        let with = |values: &str| {
            let log = format!("[Example.Log]\nAddReg = Example.Values\n[Example.Values]\n{values}\n[Strings]");
            let text = super::super::testing::stamped().replace("[Strings]", &log);
            let text = text.replace("example,,Example.Service", "example,,Example.Service,Example.Log");
            super::super::testing::findings(&text)
        };
        let file = r#"HKR,,EventMessageFile,0x00020000,"%13%\example.sys""#;
        let types = "HKR,,TypesSupported,0x00010001,7";
        assert_eq!(with(&format!("{file}\n{types}")), Vec::<String>::new());
        assert!(with(types)[0].starts_with("[Example.Log] does not set EventMessageFile"));
        assert!(with(file)[0].starts_with("[Example.Log] does not set TypesSupported"));
        let missing = found_after("example,,Example.Service", "example,,Example.Service,Example.Log");
        assert!(missing[0].starts_with("1203: AddService"), "{missing:#?}");
    }
}
