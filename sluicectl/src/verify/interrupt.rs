//! Ctrl+C ends the verification after the current life, so that everything is undone.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

pub(super) fn happened() -> bool {
    INTERRUPTED.load(Relaxed)
}

/// From now on Ctrl+C is noted instead of ending the program.
#[cfg(windows)]
pub(super) fn watch() -> Result<(), crate::failure::Failure> {
    use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, CTRL_C_EVENT, SetConsoleCtrlHandler};

    unsafe extern "system" fn note(event: u32) -> i32 {
        let is_ours = matches!(event, CTRL_C_EVENT | CTRL_BREAK_EVENT);
        if is_ours {
            INTERRUPTED.store(true, Relaxed);
        }
        is_ours.into()
    }

    // SAFETY: the handler may run on any thread at any time, and only writes to an atomic.
    if unsafe { SetConsoleCtrlHandler(Some(note), 1) } == 0 {
        let error = std::io::Error::last_os_error();
        return Err(crate::failure::Failure::windows(format!("cannot watch for Ctrl+C: {error}"), &error));
    }
    Ok(())
}

#[cfg(not(windows))]
pub(super) fn watch() -> Result<(), crate::failure::Failure> {
    Ok(())
}
