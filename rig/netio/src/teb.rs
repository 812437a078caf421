//! The thread environment block: fields that lie at the same place in every 64-bit Windows, and in Wine.

/// `ClientId.UniqueThread`.
const UNIQUE_THREAD: usize = 0x48;
/// `NtTib.ArbitraryUserPointer`: no code of Windows relies on what it holds between two calls.
pub(crate) const ARBITRARY_USER_POINTER: usize = 0x28;

/// `NtTib.StackBase` and `NtTib.StackLimit`: where the stack of the thread ends, and where it begins so far.
const STACK_BASE: usize = 8;
const STACK_LIMIT: usize = 16;

/// Whether an address is of the stack of the calling thread.
pub(crate) fn on_stack(address: usize) -> bool {
    (read::<STACK_LIMIT>()..read::<STACK_BASE>()).contains(&address)
}

/// The stack of the thread whose environment block is there.
///
/// # Safety
///
/// The thread does not end meanwhile.
pub(crate) unsafe fn stack_of(teb: *const usize) -> core::ops::Range<usize> {
    let field = |offset: usize| teb.wrapping_byte_add(offset);
    // SAFETY: the block of a thread that is there.
    let limit = unsafe { field(STACK_LIMIT).read() };
    // SAFETY: as above.
    limit..unsafe { field(STACK_BASE).read() }
}

/// Names the calling thread.
pub(crate) fn thread() -> usize {
    read::<UNIQUE_THREAD>()
}

/// What the thunk that was called last on this thread has left.
pub(crate) fn arbitrary_user_pointer() -> usize {
    read::<ARBITRARY_USER_POINTER>()
}

/// Sets what [`arbitrary_user_pointer`] reads.
#[cfg(target_arch = "x86_64")]
pub(crate) fn set_arbitrary_user_pointer(value: usize) {
    // SAFETY: gs points to the thread environment block, whose field is free for use.
    unsafe {
        core::arch::asm!(
            "mov gs:[{}], {}",
            const ARBITRARY_USER_POINTER,
            in(reg) value,
            options(nostack, preserves_flags),
        )
    };
}

/// Sets what [`arbitrary_user_pointer`] reads.
#[cfg(target_arch = "aarch64")]
pub(crate) fn set_arbitrary_user_pointer(value: usize) {
    // SAFETY: x18 points to the thread environment block, whose field is free for use.
    unsafe {
        core::arch::asm!(
            "str {}, [x18, #{}]",
            in(reg) value,
            const ARBITRARY_USER_POINTER,
            options(nostack, preserves_flags),
        )
    };
}

#[cfg(target_arch = "x86_64")]
fn read<const OFFSET: usize>() -> usize {
    let value: usize;
    // SAFETY: gs points to the thread environment block, of which OFFSET is a field.
    unsafe {
        core::arch::asm!(
            "mov {}, gs:[{}]",
            out(reg) value,
            const OFFSET,
            options(nostack, readonly, preserves_flags),
        )
    };
    value
}

#[cfg(target_arch = "aarch64")]
fn read<const OFFSET: usize>() -> usize {
    let value: usize;
    // SAFETY: x18 points to the thread environment block, of which OFFSET is a field.
    unsafe {
        core::arch::asm!(
            "ldr {}, [x18, #{}]",
            out(reg) value,
            const OFFSET,
            options(nostack, readonly, preserves_flags),
        )
    };
    value
}
