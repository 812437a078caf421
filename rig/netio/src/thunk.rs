//! How a replacement learns which driver called it.
//!
//! Every driver gets thunks of its own, one for each hook, and its import table is pointed there. A thunk leaves the
//! driver's number in a field of the thread environment block and jumps to the replacement, whose parameters are
//! therefore those of the function that it replaces. The replacement asks for [`caller`] before it does anything else.
//! That is exact also where a return address would not be: in a tail call, the caller of the function is the driver's
//! caller.

use core::ffi::c_void;

use crate::drivers::{Driver, DriverId};
use crate::{sys, teb};

const MEM_COMMIT_RESERVE: u32 = 0x3000;
const MEM_RELEASE: u32 = 0x8000;
const PAGE_EXECUTE_READ: u32 = 0x20;
const PAGE_READWRITE: u32 = 4;
const THUNK_SIZE: usize = 32;
/// Where a region can begin.
const GRANULARITY: usize = 0x1_0000;
const FARTHEST: usize = 0x7000_0000;

/// A function of the kernel that drivers get from here instead.
pub(crate) struct Hook {
    /// Its name in the import table.
    name: &'static str,
    replacement: *const c_void,
}

// SAFETY: both fields are constants.
unsafe impl Sync for Hook {}

impl Hook {
    /// `replacement` is a function with the parameters of the function `name`.
    pub(crate) const fn new(name: &'static str, replacement: *const c_void) -> Self {
        Self { name, replacement }
    }
}

/// The driver whose thunk was called last on this thread. Asked first in a replacement, that is the one that called.
pub(crate) fn caller() -> DriverId {
    DriverId(teb::arbitrary_user_pointer() as u32)
}

/// The thunks of one driver.
#[derive(Clone, Copy)]
pub(crate) struct Thunks {
    base: usize,
    hooks: &'static [Hook],
}

impl Thunks {
    /// Makes one thunk for every hook. None when there is no memory.
    pub(crate) fn new(driver: &Driver, hooks: &'static [Hook]) -> Option<Self> {
        let size = hooks.len() * THUNK_SIZE;
        let base = allocate_behind(driver.base + driver.size, size)?;
        // SAFETY: the region is writable, zeroed, of that size, and nobody else knows it.
        let memory = unsafe { core::slice::from_raw_parts_mut(base as *mut u8, size) };
        for (hook, place) in hooks.iter().zip(memory.chunks_exact_mut(THUNK_SIZE)) {
            place.copy_from_slice(&thunk(driver.id, hook.replacement as u64));
        }
        sys::protect(base, size, PAGE_EXECUTE_READ);
        // SAFETY: pages of this process.
        unsafe { sys::NtFlushInstructionCache(sys::THIS_PROCESS, base as *const c_void, size) };
        Some(Self { base, hooks })
    }

    /// Where the thunk for a function is. None if the function has no hook.
    pub(crate) fn of(self, name: &str) -> Option<usize> {
        let hook = self.hooks.iter().position(|hook| hook.name == name)?;
        Some(self.base + hook * THUNK_SIZE)
    }

    /// Gives the memory back, when nothing of the driver can run any more.
    pub(crate) fn free(self) {
        let mut base = self.base as *mut c_void;
        let mut size = 0;
        // SAFETY: the region of `new`; the image that jumped into it is gone.
        unsafe { sys::NtFreeVirtualMemory(sys::THIS_PROCESS, &mut base, &mut size, MEM_RELEASE) };
    }
}

/// The code of a thunk. It changes no register that carries an argument.
#[cfg(target_arch = "x86_64")]
fn thunk(driver: DriverId, replacement: u64) -> [u8; THUNK_SIZE] {
    let mut code = [0; THUNK_SIZE];
    // mov qword ptr gs:[ARBITRARY_USER_POINTER], imm32
    code[..5].copy_from_slice(&[0x65, 0x48, 0xC7, 0x04, 0x25]);
    code[5..9].copy_from_slice(&(teb::ARBITRARY_USER_POINTER as u32).to_le_bytes());
    code[9..13].copy_from_slice(&driver.0.to_le_bytes());
    // mov rax, imm64
    code[13..15].copy_from_slice(&[0x48, 0xB8]);
    code[15..23].copy_from_slice(&replacement.to_le_bytes());
    // jmp rax
    code[23..25].copy_from_slice(&[0xFF, 0xE0]);
    code
}

/// The code of a thunk. It changes no register that carries an argument: x16 is for code like this.
#[cfg(target_arch = "aarch64")]
fn thunk(driver: DriverId, replacement: u64) -> [u8; THUNK_SIZE] {
    const LOAD_DRIVER: u32 = 0x1800_00B0; // ldr w16, .+20
    const STORE: u32 = 0xF900_0250; // str x16, [x18, #..]
    const LOAD_REPLACEMENT: u32 = 0x5800_0090; // ldr x16, .+16
    const JUMP: u32 = 0xD61F_0200; // br x16
    // The offset is given in units of 8 bytes.
    let store = STORE | (teb::ARBITRARY_USER_POINTER as u32 / 8) << 10;
    let mut code = [0; THUNK_SIZE];
    for (place, word) in code.chunks_exact_mut(4).zip([LOAD_DRIVER, store, LOAD_REPLACEMENT, JUMP, 0, driver.0]) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    code[24..].copy_from_slice(&replacement.to_le_bytes());
    code
}

/// Allocates pages at a higher address than `start` and so close that 32 bits can tell the distance, as the entry
/// point in an image's header does.
fn allocate_behind(start: usize, size: usize) -> Option<usize> {
    (start..start + FARTHEST).step_by(GRANULARITY).find_map(|hint| {
        let mut base = (hint & !(GRANULARITY - 1)) as *mut c_void;
        if (base as usize) < start {
            return None;
        }
        let mut size = size;
        // SAFETY: a new region, or none if something is there; both pointers are to locals.
        let status = unsafe {
            sys::NtAllocateVirtualMemory(sys::THIS_PROCESS, &mut base, 0, &mut size, MEM_COMMIT_RESERVE, PAGE_READWRITE)
        };
        (status >= 0).then_some(base as usize)
    })
}
