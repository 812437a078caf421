//! `cargo xtask check-inf`: what InfVerif would reject in an INF file, as far as its rules are documented.
//!
//! The rules are those for a primitive driver, which is what both drivers are. Where InfVerif has a number for a rule, the
//! finding starts with it. InfVerif itself has the last word; it runs on Windows only (`cargo make package`).
//!
//! [`stamp`] does what stampinf does on Windows: it makes the INF of one architecture from an .inx file.

use std::path::{Path, PathBuf};
use std::{fmt, fs};

use anyhow::{Context, Result, bail};

use crate::layout::{self, Arch};

const ERRORS: &str = "INF Validation Errors and Warnings";
const PRIMITIVE: &str = "Creating a new primitive driver";
const VERSION: &str = "INF Version Section";
const SERVICE: &str = "INF AddService directive";

/// The arguments of `cargo xtask check-inf`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// INF files, or .inx files that are still to be stamped [default: those of inf/]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// `cargo xtask check-inf`.
///
/// # Errors
/// A file cannot be read, or there are findings; those are printed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let ours = ["sluice.inx", "probe.inx"].map(|name| layout::root().join("inf").join(name));
    let files = if arguments.files.is_empty() { &ours[..] } else { &arguments.files };
    let mut findings = 0;
    for file in files {
        let found = check_file(file)?;
        if found.is_empty() {
            println!("{}: nothing found", file.display());
        }
        for finding in &found {
            println!("{}: {finding}", file.display());
        }
        findings += found.len();
    }
    match findings {
        0 => Ok(()),
        1 => bail!("1 finding"),
        _ => bail!("{findings} findings"),
    }
}

/// Something in an INF file that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What InfVerif calls it, where that is documented.
    code: Option<u16>,
    text: String,
    source: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = self.code {
            write!(f, "{code}: ")?;
        }
        write!(f, "{} [{}]", self.text, self.source)
    }
}

/// Checks the INF file `file`. One that is called .inx may still have what stampinf fills in.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn check_file(file: &Path) -> Result<Vec<Finding>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(check(&text, file.extension().is_some_and(|extension| extension == "inx")))
}

/// The INF of `arch`, made from the text of an .inx file.
///
/// `date` is month, day and year, `mm/dd/yyyy`; `version` has four parts.
pub(crate) fn stamp(inx: &str, arch: Arch, date: &str, version: &str) -> String {
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

fn check(text: &str, to_be_stamped: bool) -> Vec<Finding> {
    let mut checker = Checker { inf: Inf::parse(text), referenced: Vec::new(), findings: Vec::new() };
    checker.version(to_be_stamped);
    checker.sections();
    checker.strings(text);
    if !to_be_stamped && text.contains('$') && text.to_uppercase().contains("$ARCH$") {
        checker.report(
            None,
            "$ARCH$ stands for an architecture that stampinf was to fill in",
            "Stampinf Command Options",
        );
    }
    checker.installs();
    checker.destinations();
    checker.registry();
    checker.unreferenced();
    checker.findings
}

/// An INF file, taken apart. Names are as written and compared without case.
struct Inf {
    sections: Vec<Section>,
}

struct Section {
    name: String,
    lines: Vec<Line>,
}

/// `key = value, value`, or `value, value` without a key.
struct Line {
    key: String,
    values: Vec<String>,
}

impl Inf {
    fn parse(text: &str) -> Self {
        let mut inf = Self { sections: Vec::new() };
        let mut pending = String::new();
        for line in text.lines() {
            let line = without_comment(line);
            if let Some(start) = line.strip_suffix('\\') {
                pending.push_str(start);
                continue;
            }
            let line = std::mem::take(&mut pending) + line;
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                // A section may be written in parts; they count as one.
                if inf.section(name).is_none() {
                    inf.sections.push(Section { name: name.trim().to_owned(), lines: Vec::new() });
                }
                let index = inf.sections.iter().position(|section| section.name.eq_ignore_ascii_case(name.trim()));
                if let Some(index) = index {
                    let section = inf.sections.remove(index);
                    inf.sections.push(section);
                }
            } else if let Some(section) = inf.sections.last_mut().filter(|_| !line.is_empty()) {
                section.lines.push(Line::parse(&line));
            }
        }
        inf
    }

    fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name.eq_ignore_ascii_case(name.trim()))
    }
}

