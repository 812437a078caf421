//! What was done to each loaded driver: the thunks that it got, and the entry point that it had.

use alloc::collections::BTreeMap;

use crate::drivers::DriverId;
use crate::lock::Lock;
use crate::pe::Image;
use crate::thunk::Thunks;

#[derive(Clone, Copy)]
struct Hooked {
    thunks: Thunks,
    entry: usize,
    image: Image,
}

static HOOKED: Lock<BTreeMap<DriverId, Hooked>> = Lock::new(BTreeMap::new());

/// Notes it for a driver of which no code has run.
pub(crate) fn add(driver: DriverId, thunks: Thunks, image: Image) {
    HOOKED.with(|all| all.insert(driver, Hooked { thunks, entry: image.entry(), image }));
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

/// Whether the image of a loaded driver imports a function.
pub(crate) fn imports(driver: DriverId, name: &str) -> bool {
    let hooked = HOOKED.with(|all| all.get(&driver).copied());
    hooked.is_some_and(|hooked| hooked.image.imports().any(|import| import.name.to_bytes() == name.as_bytes()))
}

/// The thunk of a driver for a function. None if the function has no hook.
pub(crate) fn thunk(driver: DriverId, name: &str) -> Option<usize> {
    HOOKED.with(|all| all.get(&driver).copied())?.thunks.of(name)
}
