//! The files of a package: on which disk they are, and where they go.

use super::{Check, Checker};

impl Checker {
    /// The files that an entry of CopyFiles stands for, each as destination and source.
    pub(super) fn copied_files(&self, name: &str) -> Vec<Vec<String>> {
        match name.strip_prefix('@') {
            Some(file) => vec![vec![file.to_owned()]],
            None => self.lines(name).into_iter().map(|(_, values)| values).collect(),
        }
    }

    pub(super) fn copy_files(&mut self, install: &str, name: &str) {
        if !name.starts_with('@') && !self.must_exist(install, "CopyFiles", name) {
            return;
        }
        for file in self.copied_files(name) {
            let destination = file.first().cloned().unwrap_or_default();
            let source = file.get(1).filter(|source| !source.is_empty()).unwrap_or(&destination).clone();
            if source != destination {
                let text = format!("{source} is copied as {destination}; files keep their names in the driver store");
                self.report_number(Check::Files, 1100, text);
            }
            let Some(disk) = self.value("SourceDisksFiles", &source) else {
                let text = format!("[SourceDisksFiles] does not have {source}, which [{name}] copies");
                self.report_number(Check::Files, 1230, text);
                continue;
            };
            if self.value("SourceDisksNames", &disk).is_none() {
                let text = format!("{source} is on disk {disk}, which [SourceDisksNames] does not have");
                self.report(Check::Files, text, "INF SourceDisksFiles section");
            }
        }
    }

    pub(super) fn destinations(&mut self) {
        let destinations = self.lines("DestinationDirs");
        if destinations.is_empty() {
            let text = "there is no [DestinationDirs], so files have no destination";
            self.report(Check::Destination, text, "INF DestinationDirs section");
        }
        for (key, values) in destinations {
            if values.first().map(String::as_str) != Some("13") {
                let text = format!("expected {key} to be 13, the driver store, found {}", values.join(","));
                self.report(Check::Destination, text, "InfVerif /h, File Paths");
            } else if values.len() > 1 {
                let text = format!("{key} names a folder below 13, which the driver store does not have");
                self.report_number(Check::Destination, 1100, text);
            }
            if !key.eq_ignore_ascii_case("DefaultDestDir") {
                self.must_exist("DestinationDirs", "an entry", &key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{finds, found_after};

    #[test]
    fn files_are_followed_from_their_source_to_the_driver_store() {
        finds("example.sys = 1", "other.sys = 1", "1230:");
        finds("example.sys = 1", "example.sys = 2", "example.sys is on disk 2");
        finds("[Example.Files]\r\nexample.sys", "[Example.Files]\r\nexample.sys,built.sys", "1100:");
        finds("DefaultDestDir = 13", "DefaultDestDir = 12", "expected DefaultDestDir to be 13");
        finds("DefaultDestDir = 13", "DefaultDestDir = 13,Sub", "1100:");
        finds("[DestinationDirs]\r\nDefaultDestDir = 13", "", "there is no [DestinationDirs]");
        let direct = found_after("CopyFiles = Example.Files", "CopyFiles = @example.sys");
        assert_eq!(direct.len(), 1, "only the section that is no longer used: {direct:?}");
    }
}
