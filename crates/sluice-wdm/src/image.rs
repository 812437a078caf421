//! A hold on the driver's own image.

use core::ptr::NonNull;

use wdk_sys::{
    DRIVER_OBJECT,
    ntddk::{ObfDereferenceObject, ObfReferenceObject},
};

/// The driver whose code the callbacks of a registration are. While a reference to its driver object is held, the I/O
/// manager does not unload its image.
#[derive(Clone, Copy)]
pub struct DriverImage(NonNull<DRIVER_OBJECT>);

// SAFETY: the object is only referenced and dereferenced, which may be done on any thread.
unsafe impl Send for DriverImage {}
// SAFETY: as above.
unsafe impl Sync for DriverImage {}

impl DriverImage {
    /// The image of the driver that is being started.
    #[must_use]
    pub fn new(driver: &mut DRIVER_OBJECT) -> Self {
        Self(NonNull::from(driver))
    }

    /// Keeps the image in memory until [`unpin`](Self::unpin).
    pub fn pin(&self) {
        // SAFETY: the driver object lives as long as the driver's code runs, and this is the driver's code.
        let _ = unsafe { ObfReferenceObject(self.0.as_ptr().cast()) };
    }

    /// Ends one [`pin`](Self::pin).
    pub fn unpin(&self) {
        // SAFETY: as in `pin`; the reference that ends was taken there.
        let _ = unsafe { ObfDereferenceObject(self.0.as_ptr().cast()) };
    }
}
