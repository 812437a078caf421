//! The log: `C:\rig\netio.log`, one line an event, which the harness reads.
//!
//! ```text
//! 0.012345 sluice load base=0x7f1200000000 size=0x9000
//! 0.013001 sluice debug text="sluice: 64 \"rules\""
//! ```
//!
//! Seconds since netio.sys started, the driver that the event is about, the event, and its properties. A value that
//! contains a space or a quote is quoted, with `\"`, `\\`, `\n`, `\r`, `\t` and `\xNN` inside.

use alloc::string::String;
use core::ffi::c_void;
use core::fmt::{self, Display, Write};
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicI64, AtomicPtr, Ordering};

use crate::lock::Lock;
use crate::sys;

const SYNCHRONIZE: u32 = 0x0010_0000;
const FILE_LIST_DIRECTORY: u32 = 1;
const FILE_APPEND_DATA: u32 = 4;
const FILE_SHARE_ALL: u32 = 7;
const FILE_ATTRIBUTE_NORMAL: u32 = 0x80;
const FILE_OPEN_IF: u32 = 3;
const FILE_DIRECTORY_FILE: u32 = 1;
const FILE_SYNCHRONOUS_IO_NONALERT: u32 = 0x20;
const FILE_NON_DIRECTORY_FILE: u32 = 0x40;
const OBJ_CASE_INSENSITIVE: u32 = 0x40;

static FILE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
/// Held by whoever writes a line.
static WRITING: Lock<()> = Lock::new(());
static STARTED: AtomicI64 = AtomicI64::new(0);

/// Opens the log, and makes its folder if it is missing. Events before that are lost.
pub(crate) fn open() -> sys::NtStatus {
    STARTED.store(microseconds(), Ordering::Relaxed);
    let mut folder = null_mut();
    let options = FILE_DIRECTORY_FILE | FILE_SYNCHRONOUS_IO_NONALERT;
    let status = open_file("\\??\\C:\\rig", FILE_LIST_DIRECTORY | SYNCHRONIZE, FILE_OPEN_IF, options, &mut folder);
    if status < 0 {
        return status;
    }
    // SAFETY: a handle that `open_file` has just made and nobody else knows.
    unsafe { sys::NtClose(folder) };

    let mut file = null_mut();
    let options = FILE_NON_DIRECTORY_FILE | FILE_SYNCHRONOUS_IO_NONALERT;
    let access = FILE_APPEND_DATA | SYNCHRONIZE;
    let status = open_file("\\??\\C:\\rig\\netio.log", access, FILE_OPEN_IF, options, &mut file);
    if status >= 0 {
        FILE.store(file, Ordering::Release);
    }
    status
}

/// NtCreateFile for a file of the rig.
pub(crate) fn open_file(
    path: &str,
    access: u32,
    disposition: u32,
    options: u32,
    handle: &mut sys::Handle,
) -> sys::NtStatus {
    let path = sys::Wide::new(path);
    let name = path.counted();
    let attributes = sys::OBJECT_ATTRIBUTES {
        Length: size_of::<sys::OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: null_mut(),
        ObjectName: &name,
        Attributes: OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: null(),
        SecurityQualityOfService: null(),
    };
    let mut result = sys::IO_STATUS_BLOCK { Status: 0, Information: 0 };
    // SAFETY: every pointer is to a local that outlives the call, or NULL where that is allowed.
    unsafe {
        sys::NtCreateFile(
            handle,
            access,
            &attributes,
            &mut result,
            null(),
            FILE_ATTRIBUTE_NORMAL,
            FILE_SHARE_ALL,
            disposition,
            options,
            null(),
            0,
        )
    }
}

/// Microseconds since some moment in the past.
pub(crate) fn microseconds() -> i64 {
    let (mut counter, mut frequency) = (0, 1);
    // SAFETY: both pointers are to locals.
    unsafe { sys::NtQueryPerformanceCounter(&mut counter, &mut frequency) };
    (i128::from(counter) * 1_000_000 / i128::from(frequency.max(1))) as i64
}

/// Writes one event; `properties` is the rest of the line, ready made.
pub(crate) fn event(driver: &str, name: &str, properties: fmt::Arguments<'_>) {
    let now = microseconds() - STARTED.load(Ordering::Relaxed);
    let mut line = String::new();
    // Writing to a String does not fail.
    let _ = write!(line, "{}.{:06} {driver} {name}", now / 1_000_000, now % 1_000_000);
    let start = line.len();
    let _ = write!(line, " {properties}");
    if line.len() == start + 1 {
        line.truncate(start);
    }
    line.push('\n');

    let file = FILE.load(Ordering::Acquire);
    if file.is_null() {
        return;
    }
    let mut result = sys::IO_STATUS_BLOCK { Status: 0, Information: 0 };
    // Wine looks for the end of the file before it writes: without the lock, threads would overwrite each other.
    // SAFETY: the file was opened for synchronous appending and is never closed; the line outlives the call.
    WRITING.with(|()| unsafe {
        sys::NtWriteFile(
            file,
            null_mut(),
            null(),
            null_mut(),
            &mut result,
            line.as_ptr().cast(),
            line.len() as u32,
            null(),
            null(),
        )
    });
}

/// Text as a value: bytes that may be anything, quoted where the line's form demands it.
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl Display for Text<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
        if !self.0.is_empty() && self.0.iter().all(plain) {
            return self.0.iter().try_for_each(|&byte| out.write_char(char::from(byte)));
        }
        out.write_char('"')?;
        for &byte in self.0 {
            match byte {
                b'"' => out.write_str("\\\"")?,
                b'\\' => out.write_str("\\\\")?,
                b'\n' => out.write_str("\\n")?,
                b'\r' => out.write_str("\\r")?,
                b'\t' => out.write_str("\\t")?,
                b' '..=b'~' => out.write_char(char::from(byte))?,
                _ => write!(out, "\\x{byte:02x}")?,
            }
        }
        out.write_char('"')
    }
}

/// A GUID from its 16 bytes in memory, as Windows writes it.
pub(crate) struct Guid(pub(crate) [u8; 16]);

impl Display for Guid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f, g, h, rest @ ..] = self.0;
        let (first, second, third) =
            (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([e, f]), u16::from_le_bytes([g, h]));
        write!(out, "{first:08x}-{second:04x}-{third:04x}-{:02x}{:02x}-", rest[0], rest[1])?;
        rest[2..].iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}
