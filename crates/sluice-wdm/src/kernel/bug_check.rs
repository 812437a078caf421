//! What a driver adds to a crash dump ("Implementing a KbCallbackSecondaryDumpData Callback Routine").

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::{Acquire, Release};

use wdk_sys::_KBUGCHECK_CALLBACK_REASON::{KbCallbackSecondaryDumpData, Type as Reason};
use wdk_sys::ntddk::{KeDeregisterBugCheckReasonCallback, KeRegisterBugCheckReasonCallback};
use wdk_sys::{GUID, KBUGCHECK_REASON_CALLBACK_RECORD, KBUGCHECK_SECONDARY_DUMP_DATA, PVOID, ULONG};

/// The most that is added, in bytes.
const SIZE: usize = 1024;

/// Data of a driver in a crash dump, of whatever kind it is. An `S` writes it. To be put into a static: an image is not
/// paged, and stays where it is.
#[repr(C)]
pub struct DumpData<S> {
    /// First, so that a pointer to it is one to the whole.
    record: UnsafeCell<KBUGCHECK_REASON_CALLBACK_RECORD>,
    buffer: UnsafeCell<[u8; SIZE]>,
    /// NULL while there is nothing to write.
    source: AtomicPtr<S>,
    write: fn(&S, &mut [u8]) -> usize,
    id: GUID,
}

// SAFETY: the record is the kernel's between `register` and `deregister`, which are called one after the other; the
// buffer is used by one thread alone, after all others have stopped. The source is shared, so it has to be `Sync`.
unsafe impl<S: Sync> Sync for DumpData<S> {}

impl<S: Sync> DumpData<S> {
    /// Data with that identifier, by which a debugger shows it. `write` writes it and returns how long it is. It is
    /// called at HIGH_LEVEL, when nothing else runs any more: it must not wait for anything, nor touch paged memory.
    #[must_use]
    pub const fn new(id: u128, write: fn(&S, &mut [u8]) -> usize) -> Self {
        let [a, b, c, d, e, f, g, h, data4 @ ..] = id.to_be_bytes();
        let id = GUID {
            Data1: u32::from_be_bytes([a, b, c, d]),
            Data2: u16::from_be_bytes([e, f]),
            Data3: u16::from_be_bytes([g, h]),
            Data4: data4,
        };
        Self {
            // KeInitializeCallbackRecord, which is a macro in C, makes it so: BufferEmpty is 0.
            // SAFETY: a structure of pointers and numbers.
            record: UnsafeCell::new(unsafe { core::mem::zeroed() }),
            buffer: UnsafeCell::new([0; SIZE]),
            source: AtomicPtr::new(ptr::null_mut()),
            write,
            id,
        }
    }

    /// Has `source` write the data of every dump from now on, which a debugger shows under the driver's name, too. If
    /// the kernel does not want it, dumps are without. In DriverEntry.
    ///
    /// # Safety
    ///
    /// `source` stays valid, and where it is, until [`deregister`](Self::deregister) is called, which is before the
    /// image goes. `component` ends with a zero. There is no other call under way.
    pub unsafe fn register(&'static self, source: &S, component: &'static [u8]) -> bool {
        self.source.store(ptr::from_ref(source).cast_mut(), Release);
        // SAFETY: the record is in no list, is not paged, and stays until `deregister`; the name is only read.
        let registered = unsafe {
            KeRegisterBugCheckReasonCallback(
                self.record.get(),
                Some(callback::<S>),
                KbCallbackSecondaryDumpData,
                component.as_ptr().cast_mut(),
            )
        };
        registered != 0
    }

    /// Adds nothing to dumps from now on. In DriverUnload.
    pub fn deregister(&'static self) {
        // SAFETY: the record is one that was registered, or one of zeros, of which the kernel says that it is not.
        let _ = unsafe { KeDeregisterBugCheckReasonCallback(self.record.get()) };
        self.source.store(ptr::null_mut(), Release);
    }
}

/// Gives the kernel what the driver writes. At HIGH_LEVEL, on the processor on which the machine has stopped.
unsafe extern "C" fn callback<S: Sync>(
    reason: Reason,
    record: *mut KBUGCHECK_REASON_CALLBACK_RECORD,
    data: PVOID,
    length: ULONG,
) {
    if reason != KbCallbackSecondaryDumpData || (length as usize) < size_of::<KBUGCHECK_SECONDARY_DUMP_DATA>() {
        return;
    }
    // SAFETY: the record is the first field of a `DumpData` of this type, which is registered.
    let this = unsafe { &*record.cast::<DumpData<S>>() };
    // SAFETY: `register` was promised that it stays valid as long.
    let Some(source) = (unsafe { this.source.load(Acquire).as_ref() }) else { return };
    // SAFETY: no other thread runs any more, and this one comes here for one dump after the other.
    let buffer = unsafe { &mut *this.buffer.get() };
    let written = (this.write)(source, buffer);
    // SAFETY: what the kernel passes for this reason.
    let data = unsafe { &mut *data.cast::<KBUGCHECK_SECONDARY_DUMP_DATA>() };
    data.Guid = this.id;
    data.OutBuffer = buffer.as_mut_ptr().cast();
    data.OutBufferLength = written.min(SIZE).min(data.MaximumAllowed as usize) as u32;
}
