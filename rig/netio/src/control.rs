//! What the checks are told while drivers run: a file that is mapped into memory here and that the harness writes to,
//! so that a word of it changes at once and without a program that has to be started.
//!
//! The file is `C:\rig\verifier`, in the form of [`words`]; without one nothing is failed or delayed.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use core::time::Duration;

use crate::words::{LONGEST_NAME, NAME, SIZE};
use crate::{log, sys};

pub(crate) use crate::words::Word;

const FILE_READ_WRITE_SYNCHRONIZE: u32 = 0x10_0003;
const FILE_OPEN: u32 = 1;
const FILE_SYNCHRONOUS_NO_DIRECTORY: u32 = 0x60;
const SECTION_MAP_READ_WRITE_QUERY: u32 = 7;
const SEC_COMMIT: u32 = 0x0800_0000;
const PAGE_READWRITE: u32 = 4;
const VIEW_UNMAP: u32 = 2;

static VIEW: AtomicPtr<u8> = AtomicPtr::new(null_mut());

#[cfg_attr(windows, link(name = "ntdll.dll", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn NtCreateSection(
        section: *mut sys::Handle,
        access: u32,
        attributes: *const sys::OBJECT_ATTRIBUTES,
        size: *const i64,
        protection: u32,
        kind: u32,
        file: sys::Handle,
    ) -> sys::NtStatus;
    fn NtMapViewOfSection(
        section: sys::Handle,
        process: sys::Handle,
        base: *mut *mut c_void,
        zero_bits: usize,
        commit: usize,
        offset: *mut i64,
        size: *mut usize,
        inherit: u32,
        kind: u32,
        protection: u32,
    ) -> sys::NtStatus;
}

/// Maps the file, if there is one.
pub(crate) fn open() {
    let mut file = null_mut();
    let path = "\\??\\C:\\rig\\verifier";
    let options = FILE_SYNCHRONOUS_NO_DIRECTORY;
    if log::open_file(path, FILE_READ_WRITE_SYNCHRONIZE, FILE_OPEN, options, &mut file) < 0 {
        return;
    }
    let mut section = null_mut();
    let size = SIZE as i64;
    let access = SECTION_MAP_READ_WRITE_QUERY;
    // SAFETY: the handle was opened above; both pointers are to locals.
    let status =
        unsafe { NtCreateSection(&mut section, access, core::ptr::null(), &size, PAGE_READWRITE, SEC_COMMIT, file) };
    let (mut base, mut mapped, mut offset) = (null_mut(), SIZE, 0);
    let status = match status {
        // SAFETY: a section that was made above; all pointers are to locals.
        0.. => unsafe {
            let (process, kind) = (sys::THIS_PROCESS, PAGE_READWRITE);
            NtMapViewOfSection(section, process, &mut base, 0, 0, &mut offset, &mut mapped, VIEW_UNMAP, 0, kind)
        },
        failed => failed,
    };
    if status < 0 {
        log::event("netio", "error", format_args!("text=\"cannot map C:\\\\rig\\\\verifier: {status:#010x}\""));
        return;
    }
    VIEW.store(base.cast(), Ordering::Release);
}

/// A word of the file. None without a file.
pub(crate) fn word(word: Word) -> Option<&'static AtomicU64> {
    let view = VIEW.load(Ordering::Acquire);
    // SAFETY: the view is page-aligned, has SIZE bytes and stays; the harness writes whole words.
    (!view.is_null()).then(|| unsafe { AtomicU64::from_ptr(view.cast::<u64>().wrapping_add(word as usize)) })
}

/// What a word of the file says; 0 without a file.
pub(crate) fn value(of: Word) -> u64 {
    word(of).map_or(0, |word| word.load(Ordering::Acquire))
}

/// A limit as it is for this machine, as much longer as the harness has found it to be slower.
pub(crate) fn scaled(limit: Duration) -> Duration {
    limit * u32::try_from(value(Word::Slowness)).unwrap_or(u32::MAX).max(1000) / 1000
}

/// Draws the `number`th random decision of the seed: yes with the chance in 65,536 that a word says.
pub(crate) fn draw(chance: Word, number: u64) -> bool {
    let chance = value(chance);
    chance != 0 && random(number) & 0xFFFF < chance
}

/// The `number`th random number of the seed.
pub(crate) fn random(number: u64) -> u64 {
    mix(value(Word::Seed) ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Spreads every bit of a number over all of them (the finaliser of SplitMix64).
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ number >> 31
}

/// Whether the words are about a driver: the one that is named, or every one if none is.
pub(crate) fn concerns(driver: &str) -> bool {
    let view = VIEW.load(Ordering::Acquire);
    if view.is_null() {
        return false;
    }
    // SAFETY: within the view. The harness writes the name before it asks for anything.
    let name = unsafe { core::slice::from_raw_parts(view.wrapping_add(NAME), LONGEST_NAME) };
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    name.is_empty() || name == driver.as_bytes()
}
