//! How much of the kernel's stack the image takes: in one frame, and on the deepest path from a function.
//!
//! Paths follow the direct calls and jumps of the code. What a call through a pointer leads to, the kernel's functions
//! among it, is not seen.

use std::collections::BTreeMap;

use object::LittleEndian as LE;
use object::pe::IMAGE_FILE_MACHINE_ARM64;

use super::calls::{Call, calls};
use super::pdb::Symbols;
use super::unwind::{self, Frame};
use super::{Check, Finding, Image, panics};

const FRAME: &str = "Using the Kernel Stack";
const DATA: &str = "PE Format, The .pdata Section";

/// How much stack a function may take, with all that it calls.
///
/// The function is named by a part of its path, as in [`super::MayPanic`]. One that is called `my::classify` may be
/// there several times, for several types; each is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackLimit {
    /// The function.
    pub function: String,
    /// The most that it may take, in bytes.
    pub bytes: u32,
}

pub(super) fn check(
    image: &Image<'_>,
    symbols: &Symbols,
    frame_limit: Option<u32>,
    limits: &[StackLimit],
    findings: &mut Vec<Finding>,
) {
    let frames = match unwind::frames(image) {
        Ok(frames) => frames,
        Err(error) => {
            let text = format!("the exception table cannot be read ({error}), so no exception can be handled");
            findings.push(Finding::new(Check::Stack, text, DATA));
            return;
        }
    };
    if let Some(limit) = frame_limit {
        for Frame { start, size } in frames.iter().filter(|frame| frame.size > limit) {
            let text = format!(
                "{} takes {size} bytes of stack in one frame, and at most {limit} are allowed",
                symbols.function_at(*start).map_or_else(|| format!("the code at {start:#x}"), |(_, name)| name.clone())
            );
            findings.push(Finding::new(Check::Stack, text, FRAME));
        }
    }
    if limits.is_empty() {
        return;
    }
    let mut paths = Paths::new(image, symbols, &frames);
    for limit in limits {
        let mut functions =
            symbols.functions.iter().filter(|(_, name)| panics::names(&limit.function, name)).peekable();
        if functions.peek().is_none() {
            let text = format!("the image has no function {}, whose stack is to be limited", limit.function);
            findings.push(Finding::new(Check::Stack, text, FRAME));
        }
        for (start, name) in functions {
            let text = match paths.deepest(*start) {
                Depth::Unending => format!("{name} may call itself, so nobody can tell how much stack it takes"),
                Depth::Bytes(bytes) if bytes > limit.bytes => format!(
                    "{name} takes {bytes} bytes of stack, and at most {} are allowed: {}",
                    limit.bytes,
                    paths.described(*start)
                ),
                Depth::Bytes(_) => continue,
            };
            findings.push(Finding::new(Check::Stack, text, FRAME));
        }
    }
}

/// How deep the stack gets from a function on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    Bytes(u32),
    /// It is called on its own path.
    Unending,
}

/// The paths from function to function.
struct Paths<'a> {
    symbols: &'a Symbols,
    /// What each function takes itself: where it starts, and its largest frame, with the return address.
    frames: BTreeMap<u32, u32>,
    /// Who is called by whom, in the order of the callers.
    calls: Vec<Call>,
    return_address: u32,
    /// For each function that has been looked at the deepest path, and where it goes next. While it is looked at:
    /// unending.
    known: BTreeMap<u32, (Depth, Option<u32>)>,
}

impl<'a> Paths<'a> {
    fn new(image: &Image<'_>, symbols: &'a Symbols, frames: &[Frame]) -> Self {
        let is_arm64 = image.headers.file_header.machine.get(LE) == IMAGE_FILE_MACHINE_ARM64;
        let return_address = if is_arm64 { 0 } else { 8 };
        let mut of_functions = BTreeMap::new();
        for frame in frames {
            // A part of a function has a frame of its own, and no name.
            let start = symbols.function_at(frame.start).map_or(frame.start, |(start, _)| *start);
            let largest: &mut u32 = of_functions.entry(start).or_default();
            *largest = (*largest).max(frame.size + return_address);
        }
        let mut calls = calls(image, symbols);
        // A jump within a function is none to another one. A call of itself is a recursion.
        calls.retain(|call| call.returns || call.from != call.to);
        Self { symbols, frames: of_functions, calls, return_address, known: BTreeMap::new() }
    }

    fn deepest(&mut self, function: u32) -> Depth {
        if let Some((depth, _)) = self.known.get(&function) {
            return *depth;
        }
        self.known.insert(function, (Depth::Unending, None));
        let own = self.frames.get(&function).copied().unwrap_or(self.return_address);
        let first = self.calls.partition_point(|call| call.from < function);
        let calls = self.calls[first..].iter().take_while(|call| call.from == function);
        let calls: Vec<Call> = calls.copied().collect();
        let mut deepest = (Depth::Bytes(own), None);
        for Call { to, returns, .. } in calls {
            let depth = match self.deepest(to) {
                // A jump to another function is a call at the very end: the frame is gone.
                Depth::Bytes(bytes) => Depth::Bytes(if returns { own + bytes } else { bytes }),
                Depth::Unending => Depth::Unending,
            };
            deepest = deepest.max((depth, Some(to)));
        }
        self.known.insert(function, deepest);
        deepest.0
    }

