//! Files below `\SystemRoot`, a name that the kernel of Windows resolves and that of Wine does not.

use alloc::vec;
use core::ffi::c_void;
use core::mem::offset_of;

use crate::sys;

/// What the name stands for: where Wine has Windows.
const SYSTEM_ROOT: &str = "\\SystemRoot\\";
const WINDOWS: &str = "\\??\\C:\\windows\\";

/// `FileRenameInformation`.
const RENAME: u32 = 10;

/// `FILE_RENAME_INFORMATION`: the name begins with `name`.
#[repr(C)]
struct RenameInformation {
    replace: u8,
    root: sys::Handle,
    name_length: u32,
    name: u16,
}

/// What a name below `\SystemRoot` stands for. None for every other name.
fn resolved(name: &[u16]) -> Option<sys::Wide> {
    let (start, rest) = name.split_at_checked(SYSTEM_ROOT.len())?;
    let same = |(&unit, byte): (&u16, u8)| u8::try_from(unit).is_ok_and(|unit| unit.eq_ignore_ascii_case(&byte));
    start.iter().zip(SYSTEM_ROOT.bytes()).all(same).then(|| sys::Wide::of(WINDOWS.encode_utf16(), rest))
}

/// ZwCreateFile.
#[allow(clippy::too_many_arguments, reason = "the kernel's function has them")]
pub(crate) unsafe extern "system" fn create(
    file: *mut sys::Handle,
    access: u32,
    attributes: *const sys::OBJECT_ATTRIBUTES,
    status: *mut sys::IO_STATUS_BLOCK,
    allocation_size: *const i64,
    file_attributes: u32,
    share: u32,
    disposition: u32,
    options: u32,
    ea_buffer: *const c_void,
    ea_length: u32,
) -> sys::NtStatus {
    // SAFETY: a driver passes attributes, which live through the call.
    let given = unsafe { &*attributes };
    // SAFETY: they point to a counted string, which lives as long.
    let resolved = resolved(unsafe { sys::units(given.ObjectName) });
    let counted = resolved.as_ref().map(sys::Wide::counted);
    let attributes =
        sys::OBJECT_ATTRIBUTES { ObjectName: counted.as_ref().map_or(given.ObjectName, core::ptr::from_ref), ..*given };
    // SAFETY: the driver's own arguments, but for the name.
    unsafe {
        sys::NtCreateFile(
            file,
            access,
            &attributes,
            status,
            allocation_size,
            file_attributes,
            share,
            disposition,
            options,
            ea_buffer,
            ea_length,
        )
    }
}

/// ZwSetInformationFile: a file may be given a name below `\SystemRoot`.
pub(crate) unsafe extern "system" fn set_information(
    file: sys::Handle,
    status: *mut sys::IO_STATUS_BLOCK,
    information: *const c_void,
    length: u32,
    class: u32,
) -> sys::NtStatus {
    if class == RENAME {
        let rename: *const RenameInformation = information.cast();
        // SAFETY: the driver passes that structure with this class.
        let header = unsafe { rename.read_unaligned() };
        // SAFETY: only the address is taken.
        let name = unsafe { &raw const (*rename).name };
        // SAFETY: the name follows, as long as the structure says.
        let name = unsafe { core::slice::from_raw_parts(name, header.name_length as usize / 2) };
        if let Some(name) = resolved(name) {
            let counted = name.counted();
            let size = offset_of!(RenameInformation, name) + usize::from(counted.Length);
            // In words of 8 bytes, for its alignment.
            let mut changed = vec![0_u64; size.div_ceil(8).max(size_of::<RenameInformation>() / 8)];
            let place: *mut RenameInformation = changed.as_mut_ptr().cast();
            // SAFETY: there is room for the structure.
            unsafe { place.write(RenameInformation { name_length: u32::from(counted.Length), ..header }) };
            // SAFETY: only the address is taken.
            let name_place = unsafe { &raw mut (*place).name };
            // SAFETY: there is room for the name, which is elsewhere.
            unsafe { name_place.copy_from_nonoverlapping(counted.Buffer, usize::from(counted.Length) / 2) };
            // SAFETY: the driver's own arguments, but for the name.
            return unsafe { sys::NtSetInformationFile(file, status, place.cast(), size as u32, class) };
        }
    }
    // SAFETY: the driver's own arguments.
    unsafe { sys::NtSetInformationFile(file, status, information, length, class) }
}
