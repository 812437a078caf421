//! Entries in the System log, by the error log of the I/O manager.

use core::fmt;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU32};

use wdk_sys::ntddk::{IoAllocateErrorLogEntry, IoWriteErrorLogEntry};
use wdk_sys::{DRIVER_OBJECT, IO_ERROR_LOG_PACKET};

use crate::error_log::{MAX_ENTRY, STRINGS_OFFSET, Strings};

const _: () = assert!(core::mem::offset_of!(IO_ERROR_LOG_PACKET, DumpData) == STRINGS_OFFSET);
/// The size of an entry is passed as one byte.
const _: () = assert!(MAX_ENTRY <= u8::MAX as usize && size_of::<IO_ERROR_LOG_PACKET>() <= MAX_ENTRY);

/// The System log, for one driver, whose service is the source of its entries.
///
/// An entry needs memory of the I/O manager, which gives only so much to entries that are still to be written. If there
/// is none, the driver does without ("IoAllocateErrorLogEntry"), and the entry is counted; a later one says how many
/// are missing.
pub struct ErrorLog {
    driver: AtomicPtr<DRIVER_OBJECT>,
    missed: AtomicU32,
    /// The code of the message that says how many are missing.
    missed_code: u32,
}

impl ErrorLog {
    /// A log without a driver: nothing is written. `missed_code` is the message that tells how many entries are
    /// missing, as its only string.
    #[must_use]
    pub const fn new(missed_code: u32) -> Self {
        Self { driver: AtomicPtr::new(ptr::null_mut()), missed: AtomicU32::new(0), missed_code }
    }

    /// Writes entries of that driver from now on. In DriverEntry.
    ///
    /// # Safety
    ///
    /// It is the driver object of the image that this value belongs to, or there is no call of [`write`](Self::write)
    /// once it is gone.
    pub unsafe fn start(&self, driver: &mut DRIVER_OBJECT) {
        self.driver.store(driver, Release);
    }

    /// Writes an entry: the message of that code, with those strings. What does not fit is cut. Up to DISPATCH_LEVEL,
    /// as far as the texts are.
    // In a frame of its own, which holds the strings.
    #[inline(never)]
    pub fn write(&self, code: u32, texts: &[fmt::Arguments<'_>]) {
        let missed = self.missed.swap(0, Relaxed);
        let told = missed == 0 || self.try_write(self.missed_code, &[format_args!("{missed}")]).is_some();
        let lost = if told { 0 } else { missed };
        let written = self.try_write(code, texts).is_some();
        self.missed.fetch_add(lost.saturating_add(u32::from(!written)), Relaxed);
    }

    /// How many entries are missing of which nothing has been said yet. At any IRQL.
    #[must_use]
    pub fn missed(&self) -> u32 {
        self.missed.load(Relaxed)
    }

    /// `None` if there is no memory for the entry, or no driver.
    #[inline(never)]
    fn try_write(&self, code: u32, texts: &[fmt::Arguments<'_>]) -> Option<()> {
        let driver = NonNull::new(self.driver.load(Acquire))?;
        let strings = Strings::new(texts);
        let units = strings.units();
        let size = (STRINGS_OFFSET.saturating_add(size_of_val(units))).max(size_of::<IO_ERROR_LOG_PACKET>());
        // SAFETY: the driver object is that of this image, which runs; the size is at most MAX_ENTRY.
        let entry = unsafe { IoAllocateErrorLogEntry(driver.as_ptr().cast(), size as u8) };
        let entry = NonNull::new(entry)?.cast::<IO_ERROR_LOG_PACKET>();
        // SAFETY: as large as was asked for, aligned for its structure, and nobody else's.
        unsafe { ptr::write_bytes(entry.as_ptr().cast::<u8>(), 0, size) };
        // SAFETY: memory of that structure, of which all zeros are a value.
        let packet = unsafe { &mut *entry.as_ptr() };
        packet.ErrorCode = code.cast_signed();
        packet.NumberOfStrings = texts.len() as u16;
        packet.StringOffset = STRINGS_OFFSET as u16;
        // SAFETY: the entry has room for the strings from there on.
        let place = unsafe { entry.cast::<u8>().add(STRINGS_OFFSET) };
        // SAFETY: the room is that of the strings, does not overlap them, and is aligned to 8 bytes.
        unsafe { ptr::copy_nonoverlapping(units.as_ptr(), place.as_ptr().cast(), units.len()) };
        // SAFETY: the entry is complete, and not touched again.
        unsafe { IoWriteErrorLogEntry(entry.as_ptr().cast()) };
        Some(())
    }
}
