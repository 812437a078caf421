//! Settings in the registry. PASSIVE_LEVEL.

use alloc::vec::Vec;
use core::mem::offset_of;
use core::ptr;

use sluice_control::name::DeviceName;
use wdk_sys::_KEY_VALUE_INFORMATION_CLASS::KeyValuePartialInformation;
use wdk_sys::ntddk::{ZwOpenKey, ZwQueryValueKey};
use wdk_sys::{
    KEY_READ, KEY_VALUE_PARTIAL_INFORMATION, NTSTATUS, REG_DWORD, REG_SZ, STATUS_BUFFER_OVERFLOW,
    STATUS_BUFFER_TOO_SMALL, STATUS_NAME_TOO_LONG, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_TYPE_MISMATCH,
};

use crate::memory::{try_collect, try_zeroed};
use crate::object::{Handle, ObjectName};
use crate::string::unicode_string;

/// An open key.
pub struct Key(Handle);

/// What stands before a value's data: title index, type, length.
const HEADER: usize = offset_of!(KEY_VALUE_PARTIAL_INFORMATION, Data);

impl Key {
    /// Opens a key to read from it; `None` if there is none.
    ///
    /// # Errors
    ///
    /// What ZwOpenKey returned.
    pub fn open(name: &ObjectName) -> Result<Option<Self>, NTSTATUS> {
        let opened = name.with_attributes(ptr::null_mut(), |attributes| {
            // SAFETY: handle and attributes live through the call.
            Handle::from_call(|handle| unsafe { ZwOpenKey(handle, KEY_READ, attributes) })
        });
        match opened {
            Ok(handle) => Ok(Some(Self(handle))),
            Err(STATUS_OBJECT_NAME_NOT_FOUND) => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// A value of type REG_DWORD; `None` if there is none of that name.
    ///
    /// # Errors
    ///
    /// STATUS_OBJECT_TYPE_MISMATCH: it is of another type. Others: what the kernel said.
    pub fn dword(&self, name: &str) -> Result<Option<u32>, NTSTATUS> {
        let Some(data) = self.value(name, REG_DWORD)? else { return Ok(None) };
        let value = data.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        value.map(Some).ok_or(STATUS_OBJECT_TYPE_MISMATCH)
    }

    /// A value of type REG_SZ, with whatever zeros it ends in; `None` if there is none of that name.
    ///
    /// # Errors
    ///
    /// As for [`Key::dword`].
    pub fn string(&self, name: &str) -> Result<Option<Vec<u16>>, NTSTATUS> {
        let Some(data) = self.value(name, REG_SZ)? else { return Ok(None) };
        let pairs = data.as_chunks::<2>().0;
        try_collect(pairs.len(), pairs.iter().map(|pair| u16::from_le_bytes(*pair))).map(Some)
    }

    /// The data of a value, which has to be of that type.
    fn value(&self, name: &str, kind: u32) -> Result<Option<Vec<u8>>, NTSTATUS> {
        let name = DeviceName::new("", name.encode_utf16()).ok_or(STATUS_NAME_TOO_LONG)?;
        let mut buffer = Vec::new();
        loop {
            let length = match self.query(&name, &mut buffer) {
                Ok(_) => break,
                Err((STATUS_BUFFER_OVERFLOW | STATUS_BUFFER_TOO_SMALL, length)) if length > buffer.len() => length,
                Err((STATUS_OBJECT_NAME_NOT_FOUND, _)) => return Ok(None),
                Err((status, _)) => return Err(status),
            };
            // By the next call the value may be another, hence the loop.
            buffer = try_zeroed(length)?;
        }
        let field = |offset: usize| {
            let bytes = buffer.get(offset..).and_then(|bytes| bytes.first_chunk());
            bytes.map(|bytes| u32::from_le_bytes(*bytes))
        };
        if field(offset_of!(KEY_VALUE_PARTIAL_INFORMATION, Type)) != Some(kind) {
            return Err(STATUS_OBJECT_TYPE_MISMATCH);
        }
        let length = field(offset_of!(KEY_VALUE_PARTIAL_INFORMATION, DataLength)).unwrap_or(0) as usize;
        try_collect(length.min(buffer.len()), buffer.iter().skip(HEADER).take(length).copied()).map(Some)
    }

    /// Fills the buffer with a KEY_VALUE_PARTIAL_INFORMATION. If it fails, also says how many bytes that has.
    fn query(&self, name: &DeviceName, buffer: &mut Vec<u8>) -> Result<(), (NTSTATUS, usize)> {
        let mut name = unicode_string(name);
        let mut length = 0;
        // SAFETY: the key is open; name, buffer and length live through the call. Pool is aligned for the structure.
        let status = unsafe {
            ZwQueryValueKey(
                self.0.get(),
                &raw mut name,
                KeyValuePartialInformation,
                buffer.as_mut_ptr().cast(),
                buffer.len() as u32,
                &raw mut length,
            )
        };
        if status < 0 { Err((status, length as usize)) } else { Ok(()) }
    }
}
