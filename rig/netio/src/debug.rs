//! DbgPrint and its kin: what drivers print goes into the log.

use alloc::vec;
use core::arch::naked_asm;
use core::ffi::{CStr, c_char, c_void};
use core::ptr::null;

use crate::{drivers, irql, log, sys, thunk};

/// Longer output is cut, as on Windows (which cuts at 512).
const LONGEST: usize = 4096;

/// Formats and logs. `arguments` is a `va_list`: a pointer to the arguments, 8 bytes each.
unsafe extern "system" fn print(format: *const u8, arguments: *const c_void, prefix: *const c_char) -> sys::NtStatus {
    let caller = thunk::caller();
    // SAFETY: the driver passes a string that ends in a zero.
    if let Some(conversion) = wide(unsafe { CStr::from_ptr(format.cast()) }.to_bytes()) {
        irql::up_to(irql::PASSIVE_LEVEL, conversion, caller);
    }
    let mut text = vec::Vec::new();
    if !prefix.is_null() {
        // SAFETY: the driver passes a string that ends in a zero.
        text.extend_from_slice(unsafe { CStr::from_ptr(prefix) }.to_bytes());
    }
    let mut formatted = vec![0u8; LONGEST];
    // SAFETY: the buffer has LONGEST bytes; format and arguments are what the driver printed with.
    let length = unsafe { sys::_vsnprintf(formatted.as_mut_ptr(), LONGEST, format, arguments) };
    // Negative: it did not fit, and the buffer is full.
    formatted.truncate(usize::try_from(length).unwrap_or(LONGEST));
    text.append(&mut formatted);
    log::event(&drivers::name(caller), "debug", format_args!("text={}", log::Text(text.trim_ascii_end())));
    sys::STATUS_SUCCESS
}

/// The first conversion of a format that turns Unicode into bytes, for which the kernel has pageable tables.
fn wide(format: &[u8]) -> Option<&str> {
    let mut rest = format;
    loop {
        let start = rest.iter().position(|byte| *byte == b'%')?;
        let flags = rest[start + 1..].iter().take_while(|byte| b"-+ #0123456789.*".contains(byte)).count();
        let conversion = &rest[start + 1 + flags..];
        let is_wide = conversion.first().is_some_and(|byte| b"CSZ".contains(byte))
            || conversion
                .first_chunk()
                .is_some_and(|chunk: &[u8; 2]| [b"lc", b"ls", b"wc", b"ws", b"wZ"].contains(&chunk));
        if is_wide {
            let length = 1 + usize::from(conversion[0].is_ascii_lowercase());
            return core::str::from_utf8(&rest[start..start + 1 + flags + length]).ok();
        }
        // A percent sign that stands for itself is passed with its conversion.
        rest = conversion.get(1..)?;
    }
}

/// `vDbgPrintEx(component, level, format, arguments)`
pub(crate) unsafe extern "system" fn v_dbg_print_ex(
    _component: u32,
    _level: u32,
    format: *const u8,
    arguments: *const c_void,
) -> sys::NtStatus {
    // SAFETY: the driver's own arguments.
    unsafe { print(format, arguments, null()) }
}

/// `vDbgPrintExWithPrefix(prefix, component, level, format, arguments)`
pub(crate) unsafe extern "system" fn v_dbg_print_ex_with_prefix(
    prefix: *const c_char,
    _component: u32,
    _level: u32,
    format: *const u8,
    arguments: *const c_void,
) -> sys::NtStatus {
    // SAFETY: the driver's own arguments.
    unsafe { print(format, arguments, prefix) }
}

// The two below have variable arguments, which Rust cannot declare: they make a va_list of them for `print`. Arguments
// in registers are put right below those on the stack: on x64 into the home space that the caller provides for them, on
// ARM64 into the top of the frame. Their frames are described as a compiler would describe them, so that whoever looks
// at the stack finds the driver.

/// `DbgPrint(format, ...)`
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
pub(crate) extern "system" fn dbg_print() {
    naked_asm!(
        ".seh_proc {this}",
        "mov [rsp + 16], rdx",
        "mov [rsp + 24], r8",
        "mov [rsp + 32], r9",
        "lea rdx, [rsp + 16]",
        "xor r8d, r8d",
        "sub rsp, 40",
        ".seh_stackalloc 40",
        ".seh_endprologue",
        "call {print}",
        "add rsp, 40",
        "ret",
        ".seh_endproc",
        this = sym dbg_print,
        print = sym print,
    )
}

/// `DbgPrint(format, ...)`
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
pub(crate) extern "system" fn dbg_print() {
    naked_asm!(
        ".seh_proc {this}",
        "sub sp, sp, #80",
        ".seh_stackalloc 80",
        "stp x29, x30, [sp]",
        ".seh_save_fplr 0",
        "mov x29, sp",
        ".seh_set_fp",
        ".seh_endprologue",
        "str x1, [sp, #24]",
        "stp x2, x3, [sp, #32]",
        "stp x4, x5, [sp, #48]",
        "stp x6, x7, [sp, #64]",
        "add x1, sp, #24",
        "mov x2, xzr",
        "bl {print}",
        "ldp x29, x30, [sp]",
        "add sp, sp, #80",
        "ret",
        ".seh_endproc",
        this = sym dbg_print,
        print = sym print,
    )
}

/// `DbgPrintEx(component, level, format, ...)`
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
pub(crate) extern "system" fn dbg_print_ex() {
    naked_asm!(
        ".seh_proc {this}",
        "mov [rsp + 32], r9",
        "mov rcx, r8",
        "lea rdx, [rsp + 32]",
        "xor r8d, r8d",
        "sub rsp, 40",
        ".seh_stackalloc 40",
        ".seh_endprologue",
        "call {print}",
        "add rsp, 40",
        "ret",
        ".seh_endproc",
        this = sym dbg_print_ex,
        print = sym print,
    )
}

/// `DbgPrintEx(component, level, format, ...)`
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
pub(crate) extern "system" fn dbg_print_ex() {
    naked_asm!(
        ".seh_proc {this}",
        "sub sp, sp, #64",
        ".seh_stackalloc 64",
        "stp x29, x30, [sp]",
        ".seh_save_fplr 0",
        "mov x29, sp",
        ".seh_set_fp",
        ".seh_endprologue",
        "str x3, [sp, #24]",
        "stp x4, x5, [sp, #32]",
        "stp x6, x7, [sp, #48]",
        "mov x0, x2",
        "add x1, sp, #24",
        "mov x2, xzr",
        "bl {print}",
        "ldp x29, x30, [sp]",
        "add sp, sp, #64",
        "ret",
        ".seh_endproc",
        this = sym dbg_print_ex,
        print = sym print,
    )
}
