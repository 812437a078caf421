//! The slots of a registration: a list of chunks that only grows. Attach callbacks claim slots and append chunks, at
//! PASSIVE_LEVEL and without a lock; everybody else walks the list. Memory goes back when the registration is over.

use core::alloc::Layout;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::guard::{AtDispatch, DispatchGuard, Guard};
use crate::header::{CHUNK_MAGIC, ChunkHeader, RegistrationHeader};
use crate::irql::Dispatch;
use crate::memory::Memory;
use crate::slot::Slot;

/// How many slots the first chunk has. Each further one has twice as many as the one before.
const FIRST_CAPACITY: usize = 4;
/// No chunk has more.
const LARGEST_CAPACITY: usize = 256;

/// A chunk: what the debugger reads, then what is needed to free it. The slots follow.
#[repr(C)]
struct Chunk {
    header: ChunkHeader,
    memory: Memory,
}

/// Claims a free slot, in a new chunk if there is none. `None`: no memory.
///
/// # Safety
///
/// All slots of the registration are of this type.
pub(crate) unsafe fn claim<B, G: Guard>(registration: &RegistrationHeader) -> Option<NonNull<Slot<B, G>>> {
    let mut capacity = FIRST_CAPACITY;
    let mut link = &registration.chunks;
    loop {
        if let Some(chunk) = NonNull::new(link.load(Ordering::Acquire)) {
            // SAFETY: chunks stay as long as the registration does.
            let chunk = unsafe { chunk.as_ref() };
            // SAFETY: the caller promises the type.
            if let Some(slot) = unsafe { claim_in(chunk) } {
                return Some(slot);
            }
            capacity = chunk.capacity.saturating_mul(2).min(LARGEST_CAPACITY);
            link = &chunk.next;
            continue;
        }
        // SAFETY: the registration outlives its chunks.
        let chunk = unsafe { new_chunk::<B, G>(registration, capacity) }?;
        // SAFETY: initialized by `new_chunk`, and not freed before the registration.
        let header = unsafe { chunk.as_ref() };
        // SAFETY: the slots were made as this type.
        let first = unsafe { claim_in(header) };
        append(link, chunk);
        return first;
    }
}

/// Puts a chunk at the end of the list that `link` is part of.
fn append(mut link: &AtomicPtr<ChunkHeader>, chunk: NonNull<ChunkHeader>) {
    // Release: whoever finds the chunk finds its slots. Acquire: to walk on.
    while let Err(other) = link.compare_exchange(ptr::null_mut(), chunk.as_ptr(), Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: not NULL; chunks stay as long as the registration does.
        link = unsafe { &(*other).next };
    }
}

/// Allocates a chunk of free slots.
///
/// # Safety
///
/// `registration` outlives the chunk.
unsafe fn new_chunk<B, G: Guard>(
    registration: *const RegistrationHeader,
    capacity: usize,
) -> Option<NonNull<ChunkHeader>> {
    let slots = Layout::array::<Slot<B, G>>(capacity).ok()?;
    let (layout, offset) = Layout::new::<Chunk>().extend(slots).ok()?;
    let (memory, place) = Memory::allocate(layout)?;
    // SAFETY: the layout has the slots at `offset`.
    let first = unsafe { place.add(offset) }.cast::<Slot<B, G>>();
    for index in 0..capacity {
        // SAFETY: the layout has `capacity` slots.
        let slot = unsafe { first.add(index) };
        // SAFETY: valid for writes and aligned by the layout; the caller promises the registration.
        unsafe { Slot::initialize(slot.as_ptr(), registration) };
    }
    let header = ChunkHeader {
        magic: CHUNK_MAGIC,
        next: AtomicPtr::new(ptr::null_mut()),
        capacity,
        slots: first.as_ptr().cast::<c_void>(),
    };
    let chunk = place.cast::<Chunk>();
    // SAFETY: the layout starts with a chunk.
    unsafe { chunk.write(Chunk { header, memory }) };
    Some(chunk.cast())
}

/// # Safety
///
/// The slots of the chunk are of this type.
unsafe fn claim_in<B, G: Guard>(chunk: &ChunkHeader) -> Option<NonNull<Slot<B, G>>> {
    let first = NonNull::new(chunk.slots.cast::<Slot<B, G>>())?;
    (0..chunk.capacity).find_map(|index| {
        // SAFETY: a chunk has `capacity` slots.
        let place = unsafe { first.add(index) };
        // SAFETY: initialized with the chunk.
        let slot = unsafe { place.as_ref() };
        slot.claim().then_some(place)
    })
}

/// All slots of a registration, as far as chunks had been appended when the walk came to the end.
pub(crate) struct Slots<'a, B, G> {
    next: *mut Slot<B, G>,
    left: usize,
    link: &'a AtomicPtr<ChunkHeader>,
    slots: PhantomData<&'a Slot<B, G>>,
}

impl<'a, B, G> Slots<'a, B, G> {
    /// # Safety
    ///
    /// All slots of the registration are of this type, and they stay for `'a`.
    pub(crate) unsafe fn of(registration: &'a RegistrationHeader) -> Self {
        Self { next: ptr::null_mut(), left: 0, link: &registration.chunks, slots: PhantomData }
    }
}

impl<'a, B, G: DispatchGuard> Slots<'a, B, G> {
    /// The same slots, as a thread at DISPATCH_LEVEL uses them.
    #[inline]
    pub(crate) fn at_dispatch(self, _: Dispatch<'a>) -> Slots<'a, B, AtDispatch<G>> {
        // The guard in there is the same (`repr(transparent)`). The token stays on its thread, and so does the walk.
        Slots { next: self.next.cast(), left: self.left, link: self.link, slots: PhantomData }
    }
}

impl<'a, B, G> Iterator for Slots<'a, B, G> {
    type Item = &'a Slot<B, G>;

    #[inline]
    fn next(&mut self) -> Option<&'a Slot<B, G>> {
        while self.left == 0 {
            let chunk = NonNull::new(self.link.load(Ordering::Acquire))?;
            // SAFETY: chunks stay for `'a`.
            let chunk: &'a ChunkHeader = unsafe { chunk.as_ref() };
            self.next = chunk.slots.cast();
            self.left = chunk.capacity;
            self.link = &chunk.next;
        }
        let slot = self.next;
        // SAFETY: at most one behind the last slot of the chunk.
        self.next = unsafe { slot.add(1) };
        self.left = self.left.wrapping_sub(1);
        // SAFETY: one of the chunk's slots, which stay for `'a`.
        Some(unsafe { &*slot })
    }
}

/// Frees all chunks.
///
/// # Safety
///
/// No slot is filled, and nobody uses the list any more.
pub(crate) unsafe fn free(registration: &RegistrationHeader) {
    let mut next = registration.chunks.swap(ptr::null_mut(), Ordering::Acquire);
    while let Some(chunk) = NonNull::new(next.cast::<Chunk>()) {
        // SAFETY: a chunk from `new_chunk`, not freed yet.
        let Chunk { header, memory } = unsafe { chunk.read() };
        next = header.next.into_inner();
        // SAFETY: the caller promises that nobody uses it. Slots that are not filled have nothing to drop.
        unsafe { memory.free() };
    }
}
