//! Threads in the place of processors, for hosts that can make all threads of a process go through a memory barrier.

use core::cell::Cell;

thread_local!(static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) });

/// From now on the calling thread is this processor, and at DISPATCH_LEVEL when it says so: it does one thing after the
/// other, and no other thread has its number.
pub(crate) fn become_processor(number: usize) {
    NUMBER.set(number);
}

/// The number of the calling thread.
#[inline]
pub(crate) fn current() -> usize {
    NUMBER.get()
}

/// Whether this host has such a barrier. To be called before the first one.
#[cfg(target_os = "linux")]
pub(crate) fn have_barrier() -> bool {
    // SAFETY: no pointers.
    unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 }
}

/// membarrier(2): each running thread of the process has gone through a full barrier between the call and its return,
/// and one that does not run goes through one when it is switched to.
#[cfg(target_os = "linux")]
pub(crate) fn barrier() {
    // SAFETY: no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) };
    assert_eq!(result, 0, "registered by have_barrier");
}

#[cfg(windows)]
pub(crate) fn have_barrier() -> bool {
    true
}

/// FlushProcessWriteBuffers, which is the same for Windows.
#[cfg(windows)]
pub(crate) fn barrier() {
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn FlushProcessWriteBuffers();
    }
    // SAFETY: no arguments.
    unsafe { FlushProcessWriteBuffers() };
}

#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) fn have_barrier() -> bool {
    false
}

#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) fn barrier() {
    unreachable!("have_barrier says that there is none");
}
