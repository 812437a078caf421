//! How a replacement learns which driver called it.
//!
//! Every driver gets thunks of its own, one for each hook, and its import table is pointed there. A thunk leaves the
//! driver's number in a field of the thread environment block, passes the [`gate`], and jumps to the replacement, whose
//! parameters are therefore those of the function that it replaces. The replacement asks for [`caller`] before it does
//! anything else. That is exact also where a return address would not be: in a tail call, the caller of the function is
//! the driver's caller.

use core::ffi::c_void;

use crate::drivers::{Driver, DriverId};
use crate::pe::Image;
use crate::{gate, irql, sys, teb};

const MEM_COMMIT_RESERVE: u32 = 0x3000;
const MEM_RELEASE: u32 = 0x8000;
const PAGE_EXECUTE_READ: u32 = 0x20;
const PAGE_READWRITE: u32 = 4;
const THUNK_SIZE: usize = 48;
/// Where a region can begin.
const GRANULARITY: usize = 0x1_0000;
const FARTHEST: usize = 0x7000_0000;

/// A function of the kernel that drivers get from here, or through here.
pub(crate) struct Hook {
    /// Its name in the import table.
    pub(crate) name: &'static str,
    /// What runs in its place. NULL: the function itself.
    replacement: *const c_void,
    /// The highest IRQL at which it may be called.
    pub(crate) highest_irql: u8,
    /// What it returns when the harness wants it to fail. None if it cannot fail, or nobody would notice.
    pub(crate) failure: Option<usize>,
}

// SAFETY: all fields are constants.
unsafe impl Sync for Hook {}

impl Hook {
    /// `replacement` is a function with the parameters of the function `name`, or NULL.
    pub(crate) const fn new(name: &'static str, replacement: *const c_void) -> Self {
        Self { name, replacement, highest_irql: irql::HIGH_LEVEL, failure: None }
    }

    /// It may be called up to that IRQL, as its page says.
    pub(crate) const fn up_to(self, highest_irql: u8) -> Self {
        Self { highest_irql, ..self }
    }

    /// It fails with that when memory or another resource is short.
    pub(crate) const fn failing(self, failure: usize) -> Self {
        Self { failure: Some(failure), ..self }
    }

    /// The address of what runs for an image: the replacement, the kernel's function, or what the import is bound to.
    /// None for a function that nobody has.
    fn target(&self, image: Image) -> Option<usize> {
        if !self.replacement.is_null() {
            return Some(self.replacement as usize);
        }
        sys::kernel_function(self.name).or_else(|| image.bound_to(self.name))
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
    image: Image,
}

impl Thunks {
    /// Makes one thunk for every hook, for an image whose imports are still bound as the loader has bound them. None
    /// when there is no memory.
    pub(crate) fn new(driver: &Driver, image: Image, hooks: &'static [Hook]) -> Option<Self> {
        let size = hooks.len() * THUNK_SIZE;
        let base = allocate_behind(driver.base + driver.size, size)?;
        // SAFETY: the region is writable, zeroed, of that size, and nobody else knows it.
        let memory = unsafe { core::slice::from_raw_parts_mut(base as *mut u8, size) };
        for (index, place) in memory.chunks_exact_mut(THUNK_SIZE).enumerate() {
            if let Some(target) = hooks[index].target(image) {
                place.copy_from_slice(&thunk(driver.id, index as u32, target as u64));
            }
        }
        sys::protect(base, size, PAGE_EXECUTE_READ);
        // SAFETY: pages of this process.
        unsafe { sys::NtFlushInstructionCache(sys::THIS_PROCESS, base as *const c_void, size) };
        Some(Self { base, hooks, image })
    }

    /// Where the thunk for a function is. None if the function has no hook.
    pub(crate) fn of(self, name: &str) -> Option<usize> {
        let hook = self.hooks.iter().position(|hook| hook.name == name && hook.target(self.image).is_some())?;
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
fn thunk(driver: DriverId, hook: u32, target: u64) -> [u8; THUNK_SIZE] {
    let mut code = [0; THUNK_SIZE];
    // mov qword ptr gs:[ARBITRARY_USER_POINTER], imm32
    code[..5].copy_from_slice(&[0x65, 0x48, 0xC7, 0x04, 0x25]);
    code[5..9].copy_from_slice(&(teb::ARBITRARY_USER_POINTER as u32).to_le_bytes());
    code[9..13].copy_from_slice(&driver.0.to_le_bytes());
    // mov rax, imm64
    code[13..15].copy_from_slice(&[0x48, 0xB8]);
    code[15..23].copy_from_slice(&target.to_le_bytes());
    // mov r10d, imm32
    code[23..25].copy_from_slice(&[0x41, 0xBA]);
    code[25..29].copy_from_slice(&hook.to_le_bytes());
    // mov r11, imm64
    code[29..31].copy_from_slice(&[0x49, 0xBB]);
    code[31..39].copy_from_slice(&(gate::pass as *const () as u64).to_le_bytes());
    // jmp r11
    code[39..42].copy_from_slice(&[0x41, 0xFF, 0xE3]);
    code
}

/// The code of a thunk. It changes no register that carries an argument: x16 and x17 are for code like this, and x9 to
/// x15 carry nothing between functions.
#[cfg(target_arch = "aarch64")]
fn thunk(driver: DriverId, hook: u32, target: u64) -> [u8; THUNK_SIZE] {
    const LOAD_DRIVER: u32 = 0x1800_00D0; // ldr w16, .+24
    const STORE: u32 = 0xF900_0250; // str x16, [x18, #..]
    const LOAD_HOOK: u32 = 0x1800_00B1; // ldr w17, .+20
    const LOAD_TARGET: u32 = 0x5800_00B0; // ldr x16, .+20
    const LOAD_GATE: u32 = 0x5800_00CF; // ldr x15, .+24
    const JUMP: u32 = 0xD61F_01E0; // br x15
    // The offset is given in units of 8 bytes.
    let store = STORE | (teb::ARBITRARY_USER_POINTER as u32 / 8) << 10;
    let words = [LOAD_DRIVER, store, LOAD_HOOK, LOAD_TARGET, LOAD_GATE, JUMP, driver.0, hook];
    let mut code = [0; THUNK_SIZE];
    for (place, word) in code.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    code[32..40].copy_from_slice(&target.to_le_bytes());
    code[40..].copy_from_slice(&(gate::pass as *const () as u64).to_le_bytes());
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