impl Section {
    /// The first value of the line `key`.
    fn value(&self, key: &str) -> Option<&str> {
        self.lines_of(key).next().and_then(|line| line.values.first()).map(String::as_str)
    }

    fn lines_of(&self, key: &str) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.key.eq_ignore_ascii_case(key))
    }
}

impl Line {
    fn parse(line: &str) -> Self {
        let (key, rest) = split_outside_quotes(line, '=').map_or(("", line), |(key, rest)| (key.trim(), rest));
        let mut values = Vec::new();
        let mut rest = Some(rest);
        while let Some(text) = rest {
            let (value, next) = match split_outside_quotes(text, ',') {
                Some((value, next)) => (value, Some(next)),
                None => (text, None),
            };
            values.push(value.trim().trim_matches('"').to_owned());
            rest = next;
        }
        Self { key: key.to_owned(), values }
    }
}

fn split_outside_quotes(text: &str, separator: char) -> Option<(&str, &str)> {
    let mut quoted = false;
    let (at, _) = text.char_indices().find(|(_, character)| {
        quoted ^= *character == '"';
        *character == separator && !quoted
    })?;
    Some((&text[..at], &text[at + separator.len_utf8()..]))
}

fn without_comment(line: &str) -> &str {
    split_outside_quotes(line, ';').map_or(line, |(line, _)| line).trim()
}

struct Checker {
    inf: Inf,
    /// The sections that something refers to.
    referenced: Vec<String>,
    findings: Vec<Finding>,
}

impl Checker {
    fn report(&mut self, code: impl Into<Option<u16>>, text: impl Into<String>, source: &'static str) {
        self.findings.push(Finding { code: code.into(), text: text.into(), source });
    }

    fn value(&self, section: &str, key: &str) -> Option<String> {
        self.inf.section(section)?.value(key).map(str::to_owned).filter(|value| !value.is_empty())
    }

    /// `value` with its %strings% replaced.
    fn expand(&self, value: &str) -> String {
        let mut expanded = value.to_owned();
        for line in self.inf.section("Strings").map(|section| section.lines.as_slice()).unwrap_or_default() {
            let text = line.values.first().map(String::as_str).unwrap_or_default();
            expanded = expanded.replace(&format!("%{}%", line.key), text);
        }
        expanded
    }

    fn version(&mut self, to_be_stamped: bool) {
        let signature = self.value("Version", "Signature").unwrap_or_default();
        if !["$WINDOWS NT$", "$CHICAGO$"].contains(&signature.to_uppercase().as_str()) {
            self.report(
                None,
                format!("Signature is {signature:?}, not \"$WINDOWS NT$\", so this is no INF file"),
                VERSION,
            );
        }
        for key in ["Class", "ClassGuid", "Provider"] {
            if self.value("Version", key).is_none() {
                self.report(None, format!("[Version] does not state {key}, which a primitive driver must"), PRIMITIVE);
            }
        }
        if let Some(guid) = self.value("Version", "ClassGuid").filter(|guid| !is_guid(guid)) {
            self.report(
                None,
                format!("ClassGuid {guid} is not of the form {{nnnnnnnn-nnnn-nnnn-nnnn-nnnnnnnnnnnn}}"),
                VERSION,
            );
        }
        let provider = self.value("Version", "Provider").map(|provider| self.expand(&provider));
        if provider.is_some_and(|provider| provider.to_lowercase().contains("microsoft")) {
            self.report(1204, "Provider cannot be Microsoft", ERRORS);
        }
        if self.value("Version", "CatalogFile").is_none_or(|file| !file.to_lowercase().ends_with(".cat")) {
            self.report(1233, "[Version] names no CatalogFile, so the package cannot be signed", ERRORS);
        }
        if self.value("Version", "PnpLockdown").as_deref() != Some("1") {
            self.report(None, "PnpLockdown is not 1, so programs may change the driver's files", VERSION);
        }
        let driver_ver = self.inf.section("Version").and_then(|section| section.lines_of("DriverVer").next());
        let values = driver_ver.map(|line| line.values.clone()).unwrap_or_default();
        let empty = values.iter().all(String::is_empty);
        if driver_ver.is_none() || !(empty && to_be_stamped || is_driver_ver(&values)) {
            let text = format!("DriverVer is {:?}, not mm/dd/yyyy,w.x.y.z", values.join(","));
            self.report(None, text, "INF DriverVer directive");
        }
    }

