//! The few functions of Wine's ntdll and ntoskrnl that everything here stands on.
//!
//! Drivers run in a process of Wine (winedevice.exe), so what looks like kernel code may call ntdll like any program.

#![allow(non_camel_case_types, non_snake_case, reason = "the names are those of the C headers")]

use alloc::vec::Vec;
use core::ffi::{CStr, c_void};
use core::sync::atomic::AtomicPtr;

pub(crate) type Handle = *mut c_void;
pub(crate) type NtStatus = i32;

pub(crate) const STATUS_SUCCESS: NtStatus = 0;
pub(crate) const STATUS_INVALID_PARAMETER: NtStatus = 0xC000_000D_u32 as NtStatus;
pub(crate) const STATUS_PENDING: NtStatus = 0x103;
pub(crate) const STATUS_NOT_SUPPORTED: NtStatus = 0xC000_00BB_u32 as NtStatus;

/// The pseudo handle of the process that calls.
pub(crate) const THIS_PROCESS: Handle = -1isize as Handle;

#[repr(C)]
pub(crate) struct UNICODE_STRING {
    pub(crate) Length: u16,
    pub(crate) MaximumLength: u16,
    pub(crate) Buffer: *const u16,
}

#[repr(C)]
struct ANSI_STRING {
    Length: u16,
    MaximumLength: u16,
    Buffer: *const u8,
}

