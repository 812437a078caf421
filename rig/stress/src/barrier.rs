//! A memory barrier on every processor that runs this process: what an interprocessor interrupt is to a driver.

use std::cell::Cell;

thread_local!(static PROCESSOR: Cell<usize> = const { Cell::new(usize::MAX) });

/// From now on the calling thread stands for this processor: no other thread has its number.
pub(crate) fn become_processor(number: usize) {
    PROCESSOR.set(number);
}

/// The number of the calling thread.
pub(crate) fn processor() -> usize {
    PROCESSOR.get()
}

/// Prepares [`all`].
#[cfg(target_os = "linux")]
pub(crate) fn prepare() -> Result<(), String> {
    membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)
        .then_some(())
        .ok_or_else(|| "expected a kernel with membarrier(2)".to_string())
}

/// Every thread of this process has gone through a full barrier between the call and its return.
#[cfg(target_os = "linux")]
pub(crate) fn all() {
    assert!(membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED), "prepared, so it does not fail");
}

#[cfg(target_os = "linux")]
fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: no pointers.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Prepares [`all`].
#[cfg(windows)]
pub(crate) fn prepare() -> Result<(), String> {
    Ok(())
}

/// Every thread of this process has gone through a full barrier between the call and its return.
#[cfg(windows)]
pub(crate) fn all() {
    // SAFETY: no arguments.
    unsafe { windows_sys::Win32::System::Threading::FlushProcessWriteBuffers() };
}

/// Prepares [`all`].
#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) fn prepare() -> Result<(), String> {
    Err("expected Linux or Windows, which have a barrier for all threads of a process".to_string())
}

/// Every thread of this process has gone through a full barrier between the call and its return.
#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) fn all() {}
