//! Names of files that the kernel of Windows resolves and that of Wine does not.

use alloc::vec;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr::null_mut;

use crate::{isolation, objects, sys, thunk};

/// What such a name begins with, and what that stands for.
const PREFIXES: [(&str, &str); 2] = [("\\SystemRoot\\", "\\??\\C:\\windows\\"), ("\\GLOBAL??\\", "\\??\\")];

/// `FileRenameInformation`, `FileRenameInformationEx`.
const RENAME: [u32; 2] = [10, 65];

const DELETE: u32 = 0x1_0000;

/// `FILE_RENAME_INFORMATION`: the name begins with `name`.
#[repr(C)]
struct RenameInformation {
    flags: u32,
    root: sys::Handle,
    name_length: u32,
    name: u16,
}

/// What a name stands for. None for a name that Wine resolves itself.
pub(crate) fn resolved(name: &[u16]) -> Option<sys::Wide> {
    PREFIXES.iter().find_map(|(prefix, stands_for)| {
        let (start, rest) = name.split_at_checked(prefix.len())?;
        let same = |(&unit, byte): (&u16, u8)| u8::try_from(unit).is_ok_and(|unit| unit.eq_ignore_ascii_case(&byte));
        start.iter().zip(prefix.bytes()).all(same).then(|| sys::Wide::of(stands_for.encode_utf16(), rest))
    })
}

/// The name of a file in the folder in which another one is open. None if that has no name.
///
/// # Safety
///
/// `file` is open.
unsafe fn beside(file: sys::Handle, name: &[u16]) -> Option<sys::Wide> {
    const OBJECT_NAME_INFORMATION: u32 = 1;
    const LONGEST: usize = 0x1_0000;
    // In words of 8 bytes, for its alignment: a UNICODE_STRING and what it points to.
    let mut information = vec![0_u64; LONGEST / 8];
    let place = information.as_mut_ptr().cast::<c_void>();
    // SAFETY: the caller guarantees the handle; the place is a local of that length.
    let status = unsafe { sys::NtQueryObject(file, OBJECT_NAME_INFORMATION, place, LONGEST as u32, null_mut()) };
    if status < 0 {
        return None;
    }
    // SAFETY: the call has put a counted string there, which points into the same place.
    let path = unsafe { sys::units(place.cast()) };
    let folder = path.iter().rposition(|unit| *unit == u16::from(b'\\'))?;
    Some(sys::Wide::of(path[..=folder].iter().copied(), name))
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
    let caller = thunk::caller();
    // SAFETY: a driver passes attributes, which live through the call.
    let given = unsafe { &*attributes };
    // SAFETY: they point to a counted string, which lives as long.
    let name = unsafe { sys::units(given.ObjectName) };
    isolation::check_file(caller, name, given.RootDirectory.is_null(), access, disposition);
    let resolved = resolved(name);
    let counted = resolved.as_ref().map(sys::Wide::counted);
    let attributes =
        sys::OBJECT_ATTRIBUTES { ObjectName: counted.as_ref().map_or(given.ObjectName, core::ptr::from_ref), ..*given };
    // SAFETY: the driver's own arguments, but for the name.
    let made = unsafe {
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
    };
    // SAFETY: the function has put the handle there.
    unsafe { objects::made_handle(caller, made, file) }
}

/// ZwSetInformationFile: a file may be given a name that Wine does not resolve, or one within its folder.
pub(crate) unsafe extern "system" fn set_information(
    file: sys::Handle,
    status: *mut sys::IO_STATUS_BLOCK,
    information: *const c_void,
    length: u32,
    class: u32,
) -> sys::NtStatus {
    let caller = thunk::caller();
    if RENAME.contains(&class) {
        let rename: *const RenameInformation = information.cast();
        // SAFETY: the driver passes that structure with this class.
        let header = unsafe { rename.read_unaligned() };
        // SAFETY: only the address is taken.
        let name = unsafe { &raw const (*rename).name };
        // SAFETY: the name follows, as long as the structure says.
        let name = unsafe { core::slice::from_raw_parts(name, header.name_length as usize / 2) };
        let is_absolute = header.root.is_null() && name.contains(&u16::from(b'\\'));
        isolation::check_file(caller, name, is_absolute, DELETE, 0);
        let is_simple = header.root.is_null() && !name.contains(&u16::from(b'\\'));
        // SAFETY: the driver's own handle.
        let name = if is_simple { unsafe { beside(file, name) } } else { resolved(name) };
        if let Some(name) = name {
            let changed = renaming(&header, &name);
            let length = (changed.len() * 8) as u32;
            // SAFETY: the driver's own arguments, but for the name.
            return unsafe { sys::NtSetInformationFile(file, status, changed.as_ptr().cast(), length, class) };
        }
    }
    // SAFETY: the driver's own arguments.
    unsafe { sys::NtSetInformationFile(file, status, information, length, class) }
}

/// The same renaming with another name, in words of 8 bytes for its alignment.
fn renaming(header: &RenameInformation, name: &sys::Wide) -> Vec<u64> {
    let counted = name.counted();
    let size = offset_of!(RenameInformation, name) + usize::from(counted.Length);
    let mut changed = vec![0_u64; size.div_ceil(8).max(size_of::<RenameInformation>() / 8)];
    let place: *mut RenameInformation = changed.as_mut_ptr().cast();
    // SAFETY: there is room for the structure.
    unsafe { place.write(RenameInformation { name_length: u32::from(counted.Length), ..*header }) };
    // SAFETY: only the address is taken.
    let name_place = unsafe { &raw mut (*place).name };
    // SAFETY: there is room for the name, which is elsewhere.
    unsafe { name_place.copy_from_nonoverlapping(counted.Buffer, usize::from(counted.Length) / 2) };
    changed
}
