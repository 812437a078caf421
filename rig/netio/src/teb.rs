//! The thread environment block: fields that lie at the same place in every 64-bit Windows, and in Wine.

/// `ClientId.UniqueThread`.
const UNIQUE_THREAD: usize = 0x48;
/// `NtTib.ArbitraryUserPointer`: no code of Windows relies on what it holds between two calls.
pub(crate) const ARBITRARY_USER_POINTER: usize = 0x28;

/// Names the calling thread.
pub(crate) fn thread() -> usize {
    read::<UNIQUE_THREAD>()
}

/// What the thunk that was called last on this thread has left.
pub(crate) fn arbitrary_user_pointer() -> usize {
    read::<ARBITRARY_USER_POINTER>()
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
