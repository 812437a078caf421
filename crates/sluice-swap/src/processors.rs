//! What a swap has to know about the processors that read it.

/// How readers are kept from being suspended, and how a writer finds out that those at DISPATCH_LEVEL are gone.
///
/// In a driver:
///
/// ```no_run
/// # type KAFFINITY = usize;
/// # #[repr(C)]
/// # #[derive(Default)]
/// # struct GROUP_AFFINITY { Mask: KAFFINITY, Group: u16, Reserved: [u16; 3] }
/// # #[repr(C)]
/// # #[derive(Default)]
/// # struct PROCESSOR_NUMBER { Group: u16, Number: u8, Reserved: u8 }
/// # const ALL_PROCESSOR_GROUPS: u16 = 0xFFFF;
/// # unsafe extern "system" {
/// #     fn KeGetCurrentIrql() -> u8;
/// #     fn KeEnterCriticalRegion();
/// #     fn KeLeaveCriticalRegion();
/// #     fn KeQueryActiveProcessorCountEx(group: u16) -> u32;
/// #     fn KeGetProcessorNumberFromIndex(index: u32, number: *mut PROCESSOR_NUMBER) -> i32;
/// #     fn KeSetSystemGroupAffinityThread(affinity: *mut GROUP_AFFINITY, previous: *mut GROUP_AFFINITY);
/// #     fn KeRevertToUserGroupAffinityThread(previous: *mut GROUP_AFFINITY);
/// # }
/// use sluice_swap::Processors;
///
/// struct Kernel;
///
/// struct Region;
///
/// impl Drop for Region {
///     fn drop(&mut self) {
///         // SAFETY: `enter` has entered one.
///         unsafe { KeLeaveCriticalRegion() };
///     }
/// }
///
/// // SAFETY: DISPATCH_LEVEL is told by the kernel, and at that level a processor runs one thread until it is done. A
/// // thread that KeSetSystemGroupAffinityThread was called for at PASSIVE_LEVEL runs on that processor when it
/// // returns, so whatever ran there at DISPATCH_LEVEL before has ended.
/// unsafe impl Processors for Kernel {
///     type Region = Region;
///
///     fn enter() -> Option<Region> {
///         // SAFETY: at any IRQL.
///         if unsafe { KeGetCurrentIrql() } >= 2 {
///             return None;
///         }
///         // SAFETY: at up to APC_LEVEL.
///         unsafe { KeEnterCriticalRegion() };
///         Some(Region)
///     }
///
///     fn visit_each() {
///         let mut before = GROUP_AFFINITY::default();
///         // SAFETY: takes a number.
///         for index in 0..unsafe { KeQueryActiveProcessorCountEx(ALL_PROCESSOR_GROUPS) } {
///             let mut number = PROCESSOR_NUMBER::default();
///             // SAFETY: the number is ours.
///             unsafe { KeGetProcessorNumberFromIndex(index, &raw mut number) };
///             let mut one = GROUP_AFFINITY { Mask: 1 << number.Number, Group: number.Group, ..Default::default() };
///             let previous = if index == 0 { &raw mut before } else { core::ptr::null_mut() };
///             // SAFETY: one processor that is active; both structures are ours.
///             unsafe { KeSetSystemGroupAffinityThread(&raw mut one, previous) };
///         }
///         // SAFETY: what the first call has written.
///         unsafe { KeRevertToUserGroupAffinityThread(&raw mut before) };
///     }
/// }
/// ```
///
/// # Safety
///
/// - If [`enter`](Self::enter) returns `None`, the calling thread is at DISPATCH_LEVEL or above, and whoever lowers the
///   level below it while it reads breaks a promise of their own.
/// - Between the call of [`visit_each`](Self::visit_each) and its return there is a moment on each processor at which
///   it is below DISPATCH_LEVEL. What the processor has done before happens before the return, and the call happens
///   before what the processor does afterwards.
pub unsafe trait Processors {
    /// What keeps a thread from being suspended below DISPATCH_LEVEL, until it is dropped: a critical region.
    type Region;

    /// `None` at DISPATCH_LEVEL, otherwise a region, which the calling thread has entered. Up to DISPATCH_LEVEL.
    fn enter() -> Option<Self::Region>;

    /// Returns when each processor has been below DISPATCH_LEVEL once. PASSIVE_LEVEL.
    fn visit_each();
}

/// The processors of a program in user mode, where there is no DISPATCH_LEVEL: all readers are counted.
#[derive(Debug)]
pub enum AllCounted {}

// SAFETY: no reader goes without being counted, so nothing is promised about processors.
unsafe impl Processors for AllCounted {
    type Region = ();

    #[inline]
    fn enter() -> Option<()> {
        Some(())
    }

    fn visit_each() {}
}
