//! As much of the WDM as the misfit needs.

use core::ffi::c_void;
use core::ptr::{null, null_mut};

use crate::request::Irp;

pub(crate) type NtStatus = i32;
pub(crate) const STATUS_SUCCESS: NtStatus = 0;
pub(crate) const STATUS_UNSUCCESSFUL: NtStatus = 0xC000_0001_u32 as NtStatus;

const POOL_FLAG_NON_PAGED: u64 = 0x40;
const POOL_FLAG_PAGED: u64 = 0x100;
const POOL_FLAG_RAISE_ON_FAILURE: u64 = 0x20;
const KERNEL_MODE: i8 = 0;

/// `DRIVER_OBJECT`
#[repr(C)]
pub struct DriverObject {
    before: [usize; 13],
    unload: Option<extern "system" fn(*mut DriverObject)>,
    dispatch: [Option<Dispatch>; 0x1C],
}

type Dispatch = unsafe extern "system" fn(device: *mut c_void, irp: *mut Irp) -> NtStatus;

/// `UNICODE_STRING`
#[repr(C)]
pub struct UnicodeString {
    length: u16,
    maximum_length: u16,
    buffer: *const u16,
}

/// `OBJECT_ATTRIBUTES`
#[repr(C)]
struct ObjectAttributes {
    length: u32,
    root: *mut c_void,
    name: *const UnicodeString,
    attributes: u32,
    security: *const c_void,
    quality: *const c_void,
}

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn ExAllocatePool2(flags: u64, size: usize, tag: u32) -> *mut c_void;
    fn ExFreePoolWithTag(block: *mut c_void, tag: u32);
    fn KeRaiseIrqlToDpcLevel() -> u8;
    fn KeDelayExecutionThread(mode: i8, alertable: u8, interval: *const i64) -> NtStatus;
    fn PsCreateSystemThread(
        thread: *mut *mut c_void,
        access: u32,
        attributes: *const c_void,
        process: *const c_void,
        client_id: *mut c_void,
        start: extern "system" fn(*mut c_void),
        context: *mut c_void,
    ) -> NtStatus;
    fn ZwOpenKey(key: *mut *mut c_void, access: u32, attributes: *const ObjectAttributes) -> NtStatus;
    fn ZwCreateFile(
        file: *mut *mut c_void,
        access: u32,
        attributes: *const ObjectAttributes,
        status: *mut [usize; 2],
        allocation_size: *const i64,
        file_attributes: u32,
        share: u32,
        disposition: u32,
        options: u32,
        ea_buffer: *const c_void,
        ea_length: u32,
    ) -> NtStatus;
    fn KeGetCurrentIrql() -> u8;
    fn KfRaiseIrql(irql: u8) -> u8;
    fn KeLowerIrql(irql: u8);
    fn KeEnterCriticalRegion();
    fn KeLeaveCriticalRegion();
    fn RtlWriteRegistryValue(
        relative_to: u32,
        path: *const u16,
        name: *const u16,
        kind: u32,
        data: *const c_void,
        length: u32,
    ) -> NtStatus;
    fn ZwDeleteFile(attributes: *const ObjectAttributes) -> NtStatus;
    fn ZwWaitForSingleObject(handle: *mut c_void, alertable: u8, timeout: *const i64) -> NtStatus;
    fn ZwClose(handle: *mut c_void) -> NtStatus;
    fn IoGetDriverDirectory(driver: *mut DriverObject, kind: u32, flags: u32, directory: *mut *mut c_void) -> NtStatus;
    fn MmLockPagableDataSection(address: *const c_void) -> *mut c_void;
    fn MmUnlockPagableImageSection(section: *mut c_void);
}
#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "C" {
    fn DbgPrint(format: *const u8, ...) -> u32;
}

/// # Safety
///
/// `driver` is the driver object that DriverEntry was given, during that call.
pub(crate) unsafe fn set_unload(driver: *mut DriverObject, unload: extern "system" fn(*mut DriverObject)) {
    // SAFETY: the caller guarantees a driver object that nobody else uses now.
    unsafe { (*driver).unload = Some(unload) };
}

/// # Safety
///
/// As for [`set_unload`].
pub(crate) unsafe fn set_dispatch(driver: *mut DriverObject, major: usize, routine: Dispatch) {
    // SAFETY: the caller guarantees a driver object that nobody else uses now.
    unsafe { (*driver).dispatch[major] = Some(routine) };
}

