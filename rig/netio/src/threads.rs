//! Threads of drivers: how they begin, and those that are still in a driver whose image is about to go: their stacks
//! have return addresses into it.

use alloc::boxed::Box;
use core::ffi::c_void;
use core::ops::Range;
use core::ptr::null_mut;

use crate::drivers::Driver;
use crate::{critical, objects, sys, teb, thunk};

/// THREAD_SUSPEND_RESUME, THREAD_GET_CONTEXT and THREAD_QUERY_INFORMATION.
const ACCESS: u32 = 0x4A;
/// `ThreadBasicInformation`
const BASIC_INFORMATION: u32 = 0;
/// Deeper stacks are not looked at to their end.
const DEPTH: usize = 256;

/// Where `CONTEXT` has what is needed of it.
#[cfg(target_arch = "x86_64")]
mod layout {
    pub(super) const SIZE: usize = 1232;
    pub(super) const FLAGS: usize = 0x30;
    /// CONTEXT_CONTROL and CONTEXT_INTEGER.
    pub(super) const CONTROL_AND_INTEGER: u32 = 0x10_0003;
    pub(super) const FIRST_REGISTER: usize = 0x78;
    pub(super) const STACK_POINTER: usize = 0x98;
    pub(super) const PROGRAM_COUNTER: usize = 0xF8;
}
#[cfg(target_arch = "aarch64")]
mod layout {
    pub(super) const SIZE: usize = 912;
    pub(super) const FLAGS: usize = 0;
    /// CONTEXT_CONTROL and CONTEXT_INTEGER.
    pub(super) const CONTROL_AND_INTEGER: u32 = 0x40_0003;
    pub(super) const FRAME: usize = 0xF0;
    pub(super) const LINK: usize = 0xF8;
    pub(super) const STACK_POINTER: usize = 0x100;
    pub(super) const PROGRAM_COUNTER: usize = 0x108;
}

/// `CONTEXT`
#[repr(C, align(16))]
struct Context([u8; layout::SIZE]);

impl Context {
    fn get(&self, offset: usize) -> usize {
        // SAFETY: all offsets of `layout` are of fields within the structure.
        unsafe { self.0.as_ptr().wrapping_add(offset).cast::<usize>().read_unaligned() }
    }

    fn set<T>(&mut self, offset: usize, value: T) {
        // SAFETY: as above.
        unsafe { self.0.as_mut_ptr().wrapping_add(offset).cast::<T>().write_unaligned(value) };
    }

    /// Whether a function's frame lies on the stack, as far as a register says where it is. Between two instructions,
    /// or in code that describes no frame, it may hold anything.
    ///
    /// # Safety
    ///
    /// `function` is the entry of a function of `image` in its table of functions.
    #[cfg(target_arch = "x86_64")]
    unsafe fn has_frame_on(&self, stack: &Range<usize>, image: usize, function: *const Function) -> bool {
        const CHAINED: u8 = 4 << 3;
        let mut function = function;
        loop {
            // SAFETY: the caller guarantees it; of a chain, all are such entries.
            let about = (image + unsafe { (*function)[2] } as usize) as *const u8;
            // SAFETY: `UNWIND_INFO` begins with four bytes.
            let [flags, _, codes, frame] = unsafe { about.cast::<[u8; 4]>().read() };
            let register = usize::from(frame & 0xF);
            if register != 0 && !stack.contains(&self.get(layout::FIRST_REGISTER + register * size_of::<usize>())) {
                return false;
            }
            if flags & CHAINED == 0 {
                return true;
            }
            // Behind the codes, of two bytes each and an even number.
            function = about.wrapping_add(4 + usize::from(codes).next_multiple_of(2) * 2).cast();
        }
    }

    /// As on x64; there is one register for frames.
    #[cfg(target_arch = "aarch64")]
    unsafe fn has_frame_on(&self, stack: &Range<usize>, _: usize, _: *const Function) -> bool {
        stack.contains(&self.get(layout::FRAME))
    }

