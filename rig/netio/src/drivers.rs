//! The drivers that are loaded after netio.sys: who they are, and where in memory.

use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::fmt;
use core::ptr::{null, null_mut};

use crate::lock::Lock;
use crate::sys;

/// Names one loading of one driver image; never used again, so that a late event is not credited to a successor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(transparent)]
pub(crate) struct DriverId(pub(crate) u32);

/// A driver image in memory.
#[derive(Clone)]
pub(crate) struct Driver {
    pub(crate) id: DriverId,
    /// The file name without `.sys`, in small letters.
    pub(crate) name: String,
    pub(crate) base: usize,
    pub(crate) size: usize,
}

struct Table {
    next: u32,
    loaded: Vec<Driver>,
    /// The names of all that were ever loaded, by id.
    names: Vec<String>,
}

static TABLE: Lock<Table> = Lock::new(Table { next: 0, loaded: Vec::new(), names: Vec::new() });

/// Notes that an image was loaded.
pub(crate) fn add(name: String, base: usize, size: usize) -> Driver {
    TABLE.with(|table| {
        let driver = Driver { id: DriverId(table.next), name, base, size };
        table.next += 1;
        table.names.push(driver.name.clone());
        table.loaded.push(driver.clone());
        driver
    })
}

/// The driver whose image begins at `base`.
pub(crate) fn at(base: usize) -> Option<Driver> {
    TABLE.with(|table| table.loaded.iter().find(|driver| driver.base == base).cloned())
}

/// Notes that the image of a driver is gone.
pub(crate) fn remove(id: DriverId) {
    TABLE.with(|table| table.loaded.retain(|driver| driver.id != id));
}

/// The name of a driver, loaded or not.
pub(crate) fn name(id: DriverId) -> String {
    TABLE.with(|table| table.names.get(id.0 as usize).cloned().unwrap_or_default())
}

/// Where the image of a loaded driver begins.
pub(crate) fn base(id: DriverId) -> Option<usize> {
    TABLE.with(|table| table.loaded.iter().find(|driver| driver.id == id).map(|driver| driver.base))
}

/// How far into the image of a loaded driver an address lies. Where a call returns to need not be there: one that the
/// compiler has turned into a jump returns to whoever called the driver.
pub(crate) fn offset(id: DriverId, address: usize) -> Option<usize> {
    TABLE.with(|table| {
        let driver = table.loaded.iter().find(|driver| driver.id == id)?;
        Some(address.wrapping_sub(driver.base)).filter(|offset| *offset < driver.size)
    })
}

/// An address in the image of a driver, shown as the distance from its beginning; another is shown as a word.
pub(crate) struct Place(pub(crate) DriverId, pub(crate) usize);

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match offset(self.0, self.1) {
            Some(offset) => write!(out, "{offset:#x}"),
            None => out.write_str("elsewhere"),
        }
    }
}

/// The driver whose image contains `address`.
pub(crate) fn containing(address: usize) -> Option<DriverId> {
    TABLE.with(|table| {
        let driver = table.loaded.iter().find(|driver| address.wrapping_sub(driver.base) < driver.size)?;
        Some(driver.id)
    })
}

/// The driver that called into this one: the innermost on the stack of the calling thread.
pub(crate) fn calling() -> Option<String> {
    calling_place().map(|(driver, _)| name(driver))
}

/// The same, and where the call returns to.
pub(crate) fn calling_place() -> Option<(DriverId, usize)> {
    const DEPTH: usize = 48;
    let mut frames = [null::<c_void>(); DEPTH];
    // SAFETY: room for DEPTH frames; no hash is asked for.
    let count = unsafe { sys::RtlCaptureStackBackTrace(0, DEPTH as u32, frames.as_mut_ptr(), null_mut()) };
    let frames = frames[..usize::from(count)].iter().map(|&frame| frame as usize);
    frames.into_iter().find_map(|frame| containing(frame).map(|driver| (driver, frame)))
}