/// The part of a path behind its last backslash.
///
/// # Safety
///
/// `path` points to a counted string that stays valid and unchanged for `'a`.
pub(crate) unsafe fn last_component<'a>(path: *const UnicodeString) -> &'a [u16] {
    // SAFETY: the caller guarantees it.
    let path = unsafe { &*path };
    // SAFETY: a counted string has `length` bytes.
    let characters = unsafe { core::slice::from_raw_parts(path.buffer, usize::from(path.length) / 2) };
    characters.rsplit(|&character| character == u16::from(b'\\')).next().unwrap_or_default()
}

pub(crate) fn equal(wide: &[u16], name: &str) -> bool {
    wide.iter().copied().eq(name.bytes().map(u16::from))
}

pub(crate) fn allocate(size: usize, tag: u32) -> *mut u8 {
    // SAFETY: any size and tag will do.
    unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED, size, tag) }.cast()
}

pub(crate) fn allocate_paged(size: usize, tag: u32) -> *mut u8 {
    // SAFETY: any size and tag will do.
    unsafe { ExAllocatePool2(POOL_FLAG_PAGED, size, tag) }.cast()
}

/// Allocates memory, or raises an exception.
pub(crate) fn allocate_or_raise(size: usize, tag: u32) -> *mut u8 {
    // SAFETY: any size and tag will do.
    unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED | POOL_FLAG_RAISE_ON_FAILURE, size, tag) }.cast()
}

pub(crate) fn free(block: *mut u8, tag: u32) {
    // SAFETY: if anything is wrong with it, that is for the rig to find.
    unsafe { ExFreePoolWithTag(block.cast(), tag) };
}

/// A name in the kernel's characters, with room for the longest that is used here.
pub(crate) struct Name([u16; 96], usize);

impl Name {
    pub(crate) fn of(text: &str) -> Self {
        let mut name = Self([0; 96], 0);
        for (place, unit) in name.0.iter_mut().zip(text.encode_utf16()) {
            *place = unit;
            name.1 += 1;
        }
        name
    }

    pub(crate) fn counted(&self) -> UnicodeString {
        let bytes = (self.1 * 2) as u16;
        UnicodeString { length: bytes, maximum_length: bytes, buffer: self.0.as_ptr() }
    }
}

fn attributes(name: &UnicodeString) -> ObjectAttributes {
    const CASE_INSENSITIVE_KERNEL_HANDLE: u32 = 0x240;
    ObjectAttributes {
        length: size_of::<ObjectAttributes>() as u32,
        root: null_mut(),
        name,
        attributes: CASE_INSENSITIVE_KERNEL_HANDLE,
        security: null(),
        quality: null(),
    }
}

/// Opens a key to read.
pub(crate) fn open_key(name: &str) -> NtStatus {
    const KEY_READ: u32 = 0x2_0019;
    let (name, mut key) = (Name::of(name), null_mut());
    // SAFETY: all pointers are to locals.
    unsafe { ZwOpenKey(&mut key, KEY_READ, &attributes(&name.counted())) }
}

/// Makes a file, or opens the one that is there, to write.
pub(crate) fn create_file(name: &str) -> *mut c_void {
    const WRITE_SYNCHRONIZE: u32 = 0x10_0002;
    const OPEN_IF: u32 = 3;
    const SYNCHRONOUS_NO_DIRECTORY: u32 = 0x60;
    create(name, WRITE_SYNCHRONIZE, OPEN_IF, SYNCHRONOUS_NO_DIRECTORY)
}

/// Opens the driver's own folder.
pub(crate) fn open_data_directory(driver: *mut DriverObject) -> NtStatus {
    const DATA: u32 = 1;
    // SAFETY: the driver object of this driver, and a local for the handle.
    unsafe { IoGetDriverDirectory(driver, DATA, 0, &mut null_mut()) }
}

/// Opens a folder to list it.
pub(crate) fn open_folder(name: &str) -> *mut c_void {
    const LIST_SYNCHRONIZE: u32 = 0x10_0001;
    const OPEN: u32 = 1;
    const SYNCHRONOUS_DIRECTORY: u32 = 0x21;
    create(name, LIST_SYNCHRONIZE, OPEN, SYNCHRONOUS_DIRECTORY)
}

fn create(name: &str, access: u32, disposition: u32, options: u32) -> *mut c_void {
    const SHARE_ALL: u32 = 7;
    let (name, mut file, mut status) = (Name::of(name), null_mut(), [0; 2]);
    let counted = name.counted();
    let attributes = attributes(&counted);
    // SAFETY: all pointers are to locals, or NULL where that is allowed.
    let result = unsafe {
        ZwCreateFile(&mut file, access, &attributes, &mut status, null(), 0, SHARE_ALL, disposition, options, null(), 0)
    };
    if result < 0 {
        print(c"misfit: no file", result);
    }
    file
}

