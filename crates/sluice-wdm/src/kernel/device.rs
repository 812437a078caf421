//! A device that user-mode programs of administrators send control requests to.

use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicPtr, Ordering};

use wdk_sys::_MEMORY_CACHING_TYPE::MmCached;
use wdk_sys::_MM_PAGE_PRIORITY::NormalPagePriority;
use wdk_sys::ntddk::{
    IoCreateDevice, IoCreateSymbolicLink, IoDeleteDevice, IoDeleteSymbolicLink, IofCompleteRequest,
    MmMapLockedPagesSpecifyCache,
};
use wdk_sys::{
    DEVICE_OBJECT, DRIVER_OBJECT, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, IO_NO_INCREMENT, IO_STACK_LOCATION,
    IRP, IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, MDL, MDL_MAPPED_TO_SYSTEM_VA,
    MDL_SOURCE_IS_NONPAGED_POOL, STATUS_DEVICE_NOT_READY, STATUS_INVALID_DEVICE_REQUEST, STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_SUCCESS,
};

use super::security::admit_administrators_only;
use super::string::unicode_string;
use crate::status::STATUS_INSUFFICIENT_RESOURCES;
use crate::{Buffered, Buffers, Completion, DeviceName, NTSTATUS, Request, SharedBytes};

/// Answers one request of a device, at PASSIVE_LEVEL, on any number of threads at once. What the request has no room
/// for is not given back, whatever the completion says.
pub type Answer<R> = fn(&R, Request<'_>) -> Completion;

/// What comes before the name of a device in the object manager's name space.
const DEVICE_PREFIX: &str = r"\Device\";
/// What comes before the name of the symbolic link that makes a device visible to user mode.
const LINK_PREFIX: &str = r"\DosDevices\";

/// The one control device of a driver, with its link in the namespace of user-mode programs. An `R` answers its
/// requests.
pub struct ControlDevice<R> {
    object: NonNull<DEVICE_OBJECT>,
    link: DeviceName,
    answered_by: PhantomData<fn(&R)>,
}

// SAFETY: a device object belongs to no thread; it is deleted once, by the owner of this value.
unsafe impl<R> Send for ControlDevice<R> {}
// SAFETY: a shared reference gives access to an atomic pointer alone.
unsafe impl<R> Sync for ControlDevice<R> {}

/// What the device object holds for us, in non-paged pool.
struct Extension<R> {
    answer: Answer<R>,
    /// NULL while there is nothing that answers.
    registered: AtomicPtr<R>,
}

impl<R: Sync> ControlDevice<R> {
    /// Makes the device `\Device\name` and the link `\\.\name`, which only SYSTEM and administrators can open, and
    /// becomes the driver's handler for create, cleanup, close and device control. PASSIVE_LEVEL, in DriverEntry.
    ///
    /// Requests get STATUS_DEVICE_NOT_READY until [`serve`](Self::serve) is called.
    ///
    /// # Errors
    ///
    /// What the kernel said: STATUS_OBJECT_NAME_COLLISION when there is a device of that name, for one.
    pub fn create(
        driver: &mut DRIVER_OBJECT,
        name: impl IntoIterator<Item = u16> + Clone,
        answer: Answer<R>,
    ) -> Result<Self, NTSTATUS> {
        let device_name = DeviceName::new(DEVICE_PREFIX, name.clone())?;
        let link = DeviceName::new(LINK_PREFIX, name)?;
        let mut device_name = unicode_string(device_name.units());
        let mut object: *mut DEVICE_OBJECT = ptr::null_mut();
        // SAFETY: the driver object is the one of this driver; name and result live through the call.
        let status = unsafe {
            IoCreateDevice(
                driver,
                size_of::<Extension<R>>() as u32,
                &raw mut device_name,
                FILE_DEVICE_NETWORK,
                FILE_DEVICE_SECURE_OPEN,
                0,
                &raw mut object,
            )
        };
        let Some(object) = NonNull::new(object).filter(|_| status == STATUS_SUCCESS) else {
            return Err(status);
        };
        let undo = |status| {
            // SAFETY: the device was created above, has no link, and is not used again.
            unsafe { IoDeleteDevice(object.as_ptr()) };
            Err(status)
        };
        // SAFETY: the device object was created above, with an extension of this size, and cannot be opened yet.
        let extension = unsafe { (*object.as_ptr()).DeviceExtension }.cast::<Extension<R>>();
        // SAFETY: non-paged pool, so aligned to 16 bytes, with room for the structure; nobody else knows it yet.
        unsafe { extension.write(Extension { answer, registered: AtomicPtr::new(ptr::null_mut()) }) };
        // SAFETY: the device object was created above.
        if let Err(status) = unsafe { admit_administrators_only(object.as_ptr()) } {
            return undo(status);
        }
        let mut link_name = unicode_string(link.units());
        // SAFETY: both names live through the call, which copies them.
        let status = unsafe { IoCreateSymbolicLink(&raw mut link_name, &raw mut device_name) };
        if status != STATUS_SUCCESS {
            return undo(status);
        }
        driver.MajorFunction[IRP_MJ_CREATE as usize] = Some(create);
        for major in [IRP_MJ_CLEANUP, IRP_MJ_CLOSE] {
            driver.MajorFunction[major as usize] = Some(succeed);
        }
        driver.MajorFunction[IRP_MJ_DEVICE_CONTROL as usize] = Some(device_control::<R>);
        Ok(Self { object, link, answered_by: PhantomData })
    }

    /// Lets `registered` answer requests from now on.
    ///
    /// # Safety
    ///
    /// `registered` has to stay valid, and where it is, until this value is dropped or [`withdraw`](Self::withdraw) is
    /// called in DriverUnload.
    pub unsafe fn serve(&self, registered: &R) {
        // SAFETY: the device object lives as long as `self`.
        let extension = unsafe { extension::<R>(self.object.as_ptr()) };
        extension.registered.store(ptr::from_ref(registered).cast_mut(), Ordering::Release);
    }

    /// Answers further requests with STATUS_DEVICE_NOT_READY. In DriverUnload the I/O manager has seen to it that none
    /// is inside and no handle open, so nobody uses what [`serve`](Self::serve) was given any more.
    pub fn withdraw(&self) {
        // SAFETY: the device object lives as long as `self`.
        let extension = unsafe { extension::<R>(self.object.as_ptr()) };
        extension.registered.store(ptr::null_mut(), Ordering::Release);
    }
}

impl<R> Drop for ControlDevice<R> {
    /// Ends the device. In DriverUnload the I/O manager has seen to it that no request is inside and no handle open; in
    /// DriverEntry nobody could open it yet.
    fn drop(&mut self) {
        let mut link = unicode_string(self.link.units());
        // SAFETY: the name lives through the call. The link was made with the device.
        let _ = unsafe { IoDeleteSymbolicLink(&raw mut link) };
        // SAFETY: the device was created with this value and is deleted with it.
        unsafe { IoDeleteDevice(self.object.as_ptr()) };
    }
}

/// The extension of a device made by [`ControlDevice::create`] for the same `R`.
///
/// # Safety
///
/// `device` is such a device and stays one while the result is used.
unsafe fn extension<'a, R>(device: *const DEVICE_OBJECT) -> &'a Extension<R> {
    // SAFETY: the caller vouches for the device object.
    let extension = unsafe { (*device).DeviceExtension };
    // SAFETY: `create` has put a value of this type there.
    unsafe { &*extension.cast::<Extension<R>>() }
}

/// Opens the device, and refuses every name behind it (`\\.\Sluice\x`), which could mean nothing.
unsafe extern "C" fn create(_device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the request is ours until it is completed.
    let stack = unsafe { current_stack_location(irp) };
    // SAFETY: the stack location belongs to the request.
    let file = unsafe { (*stack).FileObject };
    // SAFETY: the file object of a request to open, if there is one, is there as long as the request.
    let has_name = unsafe { file.as_ref() }.is_some_and(|file| file.FileName.Length != 0);
    let status = if has_name { STATUS_OBJECT_NAME_NOT_FOUND } else { STATUS_SUCCESS };
    // SAFETY: the I/O manager hands the request to this driver, which completes it here and nowhere else.
    unsafe { complete(irp, status, 0) }
}

/// Answers cleanup and close: there is no state per handle.
unsafe extern "C" fn succeed(_device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager hands the request to this driver, which completes it here and nowhere else.
    unsafe { complete(irp, STATUS_SUCCESS, 0) }
}

/// Answers a device control request.
unsafe extern "C" fn device_control<R: Sync>(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager calls with the device that `create` made; it exists as long as a request is inside.
    let extension = unsafe { extension::<R>(device) };
    // SAFETY: `serve` was promised that what it stored stays valid as long as the device.
    let registered = unsafe { extension.registered.load(Ordering::Acquire).as_ref() };
    // SAFETY: the request is ours until it is completed.
    let stack = unsafe { current_stack_location(irp) };
    // SAFETY: the stack location belongs to the request.
    let parameters = unsafe { &(*stack).Parameters };
    // SAFETY: the dispatch routine is the one for device control, so this member of the union was set.
    let parameters = unsafe { parameters.DeviceIoControl };
    let (code, room) = (parameters.IoControlCode, parameters.OutputBufferLength as usize);
    let completion = match registered {
        None => Completion::of(Err(STATUS_DEVICE_NOT_READY)),
        Some(registered) => {
            // SAFETY: the request is ours until it is completed, and these are its parameters.
            match unsafe { buffers(irp, code, parameters.InputBufferLength as usize, room) } {
                Ok(buffers) => (extension.answer)(registered, Request { code, buffers }),
                Err(status) => Completion::of(Err(status)),
            }
        }
    };
    // SAFETY: the request is completed here and nowhere else.
    unsafe { complete(irp, completion.status, completion.information.min(room)) }
}

/// The bits of a control code that tell how buffers are passed, and the two ways that are served.
const METHOD_MASK: u32 = 3;
const METHOD_BUFFERED: u32 = 0;
const METHOD_OUT_DIRECT: u32 = 2;

/// The buffers of a request ("Buffer Descriptions for I/O Control Codes").
///
/// # Errors
///
/// STATUS_INVALID_DEVICE_REQUEST for another method; STATUS_INSUFFICIENT_RESOURCES if the second buffer cannot be
/// mapped.
///
/// # Safety
///
/// For `'a`, `irp` is a device control request of this driver with this code and these lengths.
unsafe fn buffers<'a>(irp: *mut IRP, code: u32, input: usize, output: usize) -> Result<Buffers<'a>, NTSTATUS> {
    // SAFETY: the caller owns the request.
    let associated = unsafe { &(*irp).AssociatedIrp };
    // SAFETY: all members of the union are pointers; for both methods it is this one.
    let system_buffer = unsafe { associated.SystemBuffer }.cast::<u8>();
    match code & METHOD_MASK {
        METHOD_BUFFERED => {
            // SAFETY: the system buffer of a METHOD_BUFFERED request with these lengths, ours until it is completed.
            Ok(Buffers::Buffered(unsafe { Buffered::from_system_buffer(system_buffer, input, output) }))
        }
        METHOD_OUT_DIRECT => {
            let input = if system_buffer.is_null() || input == 0 {
                &[]
            } else {
                // SAFETY: the system buffer holds the input, and nobody writes to it.
                unsafe { slice::from_raw_parts(system_buffer, input) }
            };
            // SAFETY: the caller owns the request.
            let mdl = unsafe { (*irp).MdlAddress };
            // SAFETY: the I/O manager has locked the pages for writing, for as long as the request is ours.
            let shared = unsafe { mapped(mdl, output) }?;
            Ok(Buffers::Direct { input, shared })
        }
        _ => Err(STATUS_INVALID_DEVICE_REQUEST),
    }
}

/// The locked pages that a memory descriptor list describes, mapped for the kernel: MmGetSystemAddressForMdlSafe, which
/// is a macro in C. The I/O manager unmaps them when the request is completed.
///
/// # Errors
///
/// STATUS_INSUFFICIENT_RESOURCES.
///
/// # Safety
///
/// For `'a`, `mdl` describes at least `length` bytes of locked pages, to be written too; it may be NULL if there are
/// none.
unsafe fn mapped<'a>(mdl: *mut MDL, length: usize) -> Result<SharedBytes<'a>, NTSTATUS> {
    /// MdlMappingNoExecute, which goes with the priority.
    const NO_EXECUTE: u32 = 0x4000_0000;
    const KERNEL_MODE: i8 = 0;
    if mdl.is_null() || length == 0 {
        // SAFETY: no bytes.
        return Ok(unsafe { SharedBytes::from_raw(ptr::null_mut(), 0) });
    }
    // SAFETY: the caller guarantees the list.
    let list = unsafe { &*mdl };
    let is_mapped = MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL;
    let start = if u32::from(list.MdlFlags.cast_unsigned()) & is_mapped != 0 {
        list.MappedSystemVa
    } else {
        // bindgen makes the enumeration signed or not, by compiler.
        let normal: u32 = NormalPagePriority as _;
        let priority = normal | NO_EXECUTE;
        // SAFETY: the pages are locked; a failure is an answer and not a bug check.
        unsafe { MmMapLockedPagesSpecifyCache(mdl, KERNEL_MODE, MmCached, ptr::null_mut(), 0, priority as _) }
    };
    if start.is_null() {
        return Err(STATUS_INSUFFICIENT_RESOURCES);
    }
    // SAFETY: the mapping is of the caller's pages and stays as long as they are locked; no reference to them exists.
    Ok(unsafe { SharedBytes::from_raw(start.cast(), length) })
}

/// IoGetCurrentIrpStackLocation, which is a macro in C.
///
/// # Safety
///
/// `irp` is a request that this driver owns.
unsafe fn current_stack_location(irp: *mut IRP) -> *mut IO_STACK_LOCATION {
    // SAFETY: the caller owns the request.
    let tail = unsafe { &(*irp).Tail };
    // SAFETY: the I/O manager set this member of the union before it called.
    let overlay = unsafe { &tail.Overlay };
    // SAFETY: the I/O manager set this member, too.
    unsafe { overlay.__bindgen_anon_2.__bindgen_anon_1.CurrentStackLocation }
}

/// Completes a request and returns its status.
///
/// # Safety
///
/// This driver owns `irp`; it is gone afterwards.
unsafe fn complete(irp: *mut IRP, status: NTSTATUS, information: usize) -> NTSTATUS {
    // SAFETY: the caller owns the request.
    let io_status = unsafe { &mut (*irp).IoStatus };
    io_status.__bindgen_anon_1.Status = status;
    io_status.Information = information as _;
    // SAFETY: the caller gives the request up.
    unsafe { IofCompleteRequest(irp, IO_NO_INCREMENT as i8) };
    status
}