#[repr(C)]
pub(crate) struct OBJECT_ATTRIBUTES {
    pub(crate) Length: u32,
    pub(crate) RootDirectory: Handle,
    pub(crate) ObjectName: *const UNICODE_STRING,
    pub(crate) Attributes: u32,
    pub(crate) SecurityDescriptor: *const c_void,
    pub(crate) SecurityQualityOfService: *const c_void,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct IO_STATUS_BLOCK {
    pub(crate) Status: NtStatus,
    pub(crate) Information: usize,
}

/// The characters of a counted string.
///
/// # Safety
///
/// `text` points to a counted string that stays valid and unchanged for `'a`.
pub(crate) unsafe fn units<'a>(text: *const UNICODE_STRING) -> &'a [u16] {
    // SAFETY: the caller guarantees it.
    let text = unsafe { &*text };
    if text.Buffer.is_null() {
        return &[];
    }
    // SAFETY: a counted string has that many bytes; two make a character.
    unsafe { core::slice::from_raw_parts(text.Buffer, usize::from(text.Length) / 2) }
}

pub(crate) const IRP_MJ_COUNT: usize = 0x1C;

pub(crate) type Dispatch = unsafe extern "system" fn(device: *mut c_void, irp: *mut Irp) -> NtStatus;

/// `DRIVER_OBJECT`
#[repr(C)]
pub struct DriverObject {
    before: [usize; 7],
    pub(crate) name: UNICODE_STRING,
    between: [usize; 4],
    pub(crate) unload: *const c_void,
    pub(crate) major_function: [Option<Dispatch>; IRP_MJ_COUNT],
}

/// `IRP`, up to the location of the driver that has it.
#[repr(C)]
pub(crate) struct Irp {
    kind: u16,
    /// With its stack locations, which follow it.
    pub(crate) size: u16,
    before: [usize; 2],
    pub(crate) system_buffer: *mut c_void,
    between: [usize; 2],
    pub(crate) result: IO_STATUS_BLOCK,
    mode: [u8; 4],
    pub(crate) cancel: u8,
    pub(crate) cancel_irql: u8,
    further: [usize; 4],
    pub(crate) cancel_routine: *const c_void,
    beyond: [usize; 9],
    location: *mut StackLocation,
}

const _: () = {
    assert!(core::mem::offset_of!(Irp, result) == 0x30 && core::mem::offset_of!(Irp, cancel) == 0x44);
    assert!(core::mem::offset_of!(Irp, cancel_routine) == 0x68 && core::mem::offset_of!(Irp, location) == 0xB8);
};

/// `SL_PENDING_RETURNED`: the request was marked pending.
pub(crate) const SL_PENDING_RETURNED: u8 = 1;

/// `IO_STACK_LOCATION`, with the parameters of a device control.
#[repr(C)]
pub(crate) struct StackLocation {
    pub(crate) major: u8,
    minor: u8,
    flags: u8,
    pub(crate) control: u8,
    padding: u32,
    pub(crate) output_length: u32,
    padding_of_output: u32,
    pub(crate) input_length: u32,
    padding_of_input: u32,
    pub(crate) code: u32,
}

/// `DEVICE_OBJECT`, up to its driver.
#[repr(C)]
struct DeviceObject {
    kind: i16,
    /// With its extension, which follows it.
    size: u16,
    references: i32,
    driver: *mut DriverObject,
    between: [usize; 6],
    extension: *mut c_void,
}

const _: () = assert!(core::mem::offset_of!(DeviceObject, extension) == 0x40);

/// Has a new device say how large it is, which Wine leaves out.
///
/// # Safety
///
/// `device` is a device object with an extension of that many bytes.
pub(crate) unsafe fn set_memory_of(device: *mut c_void, extension: u32) {
    let device: *mut DeviceObject = device.cast();
    // SAFETY: the caller guarantees it.
    let start = unsafe { (*device).extension };
    let size = (start as usize - device as usize) as u32 + extension;
    // SAFETY: as above.
    unsafe { (*device).size = u16::try_from(size).unwrap_or(u16::MAX) };
}

/// The memory of a device.
///
/// # Safety
///
/// `device` is a device object.
pub(crate) unsafe fn memory_of(device: *const c_void) -> core::ops::Range<usize> {
    // SAFETY: the caller guarantees it.
    let size = unsafe { (*device.cast::<DeviceObject>()).size };
    device as usize..device as usize + usize::from(size)
}

/// The driver object of a device.
///
/// # Safety
///
/// `device` is a device object.
pub(crate) unsafe fn driver_of(device: *const c_void) -> *mut DriverObject {
    // SAFETY: the caller guarantees it.
    unsafe { (*device.cast::<DeviceObject>()).driver }
}

/// Where a request has the parameters for the driver that has it.
///
/// # Safety
///
/// The request has not been completed.
pub(crate) unsafe fn stack_location(irp: *const Irp) -> *mut StackLocation {
    // SAFETY: the caller guarantees it.
    unsafe { (*irp).location }
}

/// Sets what [`stack_location`] answers.
///
/// # Safety
///
/// As for that.
pub(crate) unsafe fn set_stack_location(irp: *mut Irp, location: *mut StackLocation) {
    // SAFETY: the caller guarantees it.
    unsafe { (*irp).location = location };
}

/// The cancel routine of a request, which drivers set and take back with atomic exchanges.
///
/// # Safety
///
/// The request is not completed while this is used.
pub(crate) unsafe fn cancel_routine<'a>(irp: *mut Irp) -> &'a AtomicPtr<c_void> {
    // SAFETY: the caller guarantees it.
    let place = unsafe { &raw mut (*irp).cancel_routine };
    // SAFETY: an aligned pointer that stays, as the caller guarantees.
    unsafe { AtomicPtr::from_ptr(place.cast()) }
}

/// What the loader tells when an image comes or goes: the same fields in both cases.
#[repr(C)]
pub(crate) struct LDR_DLL_NOTIFICATION_DATA {
    pub(crate) Flags: u32,
    pub(crate) FullDllName: *const UNICODE_STRING,
    pub(crate) BaseDllName: *const UNICODE_STRING,
    pub(crate) DllBase: *mut c_void,
    pub(crate) SizeOfImage: u32,
}

pub(crate) const LDR_DLL_NOTIFICATION_REASON_LOADED: u32 = 1;

pub(crate) type LdrDllNotification =
    unsafe extern "system" fn(reason: u32, data: *const LDR_DLL_NOTIFICATION_DATA, context: *mut c_void);

/// A slim reader/writer lock; all zeros is unlocked.
#[repr(transparent)]
pub(crate) struct RTL_SRWLOCK(pub(crate) usize);

#[cfg_attr(windows, link(name = "ntdll.dll", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    pub(crate) fn LdrRegisterDllNotification(
        Flags: u32,
        Function: LdrDllNotification,
        Context: *mut c_void,
        Cookie: *mut *mut c_void,
    ) -> NtStatus;
    fn LdrGetProcedureAddress(
        Base: *mut c_void,
        Name: *const ANSI_STRING,
        Ordinal: u32,
        Address: *mut *mut c_void,
    ) -> NtStatus;
    pub(crate) fn LdrUnloadDll(Base: *mut c_void) -> NtStatus;
    fn RtlPcToFileHeader(Address: *const c_void, Base: *mut *mut c_void) -> *mut c_void;

    pub(crate) fn RtlCreateHeap(
        Flags: u32,
        Base: *mut c_void,
        Reserve: usize,
        Commit: usize,
        Lock: *mut c_void,
        Parameters: *mut c_void,
    ) -> *mut c_void;
    pub(crate) fn RtlAllocateHeap(Heap: *mut c_void, Flags: u32, Size: usize) -> *mut c_void;
    pub(crate) fn RtlFreeHeap(Heap: *mut c_void, Flags: u32, Block: *mut c_void) -> u8;

    pub(crate) fn RtlAcquireSRWLockExclusive(Lock: *mut RTL_SRWLOCK);
    pub(crate) fn RtlReleaseSRWLockExclusive(Lock: *mut RTL_SRWLOCK);
    pub(crate) fn RtlWaitOnAddress(
        Address: *const c_void,
        Compare: *const c_void,
        Size: usize,
        Timeout: *const i64,
    ) -> NtStatus;
    pub(crate) fn RtlWakeAddressAll(Address: *const c_void);

    pub(crate) fn NtAllocateVirtualMemory(
        Process: Handle,
        Base: *mut *mut c_void,
        ZeroBits: usize,
        Size: *mut usize,
        Type: u32,
        Protect: u32,
    ) -> NtStatus;
    pub(crate) fn NtFreeVirtualMemory(Process: Handle, Base: *mut *mut c_void, Size: *mut usize, Type: u32)
    -> NtStatus;
    fn NtProtectVirtualMemory(
        Process: Handle,
        Base: *mut *mut c_void,
        Size: *mut usize,
        Protect: u32,
        OldProtect: *mut u32,
    ) -> NtStatus;

    pub(crate) fn NtFlushInstructionCache(Process: Handle, Base: *const c_void, Size: usize) -> NtStatus;

    fn NtQueryVirtualMemory(
        Process: Handle,
        Address: *const c_void,
        Class: u32,
        Information: *mut MEMORY_BASIC_INFORMATION,
        Length: usize,
        ReturnLength: *mut usize,
    ) -> NtStatus;
    pub(crate) fn RtlCaptureStackBackTrace(Skip: u32, Count: u32, Frames: *mut *const c_void, Hash: *mut u32) -> u16;

    pub(crate) fn NtCreateFile(
        File: *mut Handle,
        Access: u32,
        Attributes: *const OBJECT_ATTRIBUTES,
        Status: *mut IO_STATUS_BLOCK,
        AllocationSize: *const i64,
        FileAttributes: u32,
        Share: u32,
        Disposition: u32,
        Options: u32,
        EaBuffer: *const c_void,
        EaLength: u32,
    ) -> NtStatus;
    pub(crate) fn NtWriteFile(
        File: Handle,
        Event: Handle,
        Apc: *const c_void,
        ApcContext: *mut c_void,
        Status: *mut IO_STATUS_BLOCK,
        Buffer: *const c_void,
        Length: u32,
        Offset: *const i64,
        Key: *const u32,
    ) -> NtStatus;
    pub(crate) fn NtSetInformationFile(
        File: Handle,
        Status: *mut IO_STATUS_BLOCK,
        Information: *const c_void,
        Length: u32,
        Class: u32,
    ) -> NtStatus;
    pub(crate) fn NtOpenKey(Key: *mut Handle, Access: u32, Attributes: *const OBJECT_ATTRIBUTES) -> NtStatus;
    pub(crate) fn NtQueryObject(
        Handle: Handle,
        Class: u32,
        Information: *mut c_void,
        Length: u32,
        ReturnLength: *mut u32,
    ) -> NtStatus;
    pub(crate) fn NtClose(Handle: Handle) -> NtStatus;

    pub(crate) fn NtQueryPerformanceCounter(Counter: *mut i64, Frequency: *mut i64) -> NtStatus;
    pub(crate) fn NtDelayExecution(Alertable: u8, Interval: *const i64) -> NtStatus;
    pub(crate) fn NtTerminateProcess(Process: Handle, Status: NtStatus) -> NtStatus;

    /// Formats as C does; the arguments are at `Arguments`, 8 bytes each.
    pub(crate) fn _vsnprintf(Buffer: *mut u8, Size: usize, Format: *const u8, Arguments: *const c_void) -> i32;
}

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    pub(crate) fn MmGetSystemRoutineAddress(Name: *const UNICODE_STRING) -> *mut c_void;
}

