//! Code of a Rust driver that may panic. In a kernel, a panic stops the machine.
//!
//! The linker leaves out what no code reaches (`/OPT:REF`), so every call of a function that panics is one that the
//! driver can make. Calls through pointers are not seen, nor is a panic that was inlined down to its trap.

use super::calls::calls;
use super::pdb::Symbols;
use super::{Check, Finding, Image};

const SOURCE: &str = "Rust standard library, panic!";

/// Functions that may panic although the rest of the driver may not, since few call them.
///
/// A function is named by a part of its path that begins and ends with whole words: `wdk::print` stands for every
/// function in that module, `driver_entry` for that of any crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MayPanic {
    /// The functions.
    pub function: String,
    /// Who may call them, beside themselves.
    pub callers: Vec<String>,
}

impl MayPanic {
    /// One function, and who may call it.
    #[must_use]
    pub fn new(function: &str, callers: &[&str]) -> Self {
        Self { function: function.to_owned(), callers: callers.iter().map(|caller| (*caller).to_owned()).collect() }
    }

    /// wdk's formatter, which DbgPrint goes through, where a driver starts and stops: every driver that prints has it.
    #[must_use]
    pub fn printing() -> [Self; 2] {
        let callers = ["DriverEntry", "driver_entry", "driver_unload", "driver_exit", "wdk::fmt", "wdk::print"];
        ["wdk::print", "wdk::fmt"].map(|function| Self::new(function, &callers))
    }

    fn is_about(&self, name: &str) -> bool {
        names(&self.function, name)
    }

    fn lets(&self, caller: &str) -> bool {
        self.is_about(caller) || self.callers.iter().any(|allowed| names(allowed, caller))
    }
}

/// Whether `part` is a part of the path `name`, in whole words.
pub(super) fn names(part: &str, name: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    name.match_indices(part).any(|(start, _)| {
        !name[..start].ends_with(is_word) && !name[start + part.len()..].starts_with(is_word) && !part.is_empty()
    })
}

/// Whether a function of this name ends in a panic whenever it is called.
fn panics(name: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "core::panicking::",
        "core::option::unwrap_failed",
        "core::option::expect_failed",
        "core::result::unwrap_failed",
        "core::cell::panic_",
        "core::str::slice_error_fail",
        "core::slice::copy_from_slice_impl::len_mismatch_fail",
        "alloc::alloc::handle_alloc_error",
        "alloc::raw_vec::handle_error",
        "alloc::raw_vec::capacity_overflow",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name.starts_with("core::slice::index::") && name.contains("_fail")
}

pub(super) fn check(image: &Image<'_>, symbols: &Symbols, may_panic: &[MayPanic], findings: &mut Vec<Finding>) {
    let calls = calls(image, symbols);
    for (address, name) in &symbols.functions {
        let exception = may_panic.iter().find(|exception| exception.is_about(name));
        if !panics(name) && exception.is_none() {
            continue;
        }
        let is_allowed = |caller: &str| {
            let exempt = match exception {
                Some(exception) => exception.lets(caller),
                None => may_panic.iter().any(|exception| exception.is_about(caller)),
            };
            exempt || panics(caller)
        };
        let callers = calls.iter().filter(|call| call.to == *address);
        let callers = callers.filter_map(|call| symbols.function_at(call.from)).map(|(_, name)| name.as_str());
        let mut callers: Vec<&str> = callers.filter(|caller| !is_allowed(caller)).collect();
        callers.sort_unstable();
        callers.dedup();
        if !callers.is_empty() {
            let why = exception.map_or_else(
                || "a panic in a driver stops the machine".to_owned(),
                |exception| format!("since it can panic, only {} may call it", exception.callers.join(", ")),
            );
            let text = format!("{name} is called by {}, and {why}", listed(&callers));
            findings.push(Finding::new(Check::Panics, text, SOURCE));
        }
    }
}

