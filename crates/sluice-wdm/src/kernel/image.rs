//! A hold on the driver's own image.

use core::ptr::NonNull;

use wdk_nmr::Resident;
use wdk_sys::DRIVER_OBJECT;
use wdk_sys::ntddk::{ObfDereferenceObject, ObfReferenceObject};

/// A reference to the driver object of the driver whose code this is. As long as it is held, the I/O manager does not
/// delete the driver object, and the image stays in memory even if DriverUnload has returned.
pub struct DriverImage(NonNull<DRIVER_OBJECT>);

// SAFETY: a driver object belongs to no thread; it is only dereferenced, which may be done on any.
unsafe impl Send for DriverImage {}
// SAFETY: a shared reference gives access to nothing.
unsafe impl Sync for DriverImage {}

// SAFETY: the reference keeps code and statics mapped. The global allocator of the drivers is wdk-alloc, whose
// memory is non-paged pool: aligned to 16 bytes on 64-bit systems.
unsafe impl Resident for DriverImage {}

impl DriverImage {
    /// Takes a reference, in DriverEntry.
    #[must_use]
    pub fn hold(driver: &mut DRIVER_OBJECT) -> Self {
        let driver = NonNull::from(driver);
        // SAFETY: the driver object exists as long as DriverEntry runs.
        let _ = unsafe { ObfReferenceObject(driver.as_ptr().cast()) };
        Self(driver)
    }
}

impl Drop for DriverImage {
    fn drop(&mut self) {
        // SAFETY: the reference was taken in `hold` and is given up once.
        let _ = unsafe { ObfDereferenceObject(self.0.as_ptr().cast()) };
    }
}
