//! The service that starts the driver.

use super::{Check, Checker, PRIMITIVE, SERVICE};

impl Checker {
    pub(super) fn service(&mut self, install: &str, services: &str, values: &[String]) {
        let value = |index: usize| values.get(index).map(String::as_str).unwrap_or_default();
        let (name, flags, section) = (value(0), value(1), value(2));
        if number(flags).unwrap_or(0) & 2 != 0 {
            let text = format!("service {name} is that of a device (flag 2), and there is none");
            self.report_number(Check::Device, 1296, text);
        }
        if !self.must_exist(services, "AddService", section) {
            return;
        }
        self.event_log(services, value(3));
        self.service_values(section);
        for key in ["DelReg", "BitReg"] {
            if self.value(section, key).is_some() {
                self.report_number(Check::Legacy, 1300, format!("[{section}] has {key}, a legacy directive"));
            }
        }
        for (key, names) in self.lines(section) {
            if key.eq_ignore_ascii_case("AddReg") {
                for name in names {
                    self.must_exist(section, "AddReg", &name);
                }
            }
        }
        self.service_binary(install, section);
    }

    fn service_values(&mut self, section: &str) {
        for key in ["ServiceType", "StartType", "ErrorControl", "ServiceBinary"] {
            if self.value(section, key).is_none() {
                self.report(Check::Service, format!("[{section}] does not state {key}"), SERVICE);
            }
        }
        let stated = |key| self.value(section, key).and_then(|value| number(&value));
        let (kind, start, error) = (stated("ServiceType"), stated("StartType"), stated("ErrorControl"));
        if let Some(kind) = kind.filter(|kind| ![1, 2].contains(kind)) {
            let text =
                format!("[{section}]: expected ServiceType 1 or 2, a kernel or file system driver, found {kind}");
            self.report(Check::ServiceType, text, SERVICE);
        }
        if let Some(start) = start.filter(|start| *start != 3) {
            let text = format!("[{section}]: expected StartType 3, on demand, found {start}");
            self.report(Check::StartType, text, SERVICE);
        }
        if let Some(error) = error.filter(|error| *error > 1) {
            let text = format!(
                "[{section}]: expected ErrorControl 0 or 1, found {error}: if the driver fails, Windows does not start"
            );
            self.report(Check::ErrorControl, text, SERVICE);
        }
        if self.value(section, "Security").is_none_or(|descriptor| !descriptor.starts_with("D:P(")) {
            let text =
                format!("[{section}] has no protected security descriptor (D:P), which says who may start and stop it");
            self.report(Check::Security, text, SERVICE);
        }
    }

    fn service_binary(&mut self, install: &str, section: &str) {
        let Some(binary) = self.value(section, "ServiceBinary") else { return };
        let Some(file) = binary.strip_prefix(r"%13%\") else {
            let text = format!("expected a ServiceBinary in the driver store, %13%, found {binary}");
            self.report(Check::Service, text, PRIMITIVE);
            return;
        };
        let copied = self.lines(install).into_iter().filter(|(key, _)| key.eq_ignore_ascii_case("CopyFiles"));
        let mut copied = copied.flat_map(|(_, names)| names).flat_map(|name| self.copied_files(&name));
        if !copied.any(|names| names.first().is_some_and(|name| name.eq_ignore_ascii_case(file))) {
            self.report(Check::Service, format!("ServiceBinary is {file}, which [{install}] does not copy"), SERVICE);
        }
    }
}

fn number(text: &str) -> Option<u32> {
    match text.to_lowercase().strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{finds, found_after};

    #[test]
    fn the_service_is_checked() {
        for key in ["ServiceType", "StartType", "ErrorControl", "ServiceBinary"] {
            finds(&format!("\n{key}"), "\nOther", &format!("[Example.Service] does not state {key}"));
        }
        finds("ServiceType    = 1", "ServiceType    = 0x10", "[Example.Service]: expected ServiceType 1 or 2");
        finds("StartType      = 3", "StartType      = 0", "[Example.Service]: expected StartType 3");
        finds("ErrorControl   = 1", "ErrorControl   = 3", "[Example.Service]: expected ErrorControl 0 or 1");
        finds("\"D:P(", "\"D:(", "[Example.Service] has no protected security descriptor");
        finds(r"%13%\example.sys", r"%12%\example.sys", "expected a ServiceBinary in the driver store");
        finds(r"%13%\example.sys", r"%13%\other.sys", "ServiceBinary is other.sys, which");
        finds("example,,", "example,0x2,", "1296:");
    }

    #[test]
    fn a_file_system_driver_is_a_driver() {
        assert_eq!(found_after("ServiceType    = 1", "ServiceType    = 2"), Vec::<String>::new());
    }
}