/// The first three names, and how many more there are.
fn listed(names: &[&str]) -> String {
    match names {
        [_, _, _, more @ ..] if !more.is_empty() => format!("{} and {} more", names[..3].join(", "), more.len()),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Driver, findings, one_finding};
    use super::*;

    /// `core::panicking::panic` at 0x1080, and `first` at 0x1000 with `code`.
    fn with_code(driver: Driver, code: &[u8]) -> Driver {
        let mut driver = driver;
        driver.code = code.to_vec();
        if let Ok(symbols) = &mut driver.symbols {
            symbols.functions = vec![(0x1000, "sluice::classify".into()), (0x1080, "core::panicking::panic".into())];
        }
        driver
    }

    #[test]
    fn a_call_that_panics_is_found_with_its_caller() {
        let driver = with_code(Driver::new(), &[0x90, 0xe8, 0x7a, 0, 0, 0]);
        assert!(one_finding(&driver).starts_with("core::panicking::panic is called by sluice::classify, and a panic"));
        let elsewhere = with_code(Driver::new(), &[0x90, 0xe8, 0x7b, 0, 0, 0]);
        assert_eq!(findings(&elsewhere), Vec::<String>::new());
    }

    #[test]
    fn conditional_jumps_and_tail_calls_that_panic_are_found() {
        for code in [&[0xe9, 0x7b, 0, 0, 0][..], &[0x0f, 0x84, 0x7a, 0, 0, 0]] {
            assert!(one_finding(&with_code(Driver::new(), code)).starts_with("core::panicking::panic is called by"));
        }
    }

    #[test]
    fn calls_that_panic_are_found_on_arm64() {
        // BL, B, B.EQ and CBZ, each 32 instructions ahead.
        for instruction in [0x9400_0020_u32, 0x1400_0020, 0x5400_0400, 0xb400_0400] {
            let driver = with_code(Driver::arm64(), &instruction.to_le_bytes());
            assert!(one_finding(&driver).starts_with("core::panicking::panic is called by"), "{instruction:#x}");
        }
    }

    #[test]
    fn a_function_that_may_panic_is_only_for_some_callers() {
        let calling = |callee: &str, caller: &str| {
            let mut driver = with_code(Driver::new(), &[0x90, 0xe8, 0x7a, 0, 0, 0]);
            if let Ok(symbols) = &mut driver.symbols {
                symbols.functions = vec![(0x1000, caller.into()), (0x1080, callee.into())];
            }
            let callers = ["DriverEntry", "driver_entry"].map(str::to_owned).to_vec();
            driver.expectations.may_panic = vec![MayPanic { function: "wdk::print".into(), callers }];
            findings(&driver)
        };
        let none = Vec::<String>::new();
        assert_eq!(calling("wdk::print::_print", "sluice::driver_entry"), none);
        assert_eq!(calling("core::panicking::panic", "<wdk::print::Buffer as core::fmt::Write>::write_str"), none);
        let found = calling("wdk::print::_print", "sluice::classify");
        let text =
            "wdk::print::_print is called by sluice::classify, and since it can panic, only DriverEntry, driver_entry";
        assert!(found[0].starts_with(text), "{found:?}");
        assert!(calling("core::panicking::panic", "sluice::driver_entry")[0].contains("stops the machine"));
    }

    #[test]
    fn a_function_is_named_by_whole_words() {
        assert!(names("wdk::print", "wdk::print::_print"));
        assert!(names("DriverEntry", "DriverEntry"));
        assert!(names("trace::start", "sluice::trace::start::closure$0"));
        assert!(!names("wdk::print", "my_wdk::print"));
        assert!(!names("trace::start", "sluice::trace::start_session"));
        assert!(!names("", "anything"));
    }

    #[test]
    fn many_callers_are_counted() {
        assert_eq!(listed(&["a", "b", "c"]), "a, b, c");
        assert_eq!(listed(&["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }

    #[test]
    fn only_what_always_panics_is_taken_for_it() {
        assert!(panics("core::panicking::panic_bounds_check"));
        assert!(panics("core::slice::index::slice_index_fail"));
        assert!(panics("core::slice::index::slice_start_index_len_fail"));
        assert!(!panics("core::slice::index::range"));
        assert!(!panics("sluice_core::parse"));
    }
}