    /// The functions on the deepest path, each with what it takes.
    fn described(&self, from: u32) -> String {
        let mut next = Some(from);
        let path = std::iter::from_fn(|| {
            let function = next?;
            next = self.known.get(&function).and_then(|(_, next)| *next);
            let own = self.frames.get(&function).copied().unwrap_or(self.return_address);
            let name = self.symbols.function_at(function).map_or("?", |(_, name)| name);
            Some(format!("{} {own}", name.split_once('<').map_or(name, |(name, _)| name)))
        });
        path.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Driver, findings, one_finding};
    use super::*;

    /// `classify` at 0x1000 calls or jumps to `judge` at 0x1080 with the instruction `code`. Their frames are of 0x108
    /// and 0x208 bytes.
    fn driver(code: &[u8]) -> Driver {
        let mut driver = Driver { code: code.to_vec(), ..Driver::new() };
        driver.code.resize(0x100, 0xc3);
        // UNWIND_INFO for each: one ALLOC_LARGE.
        for eighths in [0x21_u16, 0x41] {
            driver.code.extend([1, 0, 2, 0, 7, 1]);
            driver.code.extend(eighths.to_le_bytes());
        }
        let table = [0x1000_u32, 0x1080, 0x1100, 0x1080, 0x1100, 0x1108];
        driver.code.extend(table.into_iter().flat_map(u32::to_le_bytes));
        driver.directories.push((object::pe::IMAGE_DIRECTORY_ENTRY_EXCEPTION, 0x1110, 24));
        if let Ok(symbols) = &mut driver.symbols {
            symbols.functions = vec![(0x1000, "sluice::classify".into()), (0x1080, "sluice::judge".into())];
        }
        driver
    }

    const CALL: &[u8] = &[0x90, 0xe8, 0x7a, 0, 0, 0];
    const JUMP: &[u8] = &[0x90, 0xe9, 0x7a, 0, 0, 0];

    #[test]
    fn a_frame_above_the_limit_is_found_with_its_function() {
        let mut driver = driver(CALL);
        driver.expectations.frame_limit = Some(0x208);
        assert_eq!(findings(&driver), Vec::<String>::new());
        driver.expectations.frame_limit = Some(0x207);
        assert!(
            one_finding(&driver).starts_with("sluice::judge takes 520 bytes of stack in one frame, and at most 519")
        );
    }

    #[test]
    fn the_frames_on_a_path_are_added_with_their_return_addresses() {
        let mut driver = driver(CALL);
        let deepest = 0x108 + 8 + 0x208 + 8;
        driver.expectations.stack_limits = vec![StackLimit { function: "classify".into(), bytes: deepest }];
        assert_eq!(findings(&driver), Vec::<String>::new());
        driver.expectations.stack_limits[0].bytes -= 1;
        let found = one_finding(&driver);
        assert!(
            found.contains("takes 800 bytes of stack, and at most 799 are allowed: sluice::classify 272, "),
            "{found}"
        );
        assert!(found.contains("sluice::judge 528"), "{found}");
    }

    #[test]
    fn each_function_on_a_path_is_followed() {
        let mut driver = driver(CALL);
        // `judge` calls `mask` at 0x10c0, which has no frame.
        driver.code[0x80..0x85].copy_from_slice(&[0xe8, 0x3b, 0, 0, 0]);
        if let Ok(symbols) = &mut driver.symbols {
            symbols.functions.push((0x10c0, "sluice::mask".into()));
        }
        for (function, bytes) in [("classify", 0x108 + 8 + 0x208 + 8 + 8), ("judge", 0x208 + 8 + 8), ("mask", 8)] {
            driver.expectations.stack_limits = vec![StackLimit { function: function.into(), bytes }];
            assert_eq!(findings(&driver), Vec::<String>::new());
            driver.expectations.stack_limits[0].bytes -= 1;
            let found = one_finding(&driver);
            assert!(found.starts_with(&format!("sluice::{function} takes {bytes} bytes of stack")), "{found}");
        }
    }

    #[test]
    fn a_jump_to_another_function_leaves_the_frame() {
        let mut driver = driver(JUMP);
        driver.expectations.stack_limits = vec![StackLimit { function: "classify".into(), bytes: 0x208 + 8 }];
        assert_eq!(findings(&driver), Vec::<String>::new());
        driver.expectations.stack_limits[0].bytes -= 1;
        assert!(one_finding(&driver).contains("takes 528 bytes of stack"));
    }

    #[test]
    fn a_limit_of_a_function_that_is_not_there_is_found() {
        let mut driver = driver(CALL);
        driver.expectations.stack_limits = vec![StackLimit { function: "classified".into(), bytes: 1 }];
        assert!(one_finding(&driver).starts_with("the image has no function classified, whose stack"));
    }

    #[test]
    fn a_recursion_is_found() {
        // call -6, which is its own start but for the first byte.
        let mut driver = driver(&[0xe8, 0xfb, 0xff, 0xff, 0xff]);
        driver.expectations.stack_limits = vec![StackLimit { function: "classify".into(), bytes: 10_000 }];
        assert!(one_finding(&driver).starts_with("sluice::classify may call itself"));
    }

    #[test]
    fn a_table_that_makes_no_sense_is_found() {
        let mut driver = driver(CALL);
        driver.code[0x105] = 0x0f;
        driver.expectations.frame_limit = Some(10_000);
        assert!(one_finding(&driver).starts_with("the exception table cannot be read (the entry for the function at"));
    }
}