    /// Sections that a primitive driver must not have, or not like that.
    fn sections(&mut self) {
        let names: Vec<String> = self.inf.sections.iter().map(|section| section.name.clone()).collect();
        for name in names {
            let lower = name.to_lowercase();
            if lower == "manufacturer" {
                self.report(
                    1212,
                    "[Manufacturer] makes it a device driver; a primitive driver has [DefaultInstall] alone",
                    ERRORS,
                );
            }
            if lower.starts_with("classinstall32") {
                self.report(1285, format!("[{name}] installs a device class"), ERRORS);
            }
            for legacy in [".coinstallers", ".logconfigoverride", ".factdef"] {
                if lower.ends_with(legacy) {
                    self.report(1300, format!("[{name}] is a legacy section"), ERRORS);
                }
            }
            if lower.starts_with("defaultinstall") && !is_decorated(&lower) {
                let text = format!("[{name}] names no architecture; it must be [DefaultInstall.NTamd64] or the like");
                self.report(None, text, PRIMITIVE);
            }
            let legacy_uninstall = self.value(&name, "LegacyUninstall").as_deref() == Some("1");
            if lower.starts_with("defaultuninstall") && !lower.ends_with(".services") && !legacy_uninstall {
                self.report(
                    None,
                    format!("[{name}] is not allowed: Windows undoes the installation by itself"),
                    PRIMITIVE,
                );
            }
        }
        if !self.inf.sections.iter().any(|section| is_install(&section.name)) {
            self.report(
                1297,
                "there is no [DefaultInstall] section for any architecture, so nothing is installed",
                ERRORS,
            );
        }
    }

    fn strings(&mut self, text: &str) {
        let defined: Vec<String> = self
            .inf
            .section("Strings")
            .map(|section| section.lines.iter().map(|line| line.key.to_lowercase()).collect())
            .unwrap_or_default();
        let mut used = Vec::new();
        for line in text.lines().map(without_comment) {
            let mut parts = line.split('%');
            // %% stands for the character itself.
            while let (Some(_), Some(token)) = (parts.next(), parts.next()) {
                if !token.is_empty() && !token.chars().all(|character| character.is_ascii_digit()) {
                    used.push(token.to_owned());
                }
            }
        }
        for token in &used {
            if !defined.contains(&token.to_lowercase()) {
                self.report(1235, format!("%{token}% is not defined in [Strings]"), ERRORS);
            }
        }
        for token in &defined {
            if !used.iter().any(|used| used.eq_ignore_ascii_case(token)) {
                self.report(2083, format!("%{token}% is defined in [Strings] and not used"), ERRORS);
            }
        }
    }

    fn installs(&mut self) {
        let installs: Vec<String> =
            self.inf.sections.iter().map(|section| section.name.clone()).filter(|name| is_install(name)).collect();
        for install in installs {
            self.refer_to(&install);
            let lines: Vec<(String, Vec<String>)> = self.lines(&install);
            for (key, values) in lines {
                match key.to_lowercase().as_str() {
                    "copyfiles" => {
                        for name in values {
                            self.copy_files(&install, &name);
                        }
                    }
                    "addreg" => {
                        for name in values {
                            self.must_exist(&install, &key, &name);
                        }
                    }
                    "legacyuninstall" | "include" | "needs" => {}
                    "delfiles" | "renfiles" | "delreg" | "bitreg" | "updateinis" | "updateinifields" | "ini2reg"
                    | "registerdlls" | "unregisterdlls" | "profileitems" | "logconfig" | "copyinf" => {
                        self.report(1300, format!("[{install}] has {key}, a legacy directive"), ERRORS);
                    }
                    _ => self.report(
                        None,
                        format!("[{install}] has {key}, which is no directive of such a section"),
                        PRIMITIVE,
                    ),
                }
            }
            let services = format!("{install}.Services");
            if self.inf.section(&services).is_none() {
                let text = format!("there is no [{services}], so nothing starts what [{install}] installs");
                self.report(1296, text, ERRORS);
                continue;
            }
            self.refer_to(&services);
            for (key, values) in self.lines(&services) {
                if key.eq_ignore_ascii_case("AddService") {
                    self.service(&install, &services, &values);
                } else {
                    self.report(
                        1302,
                        format!("[{services}] has {key}, which changes something outside the package"),
                        ERRORS,
                    );
                }
            }
        }
    }