    /// Goes on to the caller of a function that has no frame.
    #[cfg(target_arch = "x86_64")]
    fn leave_leaf(&mut self) {
        let stack = self.get(layout::STACK_POINTER);
        // SAFETY: within the stack of the thread, as `innermost` has seen.
        let caller = unsafe { (stack as *const usize).read() };
        self.set(layout::PROGRAM_COUNTER, caller);
        self.set(layout::STACK_POINTER, stack + size_of::<usize>());
    }

    /// Goes on to the caller of a function that has no frame.
    #[cfg(target_arch = "aarch64")]
    fn leave_leaf(&mut self) {
        let caller = self.get(layout::LINK);
        // A second such function in a row is the end of what is known.
        let known = caller != self.get(layout::PROGRAM_COUNTER);
        self.set(layout::PROGRAM_COUNTER, if known { caller } else { 0 });
    }
}

/// `RUNTIME_FUNCTION`, whose last field on x64 says where the frame is described.
type Function = [u32; 3];

/// `THREAD_BASIC_INFORMATION`
#[repr(C)]
struct BasicInformation {
    status: sys::NtStatus,
    teb: *const usize,
    process: usize,
    thread: usize,
    affinity: usize,
    priority: i32,
    base_priority: i32,
}

#[cfg_attr(windows, link(name = "ntdll.dll", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn NtGetNextThread(
        process: sys::Handle,
        thread: sys::Handle,
        access: u32,
        attributes: u32,
        flags: u32,
        next: *mut sys::Handle,
    ) -> sys::NtStatus;
    fn NtQueryInformationThread(
        thread: sys::Handle,
        class: u32,
        information: *mut BasicInformation,
        length: u32,
        returned: *mut u32,
    ) -> sys::NtStatus;
    fn NtSuspendThread(thread: sys::Handle, count: *mut u32) -> sys::NtStatus;
    fn NtResumeThread(thread: sys::Handle, count: *mut u32) -> sys::NtStatus;
    fn NtGetContextThread(thread: sys::Handle, context: *mut Context) -> sys::NtStatus;
    fn RtlLookupFunctionEntry(address: usize, image: *mut usize, history: *mut c_void) -> *const Function;
    fn RtlVirtualUnwind(
        kind: u32,
        image: usize,
        address: usize,
        function: *const Function,
        context: *mut Context,
        handler_data: *mut *mut c_void,
        frame: *mut usize,
        pointers: *mut c_void,
    ) -> *const c_void;
}

type Start = unsafe extern "system" fn(context: *mut c_void);

/// What a new thread of a driver is to do.
struct Begin {
    start: Start,
    context: *mut c_void,
}

#[cfg_attr(windows, link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim"))]
unsafe extern "system" {
    fn PsCreateSystemThread(
        thread: *mut sys::Handle,
        access: u32,
        attributes: *const c_void,
        process: sys::Handle,
        client_id: *mut c_void,
        start: Start,
        context: *mut c_void,
    ) -> sys::NtStatus;
    fn PsTerminateSystemThread(status: sys::NtStatus) -> sys::NtStatus;
}

/// PsCreateSystemThread.
pub(crate) unsafe extern "system" fn create(
    thread: *mut sys::Handle,
    access: u32,
    attributes: *const c_void,
    process: sys::Handle,
    client_id: *mut c_void,
    start: Start,
    context: *mut c_void,
) -> sys::NtStatus {
    let caller = thunk::caller();
    let begin = Box::into_raw(Box::new(Begin { start, context }));
    // SAFETY: the driver's own arguments, but for the routine, which gets what it wants.
    let status =
        unsafe { PsCreateSystemThread(thread, access, attributes, process, client_id, run, begin.cast::<c_void>()) };
    if status < 0 {
        // SAFETY: there is no thread to take it.
        drop(unsafe { Box::from_raw(begin) });
    }
    // SAFETY: the function has put the handle there.
    unsafe { objects::made_handle(caller, status, thread) }
}

/// A thread of a driver begins in a critical region.
unsafe extern "system" fn run(begin: *mut c_void) {
    // SAFETY: of `create`, for this thread alone.
    let Begin { start, context } = *unsafe { Box::from_raw(begin.cast::<Begin>()) };
    critical::enter();
    // SAFETY: the driver's routine, with what it is to get.
    unsafe { start(context) };
    critical::forget_thread();
}

