//! What keeps the driver's image in memory.

/// A promise that outlives a mistake: the driver's image and its heap stay as long as a value of the type exists.
///
/// A registration owns such a value, and drops it as the last step of
/// [`deregister`](crate::ProviderRegistration::deregister). A registration that is leaked or dropped without that leaks
/// the value too. NMR then goes on calling into an image that is still there: the driver cannot be unloaded, which is
/// the worst that can come of it (M6).
///
/// In a WDM driver the value holds a reference to the DRIVER_OBJECT: `ObReferenceObject` when it is made, in
/// DriverEntry, and `ObDereferenceObject` when it is dropped.
///
/// # Safety
///
/// As long as a value of the type exists,
///
/// * the code and the statics of the image that makes the registration stay mapped, even if DriverUnload has returned;
/// * the global allocator hands out memory that is not paged (R10), aligned to at least 16 bytes or as asked for.
pub unsafe trait Resident: Send + Sync + 'static {}