    fn lines(&self, section: &str) -> Vec<(String, Vec<String>)> {
        let lines = self.inf.section(section).map(|section| section.lines.as_slice()).unwrap_or_default();
        lines.iter().map(|line| (line.key.clone(), line.values.clone())).collect()
    }

    fn refer_to(&mut self, section: &str) {
        self.referenced.push(section.to_lowercase());
    }

    /// Whether the section `name`, to which a directive refers, exists.
    fn must_exist(&mut self, from: &str, directive: &str, name: &str) -> bool {
        self.refer_to(name);
        let exists = self.inf.section(name).is_some();
        if !exists {
            self.report(1203, format!("{directive} in [{from}] refers to [{name}], which does not exist"), ERRORS);
        }
        exists
    }

    /// The files that a CopyFiles entry stands for.
    fn copied_files(&self, name: &str) -> Vec<Vec<String>> {
        match name.strip_prefix('@') {
            Some(file) => vec![vec![file.to_owned()]],
            None => self.lines(name).into_iter().map(|(_, values)| values).collect(),
        }
    }

    fn copy_files(&mut self, install: &str, name: &str) {
        if !name.starts_with('@') && !self.must_exist(install, "CopyFiles", name) {
            return;
        }
        for file in self.copied_files(name) {
            let destination = file.first().cloned().unwrap_or_default();
            let source = file.get(1).filter(|source| !source.is_empty()).unwrap_or(&destination).clone();
            if source != destination {
                self.report(
                    1100,
                    format!("{source} is copied as {destination}; files keep their names in the driver store"),
                    ERRORS,
                );
            }
            let Some(disk) = self.value("SourceDisksFiles", &source) else {
                self.report(1230, format!("[SourceDisksFiles] does not have {source}, which [{name}] copies"), ERRORS);
                continue;
            };
            if self.value("SourceDisksNames", &disk).is_none() {
                let text = format!("{source} is on disk {disk}, which [SourceDisksNames] does not have");
                self.report(None, text, "INF SourceDisksFiles section");
            }
        }
    }

    fn service(&mut self, install: &str, services: &str, values: &[String]) {
        let value = |index: usize| values.get(index).map(String::as_str).unwrap_or_default();
        let (name, flags, section) = (value(0), value(1), value(2));
        let flags = number(flags).unwrap_or(0);
        if flags & 2 != 0 {
            self.report(1296, format!("service {name} is that of a device (flag 2), and there is none"), ERRORS);
        }
        if !self.must_exist(services, "AddService", section) {
            return;
        }
        for key in ["ServiceType", "StartType", "ErrorControl", "ServiceBinary"] {
            if self.value(section, key).is_none() {
                self.report(None, format!("[{section}] does not state {key}"), SERVICE);
            }
        }
        let stated = |key| self.value(section, key).and_then(|value| number(&value));
        let (kind, start, error) = (stated("ServiceType"), stated("StartType"), stated("ErrorControl"));
        if kind.is_some_and(|kind| kind != 1) {
            self.report(None, format!("[{section}] has a ServiceType other than 1, a kernel driver"), SERVICE);
        }
        if start.is_some_and(|start| start != 3) {
            self.report(None, format!("[{section}] has a StartType other than 3, on demand"), SERVICE);
        }
        if error.is_some_and(|error| error > 1) {
            self.report(
                None,
                format!("[{section}] has an ErrorControl that is for drivers without which nothing boots"),
                SERVICE,
            );
        }
        if self.value(section, "Security").is_none_or(|descriptor| !descriptor.starts_with("D:P(")) {
            let text =
                format!("[{section}] has no protected security descriptor (D:P), which says who may start and stop it");
            self.report(None, text, SERVICE);
        }
        for key in ["DelReg", "BitReg"] {
            if self.value(section, key).is_some() {
                self.report(1300, format!("[{section}] has {key}, a legacy directive"), ERRORS);
            }
        }
        for (key, values) in self.lines(section) {
            if key.eq_ignore_ascii_case("AddReg") {
                for name in values {
                    self.must_exist(section, "AddReg", &name);
                }
            }
        }
        let Some(binary) = self.value(section, "ServiceBinary") else { return };
        let Some(file) = binary.strip_prefix(r"%13%\") else {
            let text = format!("ServiceBinary is {binary}; a driver that runs from the driver store is at %13%");
            self.report(None, text, PRIMITIVE);
            return;
        };
        let copied = self.lines(install).into_iter().filter(|(key, _)| key.eq_ignore_ascii_case("CopyFiles"));
        let copied: Vec<_> = copied.flat_map(|(_, names)| names).flat_map(|name| self.copied_files(&name)).collect();
        if !copied.iter().any(|names| names.first().is_some_and(|name| name.eq_ignore_ascii_case(file))) {
            self.report(None, format!("ServiceBinary is {file}, which [{install}] does not copy"), SERVICE);
        }
    }

