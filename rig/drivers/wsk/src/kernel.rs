//! What the files of the example want of a kernel: an event, an IRP, and memory with an MDL.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::time::Duration;

use sluice_wdm::try_box;
use wdk_sys::_EVENT_TYPE::NotificationEvent;
use wdk_sys::_KWAIT_REASON::Executive;
use wdk_sys::_MEMORY_CACHING_TYPE::MmCached;
use wdk_sys::_MM_PAGE_PRIORITY::NormalPagePriority;
use wdk_sys::_MODE::KernelMode;
use wdk_sys::ntddk::{
    IoAllocateIrp, IoAllocateMdl, IoFreeIrp, IoFreeMdl, KeInitializeEvent, KeSetEvent, KeWaitForSingleObject,
    MmBuildMdlForNonPagedPool, MmMapLockedPagesSpecifyCache,
};
use wdk_sys::{
    DEVICE_OBJECT, IRP, KEVENT, LARGE_INTEGER, MDL, MDL_MAPPED_TO_SYSTEM_VA, MDL_SOURCE_IS_NONPAGED_POOL, NTSTATUS,
    SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_MORE_PROCESSING_REQUIRED, STATUS_SUCCESS,
};

use crate::interface::Buffer;

/// A notification event. It has links to itself in it, and so stays where it is.
pub struct Event(Box<UnsafeCell<MaybeUninit<KEVENT>>>);

// SAFETY: the functions of an event may be called on any thread.
unsafe impl Send for Event {}
// SAFETY: the functions of an event may be called on any thread.
unsafe impl Sync for Event {}

impl Event {
    /// An event that is not set.
    ///
    /// # Errors
    ///
    /// STATUS_INSUFFICIENT_RESOURCES.
    pub fn new() -> Result<Self, NTSTATUS> {
        let event = try_box(UnsafeCell::new(MaybeUninit::uninit()))?;
        let this = Self(event);
        // SAFETY: memory for an event, which the global allocator takes from non-paged pool.
        unsafe { KeInitializeEvent(this.get(), NotificationEvent, 0) };
        Ok(this)
    }

    fn get(&self) -> *mut KEVENT {
        self.0.get().cast()
    }

    /// Sets it. At up to DISPATCH_LEVEL.
    pub fn set(&self) {
        // SAFETY: the event was initialized when it was made.
        unsafe { KeSetEvent(self.get(), 0, 0) };
    }

    /// False: the event was not set in time. PASSIVE_LEVEL.
    pub fn wait(&self, timeout: Duration) -> bool {
        // In units of 100 ns; negative is from now on.
        let units = i64::try_from(timeout.as_nanos() / 100).unwrap_or(i64::MAX);
        let mut timeout = LARGE_INTEGER { QuadPart: -units };
        self.wait_for(&raw mut timeout)
    }

    fn wait_for(&self, timeout: *mut LARGE_INTEGER) -> bool {
        // SAFETY: the event was initialized when it was made; the time is NULL or lives through the call.
        unsafe { KeWaitForSingleObject(self.get().cast(), Executive, KernelMode as i8, 0, timeout) == STATUS_SUCCESS }
    }
}

pub type Irp = IRP;

/// An IRP with one stack location, which nobody uses.
struct OwnIrp(NonNull<IRP>);

impl OwnIrp {
    fn new() -> Result<Self, NTSTATUS> {
        // SAFETY: any number of stack locations will do.
        let irp = unsafe { IoAllocateIrp(1, 0) };
        NonNull::new(irp).map(Self).ok_or(STATUS_INSUFFICIENT_RESOURCES)
    }

    /// IoSetCompletionRoutine, which is a macro in C: the event is set when the IRP is completed in any way.
    fn set_event(&mut self, event: &Event) {
        // SAFETY: nobody else has the IRP yet.
        let irp = unsafe { self.0.as_mut() };
        // SAFETY: an IRP that is in no queue has the overlay in it.
        let overlay = unsafe { irp.Tail.Overlay };
        // SAFETY: and in the overlay a location, not a packet type.
        let current = unsafe { overlay.__bindgen_anon_2.__bindgen_anon_1.CurrentStackLocation };
        // SAFETY: the current location of a new IRP lies behind its only one, which is that of the driver it goes to.
        let next = unsafe { current.sub(1) };
        // SAFETY: as above; nobody else has it.
        let next = unsafe { &mut *next };
        next.CompletionRoutine = Some(completed);
        next.Context = ptr::from_ref(event).cast_mut().cast();
        next.Control = (SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL) as u8;
    }

    /// What it was completed with.
    fn result(&self) -> Result<usize, NTSTATUS> {
        // SAFETY: it is completed, and ours.
        let block = unsafe { self.0.as_ref() }.IoStatus;
        // SAFETY: whoever completes an IRP writes the status, not a pointer.
        let status = unsafe { block.__bindgen_anon_1.Status };
        if status == STATUS_SUCCESS { Ok(block.Information as usize) } else { Err(status) }
    }
}

impl Drop for OwnIrp {
    fn drop(&mut self) {
        // SAFETY: it is not in use: never started, or completed and kept by STATUS_MORE_PROCESSING_REQUIRED.
        unsafe { IoFreeIrp(self.0.as_ptr()) };
    }
}

