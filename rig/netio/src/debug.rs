//! DbgPrint and its kin: what drivers print goes into the log.

use alloc::vec;
use core::arch::naked_asm;
use core::ffi::{CStr, c_char, c_void};

use crate::drivers::{self, DriverId};
use crate::{log, sys};

/// Longer output is cut, as on Windows (which cuts at 512).
const LONGEST: usize = 4096;

/// Formats and logs. `arguments` is a `va_list`: a pointer to the arguments, 8 bytes each.
unsafe extern "system" fn print(
    format: *const u8,
    arguments: *const c_void,
    prefix: *const c_char,
    caller: DriverId,
) -> sys::NtStatus {
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

// The four below turn what their caller passed into the arguments of `print`. The thunk has left the driver in r10d.
// Arguments in registers are first put into the home space that the caller provides for them, right below those on the
// stack: together they are the va_list.

/// `DbgPrint(format, ...)`
#[unsafe(naked)]
pub(crate) extern "system" fn dbg_print() {
    naked_asm!(
        "mov [rsp + 16], rdx",
        "mov [rsp + 24], r8",
        "mov [rsp + 32], r9",
        "lea rdx, [rsp + 16]",
        "xor r8d, r8d",
        "mov r9d, r10d",
        "sub rsp, 40",
        "call {print}",
        "add rsp, 40",
        "ret",
        print = sym print,
    )
}

/// `DbgPrintEx(component, level, format, ...)`
#[unsafe(naked)]
pub(crate) extern "system" fn dbg_print_ex() {
    naked_asm!(
        "mov [rsp + 32], r9",
        "mov rcx, r8",
        "lea rdx, [rsp + 32]",
        "xor r8d, r8d",
        "mov r9d, r10d",
        "sub rsp, 40",
        "call {print}",
        "add rsp, 40",
        "ret",
        print = sym print,
    )
}

/// `vDbgPrintEx(component, level, format, arguments)`
#[unsafe(naked)]
pub(crate) extern "system" fn v_dbg_print_ex() {
    naked_asm!(
        "mov rcx, r8",
        "mov rdx, r9",
        "xor r8d, r8d",
        "mov r9d, r10d",
        "jmp {print}",
        print = sym print,
    )
}

/// `vDbgPrintExWithPrefix(prefix, component, level, format, arguments)`
#[unsafe(naked)]
pub(crate) extern "system" fn v_dbg_print_ex_with_prefix() {
    naked_asm!(
        "mov r8, rcx",
        "mov rcx, r9",
        "mov rdx, [rsp + 40]",
        "mov r9d, r10d",
        "jmp {print}",
        print = sym print,
    )
}