    fn destinations(&mut self) {
        let destinations = self.lines("DestinationDirs");
        if destinations.is_empty() {
            self.report(
                None,
                "there is no [DestinationDirs], so files have no destination",
                "INF DestinationDirs section",
            );
        }
        for (key, values) in destinations {
            if values.first().map(String::as_str) != Some("13") {
                let text = format!("{key} goes to directory {}; the driver store is 13", values.join(","));
                self.report(None, text, "InfVerif /h, File Paths");
            } else if values.len() > 1 {
                self.report(
                    1100,
                    format!("{key} goes to a folder of its own, which the driver store does not have"),
                    ERRORS,
                );
            }
            if !key.eq_ignore_ascii_case("DefaultDestDir") {
                self.must_exist("DestinationDirs", "an entry", &key);
            }
        }
    }

    /// The sections that AddReg refers to.
    fn registry(&mut self) {
        let mut names = Vec::new();
        for section in &self.inf.sections {
            names.extend(section.lines_of("AddReg").flat_map(|line| line.values.clone()));
        }
        for name in names {
            for (_, values) in self.lines(&name) {
                let root = values.first().map(|root| root.to_uppercase()).unwrap_or_default();
                let key = values.get(1).map(|key| key.to_lowercase()).unwrap_or_default();
                if key.contains(r"currentcontrolset\services") {
                    self.report(
                        1221,
                        format!("[{name}] writes to the Services key; that of the service itself is HKR"),
                        ERRORS,
                    );
                } else if root != "HKR" {
                    self.report(1304, format!("[{name}] writes to {root}, not to HKR, the service's own key"), ERRORS);
                }
            }
        }
    }

    fn unreferenced(&mut self) {
        const KNOWN: [&str; 5] = ["version", "destinationdirs", "sourcedisksnames", "sourcedisksfiles", "strings"];
        let names: Vec<String> = self.inf.sections.iter().map(|section| section.name.clone()).collect();
        for name in names {
            let lower = name.to_lowercase();
            let known = KNOWN.contains(&lower.as_str()) || lower == "manufacturer" || lower.starts_with("default");
            if !known && !self.referenced.contains(&lower) {
                self.report(2083, format!("nothing refers to [{name}]"), ERRORS);
            }
        }
    }
}

/// `[DefaultInstall.NTamd64]` and the like, without an extension.
fn is_install(name: &str) -> bool {
    let lower = name.to_lowercase();
    lower.starts_with("defaultinstall.") && is_decorated(&lower) && lower.matches('.').count() == 1
}

