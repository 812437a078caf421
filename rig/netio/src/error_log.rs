//! The error log of the I/O manager, which Wine does not have: what drivers write to the System log becomes a line
//! each, with the code of its message and its strings.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::fmt::Write;

use crate::bugcheck::{bug_check, code};
use crate::drivers::{self, DriverId};
use crate::lock::Lock;
use crate::{log, thunk};

/// `ERROR_LOG_MAXIMUM_SIZE` of a 64-bit kernel.
const MAX_SIZE: usize = 240;
/// The fields of `IO_ERROR_LOG_PACKET` that are read here, and how large it is without strings.
const STRING_COUNT: usize = 4;
const STRINGS_OFFSET: usize = 6;
const ERROR_CODE: usize = 12;
const SIZE: usize = 48;

/// An entry that has been allocated and not written.
struct Entry {
    driver: DriverId,
    words: Box<[u64]>,
    size: usize,
}

/// By address.
static ENTRIES: Lock<BTreeMap<usize, Entry>> = Lock::new(BTreeMap::new());

/// IoAllocateErrorLogEntry.
pub(crate) extern "system" fn allocate(object: *const c_void, size: u8) -> *mut c_void {
    let (caller, size) = (thunk::caller(), usize::from(size));
    if object.is_null() || !(SIZE..=MAX_SIZE).contains(&size) {
        bug_check(caller, code::VERIFIER, format_args!("an entry of {size} bytes for the error log, of {object:p}"));
    }
    // What the I/O manager gives is not cleared.
    let mut words = vec![0xCCCC_CCCC_CCCC_CCCC_u64; size.div_ceil(8)].into_boxed_slice();
    let address = words.as_mut_ptr();
    ENTRIES.with(|entries| entries.insert(address as usize, Entry { driver: caller, words, size }));
    address.cast()
}

/// IoWriteErrorLogEntry.
pub(crate) extern "system" fn write(entry: *mut c_void) {
    let caller = thunk::caller();
    let Some(Entry { driver, words, size }) = ENTRIES.with(|entries| entries.remove(&(entry as usize))) else {
        bug_check(caller, code::VERIFIER, format_args!("{entry:p} written to the error log, which is no entry of it"));
    };
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).take(size).collect();
    let Some((message, strings)) = read(&bytes) else {
        bug_check(caller, code::VERIFIER, format_args!("strings of an entry of the error log lie outside of it"));
    };
    let mut properties = String::new();
    // Writing to a String does not fail. The first string of a message is the I/O manager's.
    for (number, string) in (2..).zip(strings) {
        let _ = write!(properties, " s{number}={}", log::Text(string.as_bytes()));
    }
    log::event(&drivers::name(driver), "event_log", format_args!("code={message:#010x}{properties}"));
}

/// The code of the message, and the strings of an entry. None if they do not lie in it.
fn read(entry: &[u8]) -> Option<(u32, Vec<String>)> {
    let half = |at: usize| Some(usize::from(u16::from_ne_bytes(*entry.get(at..)?.first_chunk()?)));
    let message = u32::from_ne_bytes(*entry.get(ERROR_CODE..)?.first_chunk()?);
    let units = entry.get(half(STRINGS_OFFSET)?..)?.as_chunks().0.iter().map(|unit| u16::from_ne_bytes(*unit));
    let units: Vec<u16> = units.collect();
    let mut rest = &units[..];
    let mut strings = Vec::new();
    for _ in 0..half(STRING_COUNT)? {
        let end = rest.iter().position(|unit| *unit == 0)?;
        strings.push(String::from_utf16_lossy(&rest[..end]));
        rest = &rest[end + 1..];
    }
    Some((message, strings))
}