/// The completion routine. The IRP stays with whoever waits, who may free it as soon as the event is set.
unsafe extern "C" fn completed(_: *mut DEVICE_OBJECT, _: *mut IRP, event: *mut c_void) -> NTSTATUS {
    // SAFETY: the event of `run`, which waits for it.
    unsafe { &*event.cast::<Event>() }.set();
    STATUS_MORE_PROCESSING_REQUIRED
}

/// Starts an operation and waits until its IRP is completed, whether that is before `start` returns or later.
/// PASSIVE_LEVEL.
///
/// # Errors
///
/// STATUS_INSUFFICIENT_RESOURCES, or what the IRP was completed with unless that is STATUS_SUCCESS.
pub fn run(start: impl FnOnce(*mut Irp) -> NTSTATUS) -> Result<usize, NTSTATUS> {
    let event = Event::new()?;
    let mut irp = OwnIrp::new()?;
    irp.set_event(&event);
    // WSK completes the IRP whatever the function returns, and the result is in the IRP.
    start(irp.0.as_ptr());
    // There is no other way out: WSK has the IRP.
    while !event.wait_for(ptr::null_mut()) {}
    irp.result()
}

/// Non-paged memory with an MDL that describes it.
pub struct Memory {
    bytes: Vec<u8>,
    mdl: NonNull<MDL>,
}

impl Memory {
    /// So many zeros, of which there is at least one.
    ///
    /// # Errors
    ///
    /// STATUS_INSUFFICIENT_RESOURCES.
    pub fn new(length: usize) -> Result<Self, NTSTATUS> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        bytes.resize(length, 0);
        Self::describe(bytes)
    }

    /// Memory with these bytes in it.
    ///
    /// # Errors
    ///
    /// As for [`Self::new`].
    pub fn of(bytes: &[u8]) -> Result<Self, NTSTATUS> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(bytes.len()).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        copy.extend_from_slice(bytes);
        Self::describe(copy)
    }

    fn describe(mut bytes: Vec<u8>) -> Result<Self, NTSTATUS> {
        let start = bytes.as_mut_ptr().cast();
        // SAFETY: the global allocator has taken the memory from non-paged pool; no IRP.
        let mdl = unsafe { IoAllocateMdl(start, bytes.len() as u32, 0, 0, ptr::null_mut()) };
        let mdl = NonNull::new(mdl).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        // SAFETY: a new MDL, of memory in non-paged pool.
        unsafe { MmBuildMdlForNonPagedPool(mdl.as_ptr()) };
        Ok(Self { bytes, mdl })
    }

    /// All of it, as WSK takes it.
    pub fn buffer(&mut self) -> Buffer {
        Buffer { mdl: self.mdl.as_ptr().cast(), offset: 0, length: self.bytes.len() }
    }

    /// Copies as many bytes as there is room for.
    pub fn copy_to(&self, bytes: &mut [u8]) {
        bytes.iter_mut().zip(&self.bytes).for_each(|(to, from)| *to = *from);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the MDL is ours, and no operation uses it any more.
        unsafe { IoFreeMdl(self.mdl.as_ptr()) };
    }
}

/// The bytes of a buffer of WSK's, in pieces: one for each MDL of its chain. They end early if the kernel has no
/// addresses left for one.
pub struct Pieces<'a> {
    mdl: *mut MDL,
    offset: usize,
    left: usize,
    buffer: PhantomData<&'a [u8]>,
}

impl Pieces<'_> {
    /// # Safety
    ///
    /// The buffer has the bytes that it says, for `'a`.
    pub unsafe fn of(buffer: &Buffer) -> Self {
        Self { mdl: buffer.mdl.cast(), offset: buffer.offset as usize, left: buffer.length, buffer: PhantomData }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while self.left > 0 {
            // SAFETY: an MDL of the buffer's chain, or NULL behind its last.
            let mdl = unsafe { self.mdl.as_ref() }?;
            let count = mdl.ByteCount as usize;
            let offset = self.offset.min(count);
            let length = (count - offset).min(self.left);
            // SAFETY: an MDL of the buffer's chain.
            let start = unsafe { system_address(self.mdl) }?;
            (self.mdl, self.offset, self.left) = (mdl.Next, self.offset - offset, self.left - length);
            if length > 0 {
                // SAFETY: within the bytes that the MDL describes.
                let start = unsafe { start.as_ptr().add(offset) };
                // SAFETY: within the bytes that the MDL describes, which stay for `'a`.
                return Some(unsafe { core::slice::from_raw_parts(start, length) });
            }
        }
        None
    }
}

/// MmGetSystemAddressForMdlSafe, which is a macro in C: where the bytes of an MDL are.
///
/// # Safety
///
/// The MDL describes memory that is locked, or not paged.
unsafe fn system_address(mdl: *mut MDL) -> Option<NonNull<u8>> {
    const IS_MAPPED: u32 = MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL;
    const NO_EXECUTE: u32 = 0x4000_0000;
    // SAFETY: the caller has an MDL.
    let MDL { MdlFlags, MappedSystemVa, .. } = unsafe { *mdl };
    let address = if MdlFlags as u32 & IS_MAPPED != 0 {
        MappedSystemVa
    } else {
        let priority = NormalPagePriority | NO_EXECUTE;
        // SAFETY: the caller's MDL describes locked memory; at no address in particular, and without a bug check.
        unsafe { MmMapLockedPagesSpecifyCache(mdl, KernelMode as i8, MmCached, ptr::null_mut(), 0, priority) }
    };
    NonNull::new(address.cast())
}