/// Whether the lower-case name of a section says for which architecture it is.
fn is_decorated(lower: &str) -> bool {
    let decoration = lower.split('.').nth(1).unwrap_or_default();
    ["ntamd64", "ntarm64", "nt$arch$"].contains(&decoration)
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
    let Ok([month, day, year]) =
        numbers(date, '/').as_deref().map(|date| <[u16; 3]>::try_from(date).unwrap_or_default())
    else {
        return false;
    };
    (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && year >= 2000
        && numbers(version, '.').is_ok_and(|parts| parts.len() == 4)
}

fn number(text: &str) -> Option<u32> {
    match text.to_lowercase().strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> String {
        fs::read_to_string(layout::root().join("inf/sluice.inx")).unwrap()
    }

    fn stamped() -> String {
        stamp(&ours(), Arch::X64, "11/23/2026", "1.2.3.0")
    }

    fn findings(text: &str) -> Vec<String> {
        check(text, false).iter().map(ToString::to_string).collect()
    }

    /// What is found when `from` is replaced by `to` in an INF file that nothing is wrong with.
    fn found_after(from: &str, to: &str) -> Vec<String> {
        let text = stamped();
        assert!(text.contains(from), "{from} is not in the file");
        findings(&text.replace(from, to))
    }

    #[track_caller]
    fn finds(from: &str, to: &str, expected: &str) {
        let found = found_after(from, to);
        assert!(found.iter().any(|finding| finding.starts_with(expected)), "{expected} is not among {found:#?}");
    }

    #[test]
    fn our_files_are_good_before_and_after_stamping() {
        for name in ["sluice.inx", "probe.inx"] {
            let text = fs::read_to_string(layout::root().join("inf").join(name)).unwrap();
            assert_eq!(check(&text, true), [], "{name}");
            for arch in [Arch::X64, Arch::Arm64] {
                assert_eq!(check(&stamp(&text, arch, "11/23/2026", "1.2.3.0"), false), [], "{name}, {arch}");
            }
        }
    }

    #[test]
    fn stamping_fills_in_architecture_and_version() {
        let text = stamp(&ours(), Arch::Arm64, "11/23/2026", "1.2.3.4");
        assert!(text.contains("[DefaultInstall.NTarm64.Services]\r\n"));
        assert!(text.contains("DriverVer   = 11/23/2026,1.2.3.4\r\n"));
        assert!(findings(&ours()).iter().any(|finding| finding.starts_with("$ARCH$ stands for")));
    }

    #[test]
    fn the_version_section_is_checked() {
        finds("$WINDOWS NT$", "$WINDOWS 95$", "Signature is \"$WINDOWS 95$\"");
        finds("Class       = System", "", "[Version] does not state Class,");
        finds("Provider    = %Provider%", "", "[Version] does not state Provider");
        finds("{4D36E97D-", "{4D36E97-", "ClassGuid {4D36E97-");
        finds("\"The Sluice developers\"", "\"Microsoft\"", "1204:");
        finds("CatalogFile = sluice.cat", "", "1233:");
        finds("PnpLockdown = 1", "PnpLockdown = 0", "PnpLockdown is not 1");
        finds("11/23/2026,1.2.3.0", "2026-11-23,1.2.3.0", "DriverVer is");
        finds("11/23/2026,1.2.3.0", "11/23/2026,1.2.3", "DriverVer is");
        finds("11/23/2026,1.2.3.0", "", "DriverVer is");
    }

    #[test]
    fn sections_that_a_primitive_driver_does_not_have_are_found() {
        finds("[Strings]", "[Manufacturer]\n[Strings]", "1212:");
        finds("[Strings]", "[ClassInstall32]\n[Strings]", "1285:");
        finds("[Strings]", "[DefaultInstall.NTamd64.CoInstallers]\n[Strings]", "1300:");
        finds("[DefaultInstall.NTamd64]", "[DefaultInstall]", "[DefaultInstall] names no architecture");
        finds("[DefaultInstall.NTamd64]", "[Other]", "1297:");
        finds(
            "[Strings]",
            "[DefaultUninstall.NTamd64]\nDelFiles = X\n[Strings]",
            "[DefaultUninstall.NTamd64] is not allowed",
        );
        let legacy = found_after("[Strings]", "[DefaultUninstall.NTamd64]\nLegacyUninstall = 1\n[Strings]");
        assert_eq!(legacy, Vec::<String>::new());
    }

    #[test]
    fn directives_that_are_legacy_or_unknown_are_found() {
        for directive in ["DelFiles", "DelReg", "RegisterDlls", "LogConfig"] {
            finds("CopyFiles = ", &format!("{directive} = Sluice.Files\nCopyFiles = "), "1300:");
        }
        finds("CopyFiles = ", "CopyFlies = X\nCopyFiles = ", "[DefaultInstall.NTamd64] has CopyFlies");
        finds("AddService = ", "DelService = sluice\nAddService = ", "1302:");
        finds("ServiceType    =", "DelReg = X\nServiceType    =", "1300:");
    }

    #[test]
    fn sections_that_are_missing_or_that_nothing_refers_to_are_found() {
        finds(
            "[Sluice.Files]",
            "[Sluice.Flies]",
            "1203: CopyFiles in [DefaultInstall.NTamd64] refers to [Sluice.Files]",
        );
        finds("[Sluice.Files]", "[Sluice.Flies]", "2083: nothing refers to [Sluice.Flies]");
        finds("[Sluice.Service]", "[Sluice.Servile]", "1203: AddService");
        finds("[DefaultInstall.NTamd64.Services]", "[Other]", "1296:");
        finds("DefaultDestDir = 13", "DefaultDestDir = 13\nOther = 13", "1203: an entry");
    }

    #[test]
    fn files_are_followed_from_their_source_to_the_driver_store() {
        finds("sluice.sys = 1", "other.sys = 1", "1230:");
        finds("sluice.sys = 1", "sluice.sys = 2", "sluice.sys is on disk 2");
        finds("[Sluice.Files]\r\nsluice.sys", "[Sluice.Files]\r\nsluice.sys,built.sys", "1100:");
        finds("DefaultDestDir = 13", "DefaultDestDir = 12", "DefaultDestDir goes to directory 12");
        finds("DefaultDestDir = 13", "DefaultDestDir = 13,Sub", "1100:");
        finds("[DestinationDirs]\r\nDefaultDestDir = 13", "", "there is no [DestinationDirs]");
        assert_eq!(
            found_after("CopyFiles = Sluice.Files", "CopyFiles = @sluice.sys").len(),
            1,
            "only the unused section"
        );
    }

    #[test]
    fn the_service_is_checked() {
        for key in ["ServiceType", "StartType", "ErrorControl", "ServiceBinary"] {
            finds(&format!("\n{key}"), "\nOther", &format!("[Sluice.Service] does not state {key}"));
        }
        finds("ServiceType    = 1", "ServiceType    = 0x10", "[Sluice.Service] has a ServiceType");
        finds("StartType      = 3", "StartType      = 0", "[Sluice.Service] has a StartType");
        finds("ErrorControl   = 1", "ErrorControl   = 3", "[Sluice.Service] has an ErrorControl");
        finds("\"D:P(", "\"D:(", "[Sluice.Service] has no protected security descriptor");
        finds(r"%13%\sluice.sys", r"%12%\sluice.sys", "ServiceBinary is %12%");
        finds(r"%13%\sluice.sys", r"%13%\other.sys", "ServiceBinary is other.sys, which");
        finds("sluice,,", "sluice,0x2,", "1296:");
    }

    #[test]
    fn strings_are_checked() {
        finds("%Description%", "%Descriptoin%", "1235: %Descriptoin%");
        finds("%Description%", "\"text\"", "2083: %description% is defined");
        assert_eq!(found_after("= %Description%", "= %Description% 100%% of it"), Vec::<String>::new());
    }

    #[test]
    fn registry_writes_outside_the_service_are_found() {
        let add = |line: &str| {
            format!(
                "AddReg = Sluice.Registry\r\nLoadOrderGroup = NDIS\r\n[Sluice.Registry]\r\n{line}\r\n[Sluice.Service]"
            )
        };
        let with = |line: &str| found_after("LoadOrderGroup = NDIS", &add(line));
        assert_eq!(with(r#"HKR,Parameters,Limit,0x10001,1"#), Vec::<String>::new());
        assert!(with(r#"HKLM,"Software\Sluice",Limit,0x10001,1"#)[0].starts_with("1304:"));
        assert!(with(r#"HKLM,SYSTEM\CurrentControlSet\Services\sluice,Limit,0x10001,1"#)[0].starts_with("1221:"));
    }

    #[test]
    fn the_syntax_of_inf_files_is_read() {
        let inf = Inf::parse("[A] ; comment\nkey = \"a;b,c=d\", \\\n  second ; comment\nplain\n[B]\n[a]\nmore = 1\n");
        let section = inf.section("A").unwrap();
        assert_eq!(section.lines.len(), 3, "a section in two parts is one");
        assert_eq!(section.lines[0].values, ["a;b,c=d", "second"]);
        assert_eq!((section.lines[1].key.as_str(), &section.lines[1].values[..]), ("", &["plain".to_owned()][..]));
        assert_eq!(section.value("MORE"), Some("1"));
    }
}
