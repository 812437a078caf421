//! Settings in the registry. PASSIVE_LEVEL.

use alloc::vec::Vec;
use core::ptr;

use wdk_sys::_KEY_VALUE_INFORMATION_CLASS::KeyValuePartialInformation;
use wdk_sys::ntddk::{ZwOpenKey, ZwQueryValueKey};
use wdk_sys::{KEY_READ, STATUS_NAME_TOO_LONG, STATUS_OBJECT_NAME_NOT_FOUND};

use super::object::{Handle, with_attributes};
use super::string::unicode_string;
use crate::record::{self, REG_DWORD, REG_SZ};
use crate::{DeviceName, NTSTATUS, ObjectName};

/// An open key.
pub struct Key(Handle);

impl Key {
    /// Opens a key to read from it; `None` if there is none.
    ///
    /// # Errors
    ///
    /// What ZwOpenKey returned.
    pub fn open(name: &ObjectName) -> Result<Option<Self>, NTSTATUS> {
        let opened = with_attributes(name, ptr::null_mut(), |attributes| {
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
        self.value(name, REG_DWORD)?.map(|data| record::dword(&data)).transpose()
    }

    /// A value of type REG_SZ, with whatever zeros it ends in; `None` if there is none of that name.
    ///
    /// # Errors
    ///
    /// As for [`Key::dword`].
    pub fn string(&self, name: &str) -> Result<Option<Vec<u16>>, NTSTATUS> {
        self.value(name, REG_SZ)?.map(|data| record::text(&data)).transpose()
    }

    /// The data of a value, which has to be of that type.
    fn value(&self, name: &str, kind: u32) -> Result<Option<Vec<u8>>, NTSTATUS> {
        let name = DeviceName::new("", name.encode_utf16()).ok_or(STATUS_NAME_TOO_LONG)?;
        let mut name = unicode_string(&name);
        record::value_data(kind, |room| {
            let mut length = 0;
            // SAFETY: the key is open; name, room and length live through the call. Pool is aligned for the record.
            let status = unsafe {
                ZwQueryValueKey(
                    self.0.get(),
                    &raw mut name,
                    KeyValuePartialInformation,
                    room.as_mut_ptr().cast(),
                    room.len() as u32,
                    &raw mut length,
                )
            };
            if status < 0 { Err((status, length as usize)) } else { Ok(()) }
        })
    }
}