/// PsTerminateSystemThread.
pub(crate) unsafe extern "system" fn terminate(status: sys::NtStatus) -> sys::NtStatus {
    critical::forget_thread();
    // SAFETY: the driver's own argument.
    unsafe { PsTerminateSystemThread(status) }
}

/// A thread other than the calling one that is in a driver: its number, and the address in the image that it is at or
/// returns to. The caller has the lock of the loader.
pub(crate) fn inside(driver: &Driver) -> Option<(usize, usize)> {
    let mut context = Box::new(Context([0; layout::SIZE]));
    let mut thread = null_mut();
    let mut found = None;
    loop {
        let mut next = null_mut();
        // SAFETY: the handle is one of this loop, or NULL for the first thread; the place is a local.
        let status = unsafe { NtGetNextThread(sys::THIS_PROCESS, thread, ACCESS, 0, 0, &mut next) };
        if !thread.is_null() {
            // SAFETY: a handle of this loop, which is not used again.
            unsafe { sys::NtClose(thread) };
        }
        if status < 0 {
            return found;
        }
        thread = next;
        if found.is_none() {
            // SAFETY: a handle of this loop.
            found = unsafe { look(thread, &mut context, driver) };
        }
    }
}

/// # Safety
///
/// `thread` is a handle of a thread of this process.
unsafe fn look(thread: sys::Handle, context: &mut Context, driver: &Driver) -> Option<(usize, usize)> {
    let mut about = BasicInformation {
        status: 0,
        teb: null_mut(),
        process: 0,
        thread: 0,
        affinity: 0,
        priority: 0,
        base_priority: 0,
    };
    let length = size_of::<BasicInformation>() as u32;
    // SAFETY: the caller guarantees the handle; the place is a local of that length.
    let status = unsafe { NtQueryInformationThread(thread, BASIC_INFORMATION, &mut about, length, null_mut()) };
    // SAFETY: the caller guarantees the handle.
    if status < 0 || about.thread == teb::thread() || unsafe { NtSuspendThread(thread, null_mut()) } < 0 {
        return None;
    }
    // Until it goes on, nothing here may want what the thread may hold: no memory, no lock of this driver.
    context.set(layout::FLAGS, layout::CONTROL_AND_INTEGER);
    // SAFETY: the caller guarantees the handle; the context is one.
    let address = match unsafe { NtGetContextThread(thread, context) } {
        // SAFETY: the thread is suspended, and does not end.
        0.. => unsafe { innermost(context, about.teb, driver) },
        _ => None,
    };
    // SAFETY: as above.
    unsafe { NtResumeThread(thread, null_mut()) };
    address.map(|address| (about.thread, address))
}

/// The innermost address on a stack that is in a driver.
///
/// # Safety
///
/// The context is that of a thread that is suspended, whose environment block is at `teb`.
unsafe fn innermost(context: &mut Context, teb: *const usize, driver: &Driver) -> Option<usize> {
    // SAFETY: the caller guarantees the block.
    let stack = unsafe { teb::stack_of(teb) };
    for _ in 0..DEPTH {
        let address = context.get(layout::PROGRAM_COUNTER);
        if address.wrapping_sub(driver.base) < driver.size {
            return Some(address);
        }
        if address == 0 || !stack.contains(&context.get(layout::STACK_POINTER)) {
            return None;
        }
        let (mut image, mut data, mut frame) = (0, null_mut(), 0);
        // SAFETY: any address may be asked about; the place is a local.
        let function = unsafe { RtlLookupFunctionEntry(address, &mut image, null_mut()) };
        if function.is_null() {
            context.leave_leaf();
            continue;
        }
        // SAFETY: the function's own entry.
        if !unsafe { context.has_frame_on(&stack, image, function) } {
            return None;
        }
        // SAFETY: the function's own entry; the stack is that of a suspended thread; the places are locals.
        unsafe { RtlVirtualUnwind(0, image, address, function, context, &mut data, &mut frame, null_mut()) };
    }
    None
}
