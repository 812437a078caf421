//! Services of kernel drivers, as sc.exe handles them.

#[cfg(not(windows))]
mod elsewhere;
#[cfg(windows)]
mod windows;

#[cfg(not(windows))]
pub(super) use elsewhere::{Manager, Service};
#[cfg(windows)]
pub(super) use windows::{Manager, Service};

/// What a service is doing.
#[cfg_attr(not(windows), allow(dead_code, reason = "no other system has any"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Stopped,
    Running,
    /// Anything else, by its number (`SERVICE_STATUS`).
    Other(u32),
}
