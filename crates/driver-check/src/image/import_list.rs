//! The functions that a driver may import.

use std::collections::BTreeMap;
use std::fmt;

/// Which functions a driver may import, and the oldest Windows that has to have them.
///
/// The text of a list has a line for each function: the module, the function, and the first build of Windows that
/// exports it, as its page in the DDI reference says ("Minimum supported client"). Lines that start with `#` are
/// comments.
///
/// ```
/// let list = driver_check::image::ImportList::parse("ntoskrnl.exe ExAllocatePool2 19041\n", 19041)?;
/// # Ok::<(), driver_check::image::ImportListError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ImportList {
    /// Function to build, by the lower-case name of the module.
    modules: BTreeMap<String, BTreeMap<String, u32>>,
    oldest_build: u32,
}

/// A line of a list that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportListError {
    /// Counted from 1.
    line: usize,
    problem: String,
}

impl fmt::Display for ImportListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for ImportListError {}

impl ImportList {
    /// Reads a list. The driver has to be loaded by `oldest_build` of Windows and everything later.
    ///
    /// # Errors
    /// A line is malformed, or names a function for the second time.
    pub fn parse(text: &str, oldest_build: u32) -> Result<Self, ImportListError> {
        let mut modules = BTreeMap::<String, BTreeMap<_, _>>::new();
        for (line, text) in (1..).zip(text.lines()) {
            if text.trim().is_empty() || text.starts_with('#') {
                continue;
            }
            let problem = |problem| ImportListError { line, problem };
            let words: Vec<&str> = text.split_whitespace().collect();
            let &[module, function, build] = words.as_slice() else {
                return Err(problem(format!("expected a module, a function and a build, found {text:?}")));
            };
            let Ok(first_build) = build.parse() else {
                return Err(problem(format!("expected the number of a build, found {build:?}")));
            };
            let functions = modules.entry(module.to_lowercase()).or_default();
            if functions.insert(function.to_owned(), first_build).is_some() {
                return Err(problem(format!("{function} of {module} is listed twice")));
            }
        }
        Ok(Self { modules, oldest_build })
    }

    /// The modules, in lower case.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.modules.keys().map(String::as_str)
    }

    /// The functions of a module.
    pub fn functions(&self, module: &str) -> impl Iterator<Item = &str> {
        let functions = self.modules.get(&module.to_lowercase());
        functions.into_iter().flat_map(BTreeMap::keys).map(String::as_str)
    }

    /// Why a function must not be imported from a module of the list.
    pub(super) fn objection(&self, module: &str, function: &str) -> Option<String> {
        let oldest = self.oldest_build;
        match self.modules.get(&module.to_lowercase())?.get(function) {
            None => Some("which is not in the list of imports".to_owned()),
            Some(first) if *first > oldest => Some(format!(
                "which build {first} of Windows exports first, and the driver is for build {oldest} and later"
            )),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_line_by_line() {
        let list = ImportList::parse("# builds\n\nNETIO.SYS NmrRegisterClient 6000\r\nhal.dll X 7600\n", 7600).unwrap();
        assert_eq!(list.modules().collect::<Vec<_>>(), ["hal.dll", "netio.sys"]);
        assert_eq!(list.functions("Netio.sys").collect::<Vec<_>>(), ["NmrRegisterClient"]);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        let error = |text| ImportList::parse(text, 0).unwrap_err().to_string();
        assert_eq!(error("#\nhal.dll X"), r#"line 2: expected a module, a function and a build, found "hal.dll X""#);
        assert_eq!(error("hal.dll X vista"), r#"line 1: expected the number of a build, found "vista""#);
        assert_eq!(error("hal.dll X 1\nHAL.dll X 2"), "line 2: X of HAL.dll is listed twice");
    }

    #[test]
    fn a_function_is_allowed_from_the_build_on_that_exports_it() {
        let objection = |build| ImportList::parse("hal.dll X 22621", build).unwrap().objection("HAL.DLL", "X");
        assert_eq!(objection(22621), None);
        assert!(objection(19041).unwrap().starts_with("which build 22621 of Windows exports first"));
    }
}
