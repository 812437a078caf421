//! How a hooked function learns which driver called it.
//!
//! Every driver gets a page of thunks of its own, one for each hook, and its import table is pointed there. A thunk puts
//! the driver's number into the register of the argument after the function's last one and jumps to the replacement,
//! which therefore takes the driver as an extra argument. That is exact also where a return address would not be: in a
//! tail call, the caller of the function is the driver's caller.

use core::ffi::c_void;

use crate::drivers::Driver;
use crate::hooks::HOOKS;
use crate::sys;

const MEM_COMMIT_RESERVE: u32 = 0x3000;
const MEM_RELEASE: u32 = 0x8000;
const PAGE_EXECUTE_READ: u32 = 0x20;
const PAGE_READWRITE: u32 = 4;
const THUNK_SIZE: usize = 32;
/// Where a region can begin.
const GRANULARITY: usize = 0x1_0000;
const FARTHEST: usize = 0x7000_0000;

/// The register that carries the driver.
#[derive(Clone, Copy)]
pub(crate) enum Register {
    /// The first argument.
    Rcx,
    /// The second.
    Rdx,
    /// The third.
    R8,
    /// The fourth.
    R9,
    /// No argument: for a replacement in assembler.
    R10,
}

impl Register {
    /// The opcode of `mov register, imm32`, which clears the upper half; two bytes each.
    const fn load(self) -> [u8; 2] {
        match self {
            Self::Rcx => [0x90, 0xB9],
            Self::Rdx => [0x90, 0xBA],
            Self::R8 => [0x41, 0xB8],
            Self::R9 => [0x41, 0xB9],
            Self::R10 => [0x41, 0xBA],
        }
    }
}

/// The thunks of one driver.
#[derive(Clone, Copy)]
pub(crate) struct Thunks(usize);

impl Thunks {
    /// Makes one thunk for every hook. None when there is no memory.
    pub(crate) fn new(driver: &Driver) -> Option<Self> {
        let base = allocate_behind(driver.base + driver.size, HOOKS.len() * THUNK_SIZE)?;
        // SAFETY: the region is writable, zeroed, of that size, and nobody else knows it.
        let memory = unsafe { core::slice::from_raw_parts_mut(base as *mut u8, HOOKS.len() * THUNK_SIZE) };
        for (hook, thunk) in HOOKS.iter().zip(memory.chunks_exact_mut(THUNK_SIZE)) {
            thunk[..2].copy_from_slice(&hook.driver_in.load());
            thunk[2..6].copy_from_slice(&driver.id.0.to_le_bytes());
            // mov rax, imm64
            thunk[6..8].copy_from_slice(&[0x48, 0xB8]);
            thunk[8..16].copy_from_slice(&(hook.replacement() as u64).to_le_bytes());
            // jmp rax
            thunk[16..18].copy_from_slice(&[0xFF, 0xE0]);
        }
        sys::protect(base, HOOKS.len() * THUNK_SIZE, PAGE_EXECUTE_READ);
        Some(Self(base))
    }

    /// Where the thunk for a hook is.
    pub(crate) fn of(self, hook: usize) -> usize {
        self.0 + hook * THUNK_SIZE
    }

    /// Gives the memory back, when nothing of the driver can run any more.
    pub(crate) fn free(self) {
        let mut base = self.0 as *mut c_void;
        let mut size = 0;
        // SAFETY: the region of `new`; the image that jumped into it is gone.
        unsafe { sys::NtFreeVirtualMemory(sys::THIS_PROCESS, &mut base, &mut size, MEM_RELEASE) };
    }
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
