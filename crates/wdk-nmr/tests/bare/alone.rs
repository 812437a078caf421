//! What a program without a standard library brings itself. If one of its crates had one, there would be two of each.
#![no_std]

use core::alloc::{GlobalAlloc, Layout};

pub use module::{call_at_dispatch, trampoline};

struct Empty;

// SAFETY: it never has memory.
unsafe impl GlobalAlloc for Empty {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: Empty = Empty;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
