//! A hold on the driver's own image.

use core::ffi::c_void;
use core::ptr::NonNull;

use wdk_nmr::Resident;

use crate::kernel::{ObfDereferenceObject, ObfReferenceObject};

/// A reference to the driver object of the driver whose code this is. As long as it is held, the I/O manager does not
/// delete the driver object, and the image stays in memory even if DriverUnload has returned.
///
/// A registration owns one, and so keeps the image if it is leaked.
#[derive(Debug)]
pub struct DriverImage(NonNull<c_void>);

// SAFETY: a driver object belongs to no thread; it is only dereferenced, which may be done on any.
unsafe impl Send for DriverImage {}
// SAFETY: a shared reference gives access to nothing.
unsafe impl Sync for DriverImage {}

// SAFETY: the reference keeps code and statics mapped. Who made it vouches for the global allocator.
unsafe impl Resident for DriverImage {}

impl DriverImage {
    /// Takes a reference to the driver object, of whichever crate declares its type. Up to DISPATCH_LEVEL.
    ///
    /// # Safety
    ///
    /// * `driver` is the DRIVER_OBJECT that the I/O manager has passed to the DriverEntry of this image.
    /// * The global allocator of this image hands out memory that is not paged (R10), aligned to at least 16 bytes or
    ///   as asked for. That of wdk-alloc does.
    #[must_use]
    pub unsafe fn hold<T>(driver: &mut T) -> Self {
        let driver = NonNull::from(driver).cast();
        // SAFETY: the driver object, which the caller has a reference to.
        let _ = unsafe { ObfReferenceObject(driver.as_ptr()) };
        Self(driver)
    }
}

impl Drop for DriverImage {
    /// Up to DISPATCH_LEVEL.
    fn drop(&mut self) {
        // SAFETY: the reference was taken in `hold` and is given up once.
        let _ = unsafe { ObfDereferenceObject(self.0.as_ptr()) };
    }
}