/// What NtQueryVirtualMemory says about a range of pages that are alike.
#[repr(C)]
#[derive(Default)]
struct MEMORY_BASIC_INFORMATION {
    BaseAddress: usize,
    AllocationBase: usize,
    AllocationProtect: u32,
    PartitionId: u16,
    RegionSize: usize,
    State: u32,
    Protect: u32,
    Type: u32,
}

/// Whether all of some memory is there and may be read.
pub(crate) fn readable(address: usize, length: usize) -> bool {
    const BASIC_INFORMATION: u32 = 0;
    const MEM_COMMIT: u32 = 0x1000;
    const PAGE_NOACCESS: u32 = 1;
    const PAGE_GUARD: u32 = 0x100;
    let Some(end) = address.checked_add(length) else { return false };
    let mut next = address;
    while next < end {
        let mut pages = MEMORY_BASIC_INFORMATION::default();
        let size = size_of::<MEMORY_BASIC_INFORMATION>();
        // SAFETY: the structure is a local of the size given; any address may be asked about.
        let status = unsafe {
            NtQueryVirtualMemory(
                THIS_PROCESS,
                next as *const c_void,
                BASIC_INFORMATION,
                &mut pages,
                size,
                core::ptr::null_mut(),
            )
        };
        if status < 0 || pages.State != MEM_COMMIT || pages.Protect & (PAGE_NOACCESS | PAGE_GUARD) != 0 {
            return false;
        }
        next = pages.BaseAddress + pages.RegionSize;
    }
    true
}

