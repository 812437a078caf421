//! The kernel, as far as this driver needs it: an event, an IRP, and memory that WSK can reach. Here is what stands for
//! it in a program. `rig/drivers/wsk` of the repository has the same names for the kernel, and the other files of
//! the driver as they are.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use wdk_nmr::NTSTATUS;

use crate::interface::Buffer;

/// A notification event: KEVENT, with KeInitializeEvent, KeSetEvent and KeWaitForSingleObject.
pub struct Event(Mutex<bool>, Condvar);

impl Event {
    /// # Errors
    ///
    /// A driver's has to stay where it is, and there may be no memory for it.
    pub fn new() -> Result<Self, NTSTATUS> {
        Ok(Self(Mutex::new(false), Condvar::new()))
    }

    pub fn set(&self) {
        *self.0.lock().expect("no panic") = true;
        self.1.notify_all();
    }

    /// False: the event was not set in time. PASSIVE_LEVEL.
    pub fn wait(&self, timeout: Duration) -> bool {
        let guard = self.0.lock().expect("no panic");
        let (set, _) = self.1.wait_timeout_while(guard, timeout, |set| !*set).expect("no panic");
        *set
    }
}

/// Two fields of an IRP, IoStatus.Status and IoStatus.Information, and what its completion routine does.
pub struct Irp {
    pub status: NTSTATUS,
    pub information: usize,
    pub completion: unsafe fn(irp: *mut Irp, context: *mut c_void),
    pub context: *mut c_void,
}

/// Starts an operation and waits until its IRP is completed, whether that is before `start` returns or later.
/// PASSIVE_LEVEL.
///
/// # Errors
///
/// What the IRP was completed with, unless it is STATUS_SUCCESS.
pub fn run(start: impl FnOnce(*mut Irp) -> NTSTATUS) -> Result<usize, NTSTATUS> {
    /// What the completion routine does: nothing of the IRP may be touched after the event is set.
    unsafe fn set_event(_: *mut Irp, event: *mut c_void) {
        // SAFETY: the event of `run`, which is there until it is set.
        unsafe { &*event.cast::<Event>() }.set();
    }
    let event = Event::new()?;
    let context = (&raw const event).cast_mut().cast();
    let irp = UnsafeCell::new(Irp { status: 0, information: 0, completion: set_event, context });
    // WSK completes the IRP whatever the function returns, and the result is in the IRP.
    start(irp.get());
    while !event.wait(Duration::from_secs(1)) {}
    let irp = irp.into_inner();
    if irp.status == 0 { Ok(irp.information) } else { Err(irp.status) }
}

/// Memory with an MDL that describes it. The MDL of a program is the address: nothing but its drivers looks into it.
pub struct Memory(Vec<u8>);

impl Memory {
    /// # Errors
    ///
    /// A driver may find no memory.
    pub fn new(length: usize) -> Result<Self, NTSTATUS> {
        Ok(Self(vec![0; length]))
    }

    /// Memory with these bytes in it.
    ///
    /// # Errors
    ///
    /// As for [`Self::new`].
    pub fn of(bytes: &[u8]) -> Result<Self, NTSTATUS> {
        Ok(Self(bytes.to_vec()))
    }

    /// All of it, as WSK takes it.
    pub fn buffer(&mut self) -> Buffer {
        Buffer { mdl: self.0.as_mut_ptr().cast(), offset: 0, length: self.0.len() }
    }

    /// Copies as many bytes as there is room for.
    pub fn copy_to(&self, bytes: &mut [u8]) {
        bytes.iter_mut().zip(&self.0).for_each(|(to, from)| *to = *from);
    }
}

/// The bytes of a buffer of WSK's, in pieces: one for each MDL of a chain. Here there is one.
pub struct Pieces<'a>(Option<&'a [u8]>);

impl<'a> Pieces<'a> {
    /// # Safety
    ///
    /// The buffer has the bytes that it says, for `'a`.
    pub unsafe fn of(buffer: &Buffer) -> Self {
        // SAFETY: the buffer has `length` bytes from `offset` on.
        let start = unsafe { buffer.mdl.cast::<u8>().add(buffer.offset as usize) };
        // SAFETY: the buffer has `length` bytes from `offset` on.
        Self(Some(unsafe { core::slice::from_raw_parts(start, buffer.length) }))
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.take()
    }
}
