//! The memory of a registration: everything that NMR keeps pointers to.

use core::alloc::Layout;
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::slice;

use wdk_nmr_sys::{NPI_MODULEID, NPI_REGISTRATION_INSTANCE, NPIID};

use crate::header::RegistrationHeader;
use crate::memory::Memory;
use crate::part::Part;
use crate::slab::{self, Slots};
use crate::slot::Slot;
use crate::structure::StructureError;

use super::role::{OwnDispatch, OwnSpecific};
use super::{RegistrationOptions, Role, RoleSlot};

/// Everything that NMR keeps a pointer to, except for the slots. The module's dispatch tables follow it in the same
/// piece of memory.
///
/// # Invariants
///
/// **BLOCK**: a block and its tables are initialized from `allocate` to `free`, and do not move. `free` comes after the
/// registration's wait has returned, or before NMR knows the block; until then NMR's callbacks and everybody else have
/// shared references to it alone.
#[repr(C)]
pub(crate) struct RegistrationBlock<L: Role> {
    /// First, so that a slot's pointer to it is a pointer to the block.
    header: RegistrationHeader,
    pub(super) characteristics: L::Characteristics,
    npi_id: NPIID,
    module_id: NPI_MODULEID,
    specific: OwnSpecific<L>,
    pub(crate) module: L::Module,
    /// The first of `L::TABLES`.
    tables: NonNull<OwnDispatch<L>>,
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

    fn tables(&self) -> &[OwnDispatch<L>] {
        // SAFETY: BLOCK.
        unsafe { slice::from_raw_parts(self.tables.as_ptr(), L::TABLES) }
    }

    /// The module's dispatch tables in the order in which they are tried, as NMR carries them.
    pub(crate) fn dispatches(&self) -> impl Iterator<Item = *const c_void> {
        self.tables().iter().map(L::Dispatch::address_of)
    }

    /// Whether all that the module hands out is as its interface says.
    pub(super) fn check(&self) -> Result<(), StructureError> {
        L::Specific::check_own(&self.specific)?;
        self.tables().iter().try_for_each(L::Dispatch::check_own)
    }

    /// Makes a block, with every pointer in it at its final place (M19). The module makes its tables when it is at its
    /// own: they may point into it.
    pub(super) fn allocate(
        module: L::Module,
        npi_id: NPIID,
        options: RegistrationOptions<OwnSpecific<L>>,
    ) -> Option<NonNull<Self>> {
        let tables = Layout::array::<OwnDispatch<L>>(L::TABLES).ok()?;
        let (layout, offset) = Layout::new::<Self>().extend(tables).ok()?;
        let (memory, place) = Memory::allocate(layout)?;
        // SAFETY: the layout has the tables at `offset`.
        let tables = unsafe { place.add(offset) }.cast::<OwnDispatch<L>>();
        let block = place.cast::<Self>();
        let at = block.as_ptr();
        let value = Self {
            header: RegistrationHeader::new(
                L::ROLE,
                size_of::<Slot<L::Binding, L::Guard>>(),
                L::COMPLETE,
                options.clock,
                options.one_peer,
            ),
            characteristics: L::characteristics(NPI_REGISTRATION_INSTANCE {
                Version: options.version,
                Size: size_of::<NPI_REGISTRATION_INSTANCE>() as u16,
                // SAFETY: the address of a field of allocated memory.
                NpiId: unsafe { &raw const (*at).npi_id },
                // SAFETY: the address of a field of allocated memory.
                ModuleId: unsafe { &raw const (*at).module_id },
                Number: options.number,
                NpiSpecificCharacteristics: ptr::null(),
            }),
            npi_id,
            module_id: options.module_id.to_raw(),
            specific: options.characteristics,
            module,
            tables,
            memory,
        };
        // SAFETY: the memory was allocated for a block.
        unsafe { block.write(value) };
        // SAFETY: a field of the block.
        let specific = L::Specific::address_of(unsafe { &(*at).specific });
        // SAFETY: a field of the block, which nobody else knows yet.
        L::instance(unsafe { &mut (*at).characteristics }).NpiSpecificCharacteristics = specific;
        for index in 0..L::TABLES {
            // SAFETY: a field of the block, which stays where it is.
            let table = L::dispatch(unsafe { &(*at).module }, index);
            // SAFETY: the layout has as many tables.
            let place = unsafe { tables.add(index) };
            // SAFETY: a place for a table.
            unsafe { place.write(table) };
        }
        Some(block)
    }

    /// Drops what is in the block and frees it, its tables and its slots.
    ///
    /// # Safety
    ///
    /// NMR does not know the block, or not any more, and nobody else uses it.
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
        // SAFETY: BLOCK.
        let tables = unsafe { (*block.as_ptr()).tables };
        // Before the module, which they may point into.
        // SAFETY: `L::TABLES` initialized tables, which nobody uses any more.
        unsafe { ptr::slice_from_raw_parts_mut(tables.as_ptr(), L::TABLES).drop_in_place() };
        // SAFETY: the caller promises that nobody else uses it.
        unsafe { block.drop_in_place() };
        // SAFETY: allocated by `allocate`, and dropped above.
        unsafe { memory.free() };
    }
}