/// Closes a handle.
pub(crate) fn close(handle: *mut c_void) {
    // SAFETY: if anything is wrong with it, that is for the rig to find.
    unsafe { ZwClose(handle) };
}

/// Raises the calling thread to DISPATCH_LEVEL, for good.
pub(crate) fn raise_to_dispatch_level() {
    // SAFETY: it is at PASSIVE_LEVEL.
    unsafe { KeRaiseIrqlToDpcLevel() };
}

/// Prints a line `what status`.
pub(crate) fn print(what: &'static core::ffi::CStr, status: NtStatus) {
    // SAFETY: the format takes a string that ends in a zero and a 32-bit number, and gets those.
    unsafe { DbgPrint(c"%s 0x%08X\n".as_ptr().cast(), what.as_ptr(), status) };
}

/// Prints a string that is at an address where nothing is.
pub(crate) fn print_nowhere() {
    // SAFETY: broken on purpose: the kernel reads there.
    unsafe { DbgPrint(c"%s\n".as_ptr().cast(), core::ptr::without_provenance::<u8>(0x1010)) };
}

pub(crate) fn sleep_for_ever() -> ! {
    loop {
        sleep(3_600_000);
    }
}

pub(crate) fn sleep(milliseconds: i64) {
    // Relative times are negative, in units of 100 ns.
    let interval = milliseconds * -10_000;
    // SAFETY: the interval is a local.
    unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &interval) };
}

/// Starts a thread; NULL if that fails.
pub(crate) fn spawn(start: extern "system" fn(*mut c_void)) -> *mut c_void {
    const ALL_ACCESS: u32 = 0x1F_FFFF;
    let mut thread = null_mut();
    // SAFETY: the handle goes to a local; everything that may be NULL is.
    let status =
        unsafe { PsCreateSystemThread(&mut thread, ALL_ACCESS, null(), null(), null_mut(), start, null_mut()) };
    if status < 0 { null_mut() } else { thread }
}

/// Waits for the end of a thread, if it was started.
pub(crate) fn join(thread: *mut c_void) {
    if !thread.is_null() {
        // SAFETY: a handle of `spawn`.
        unsafe { ZwWaitForSingleObject(thread, 0, null()) };
        close(thread);
    }
}

/// Raises the calling thread to an IRQL.
pub(crate) fn raise(irql: u8) {
    // SAFETY: if the level is not one to raise to, that is for the rig to find.
    unsafe { KfRaiseIrql(irql) };
}

/// Lowers the calling thread to an IRQL.
pub(crate) fn lower(irql: u8) {
    // SAFETY: if the level is not one to lower to, that is for the rig to find.
    unsafe { KeLowerIrql(irql) };
}

/// Does something at DISPATCH_LEVEL, and comes back.
pub(crate) fn at_dispatch_level(work: impl FnOnce()) {
    raise_to_dispatch_level();
    work();
    lower(0);
}

/// Has the pageable section that something is in stay in memory.
pub(crate) fn lock_section<T>(item: &'static T) -> *mut c_void {
    // SAFETY: an address in a pageable section of this image.
    unsafe { MmLockPagableDataSection(core::ptr::from_ref(item).cast()) }
}

/// Lets a section be paged out again.
pub(crate) fn unlock_section(section: *mut c_void) {
    // SAFETY: a handle of `lock_section`.
    unsafe { MmUnlockPagableImageSection(section) };
}

/// Enters a critical region.
pub(crate) fn enter_region() {
    // SAFETY: no conditions.
    unsafe { KeEnterCriticalRegion() };
}

/// Leaves a critical region.
pub(crate) fn leave_region() {
    // SAFETY: if the thread is in none, that is for the rig to find.
    unsafe { KeLeaveCriticalRegion() };
}

/// The IRQL, for which the kernel is called.
pub(crate) fn irql() -> u8 {
    // SAFETY: no conditions.
    unsafe { KeGetCurrentIrql() }
}

/// Writes a value into a key of the services, by its path.
pub(crate) fn write_service_value(path: &[u16]) -> NtStatus {
    const SERVICES: u32 = 1;
    const DWORD: u32 = 4;
    let value = 1_u32;
    // SAFETY: the path ends in a zero; the value is a local of that length.
    unsafe { RtlWriteRegistryValue(SERVICES, path.as_ptr(), [0x41, 0].as_ptr(), DWORD, (&raw const value).cast(), 4) }
}

/// Deletes a file.
pub(crate) fn delete_file(name: &str) -> NtStatus {
    let name = Name::of(name);
    // SAFETY: the attributes and what they point to are locals.
    unsafe { ZwDeleteFile(&attributes(&name.counted())) }
}
