//! What was done to each loaded driver: the thunks that it got, and the entry point that it had.

use alloc::collections::BTreeMap;

use crate::drivers::DriverId;
use crate::lock::Lock;
use crate::thunk::Thunks;

#[derive(Clone, Copy)]
struct Hooked {
    thunks: Thunks,
    entry: usize,
}

static HOOKED: Lock<BTreeMap<DriverId, Hooked>> = Lock::new(BTreeMap::new());

/// Notes it for a driver of which no code has run.
pub(crate) fn add(driver: DriverId, thunks: Thunks, entry: usize) {
    HOOKED.with(|all| all.insert(driver, Hooked { thunks, entry }));
}

/// Frees the thunks of a driver whose image is gone.
pub(crate) fn remove(driver: DriverId) {
    if let Some(hooked) = HOOKED.with(|all| all.remove(&driver)) {
        hooked.thunks.free();
    }
}

/// The address of a driver's own entry point.
pub(crate) fn entry(driver: DriverId) -> Option<usize> {
    HOOKED.with(|all| all.get(&driver).map(|hooked| hooked.entry))
}

/// The thunk of a driver for a function. None if the function has no hook.
pub(crate) fn thunk(driver: DriverId, name: &str) -> Option<usize> {
    HOOKED.with(|all| all.get(&driver).copied())?.thunks.of(name)
}