/// The address of a function that the kernel exports.
pub(crate) fn kernel_function(name: &str) -> Option<usize> {
    let name = Wide::new(name);
    // SAFETY: a counted string, valid during the call.
    let address = unsafe { MmGetSystemRoutineAddress(&name.counted()) };
    (!address.is_null()).then_some(address as usize)
}

/// Changes the protection of the pages that contain a range, and returns the one before.
pub(crate) fn protect(start: usize, length: usize, protection: u32) -> u32 {
    let (mut base, mut size, mut old) = (start as *mut c_void, length, 0);
    // SAFETY: all pointers are to locals; whoever calls owns the pages.
    unsafe { NtProtectVirtualMemory(THIS_PROCESS, &mut base, &mut size, protection, &mut old) };
    old
}

/// The base of the image that contains an address.
pub(crate) fn image_of(address: usize) -> Option<*mut c_void> {
    let mut base = core::ptr::null_mut();
    // SAFETY: any address may be asked about; the result goes to a local.
    unsafe { RtlPcToFileHeader(address as *const c_void, &mut base) };
    (!base.is_null()).then_some(base)
}

/// Whether ntdll exports a function.
pub(crate) fn ntdll_exports(name: &CStr) -> bool {
    let Some(ntdll) = image_of(NtClose as *const () as usize) else { return false };
    let length = name.count_bytes() as u16;
    let name = ANSI_STRING { Length: length, MaximumLength: length + 1, Buffer: name.as_ptr().cast() };
    let mut address = core::ptr::null_mut();
    // SAFETY: the base is that of a loaded image; the other pointers are to locals.
    let status = unsafe { LdrGetProcedureAddress(ntdll, &name, 0, &mut address) };
    status >= 0 && !address.is_null()
}

/// A string in the kernel's characters.
pub(crate) struct Wide(Vec<u16>);

impl Wide {
    pub(crate) fn new(text: &str) -> Self {
        Self::of(text.encode_utf16(), &[])
    }

    /// Two parts, one behind the other.
    pub(crate) fn of(start: impl Iterator<Item = u16>, end: &[u16]) -> Self {
        Self(start.chain(end.iter().copied()).collect())
    }

    /// The form that functions take, valid as long as `self`.
    pub(crate) fn counted(&self) -> UNICODE_STRING {
        let bytes = (self.0.len() * 2) as u16;
        UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: self.0.as_ptr() }
    }
}
