//! The memory of a registration: everything that NMR keeps pointers to.

use core::alloc::Layout;
use core::ffi::c_void;
use core::ptr::NonNull;

use wdk_nmr_sys::{NPI_MODULEID, NPI_REGISTRATION_INSTANCE, NPIID};

use crate::header::RegistrationHeader;
use crate::memory::Memory;
use crate::npi;
use crate::slab::{self, Slots};
use crate::slot::Slot;

use super::{RegistrationOptions, Role, RoleSlot};

/// Everything that NMR keeps a pointer to, except for the slots.
///
/// # Invariants
///
/// **BLOCK**: a block is initialized from `allocate` to `free`, and does not move. `free` comes after the
/// registration's wait has returned, or after registering has failed; until then NMR's callbacks and everybody else
/// have shared references to it alone.
#[repr(C)]
pub(crate) struct RegistrationBlock<L: Role> {
    /// First, so that a slot's pointer to it is a pointer to the block.
    header: RegistrationHeader,
    pub(super) characteristics: L::Characteristics,
    npi_id: NPIID,
    module_id: NPI_MODULEID,
    specific: L::Specific,
    pub(crate) module: L::Module,
    memory: Memory,
}

impl<L: Role> RegistrationBlock<L> {
    /// The block that a slot belongs to.
    ///
    /// # Safety
    ///
    /// The slot is one of a registration of role `L`, and is not freed for `'a`.
    #[inline]
    pub(crate) unsafe fn of<'a>(slot: &RoleSlot<L>) -> &'a Self {
        let block = slot.header.registration.cast::<Self>();
        // SAFETY: the header is the first field of the block, and the block outlives its slots.
        unsafe { &*block }
    }

    /// The block that NMR was given as the registration's context.
    ///
    /// # Safety
    ///
    /// `context` is the context of a registration of role `L` that is not over for `'a`.
    pub(crate) unsafe fn from_context<'a>(context: *mut c_void) -> &'a Self {
        // SAFETY: the context is a pointer to the block, which stays as long as the registration.
        unsafe { &*context.cast::<Self>() }
    }

    pub(crate) fn header(&self) -> &RegistrationHeader {
        &self.header
    }

    /// Makes a block, with every pointer in it at its final place (M19).
    pub(super) fn allocate(module: L::Module, options: RegistrationOptions<L::Specific>) -> Option<NonNull<Self>> {
        let (memory, place) = Memory::allocate(Layout::new::<Self>())?;
        let block = place.cast::<Self>();
        let at = block.as_ptr();
        // SAFETY: the address of a field of allocated memory.
        let npi_id = unsafe { &raw const (*at).npi_id };
        // SAFETY: the address of a field of allocated memory.
        let module_id = unsafe { &raw const (*at).module_id };
        // SAFETY: the address of a field of allocated memory.
        let specific = unsafe { &raw const (*at).specific };
        let instance = NPI_REGISTRATION_INSTANCE {
            Version: 0,
            Size: size_of::<NPI_REGISTRATION_INSTANCE>() as u16,
            NpiId: npi_id,
            ModuleId: module_id,
            Number: options.number,
            NpiSpecificCharacteristics: npi::pointer_to(specific),
        };
        let slot_size = size_of::<Slot<L::Binding, L::Guard>>();
        let value = Self {
            header: RegistrationHeader::new(L::ROLE, slot_size, L::COMPLETE, options.clock, options.one_peer),
            characteristics: L::characteristics(instance),
            npi_id: L::NPI_ID,
            module_id: options.module_id.to_raw(),
            specific: options.characteristics,
            module,
            memory,
        };
        // SAFETY: the memory was allocated for a block.
        unsafe { block.write(value) };
        Some(block)
    }

    /// Drops what is in the block and frees it and its slots.
    ///
    /// # Safety
    ///
    /// NMR does not know the block any more, and nobody else uses it.
    pub(super) unsafe fn free(block: NonNull<Self>) {
        // SAFETY: BLOCK.
        let header = unsafe { &(*block.as_ptr()).header };
        // SAFETY: the slots are of the role's types; they are freed below.
        for slot in unsafe { Slots::<L::Binding, L::Guard>::of(header) } {
            if slot.is_filled() {
                // SAFETY: a binding that NMR never cleaned up (`client::attach`), and nobody uses it any more.
                unsafe { slot.cleanup() };
            }
        }
        // SAFETY: no slot is filled, and the caller promises that nobody else uses them.
        unsafe { slab::free(header) };
        // SAFETY: BLOCK.
        let memory = unsafe { (*block.as_ptr()).memory };
        // SAFETY: the caller promises that nobody else uses it.
        unsafe { block.drop_in_place() };
        // SAFETY: allocated by `allocate`, and dropped above.
        unsafe { memory.free() };
    }
}
