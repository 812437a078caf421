//! Settings in the registry. PASSIVE_LEVEL.

use alloc::vec::Vec;

use wdk_sys::_KEY_VALUE_INFORMATION_CLASS::KeyValuePartialInformation;
use wdk_sys::ntddk::ZwQueryValueKey;
use wdk_sys::{DRIVER_OBJECT, HANDLE, KEY_READ};

use super::object::Handle;
use super::string::unicode_string;
use crate::record::{self, REG_DWORD, REG_SZ};
use crate::status::STATUS_OBJECT_NAME_NOT_FOUND;
use crate::{NTSTATUS, ObjectName};

/// An open key.
pub struct Key(Handle);

unsafe extern "system" {
    /// Opens a key of the driver's own (wdm.h, Windows 10 version 1803; wdk-sys does not declare it). PASSIVE_LEVEL, on
    /// a system thread ("IoOpenDriverRegistryKey").
    fn IoOpenDriverRegistryKey(
        driver: *mut DRIVER_OBJECT,
        kind: u32,
        access: u32,
        flags: u32,
        key: *mut HANDLE,
    ) -> NTSTATUS;
}

/// `DriverRegKeyParameters`: what an administrator or the INF has set for the driver, which only reads it.
const DRIVER_REG_KEY_PARAMETERS: u32 = 0;

impl Key {
    /// Opens the driver's key Parameters to read from it; `None` if there is none. PASSIVE_LEVEL, in DriverEntry.
    ///
    /// # Errors
    ///
    /// What IoOpenDriverRegistryKey returned.
    pub fn parameters(driver: &mut DRIVER_OBJECT) -> Result<Option<Self>, NTSTATUS> {
        // SAFETY: the driver object is that of this driver, and the handle lives through the call.
        let opened = Handle::from_call(|handle| unsafe {
            IoOpenDriverRegistryKey(driver, DRIVER_REG_KEY_PARAMETERS, KEY_READ, 0, handle)
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
        let name = ObjectName::new(&[], name)?;
        let mut name = unicode_string(name.units());
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
