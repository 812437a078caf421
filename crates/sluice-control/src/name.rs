//! What the devices are called.
//!
//! sluice.sys has one device. probe.sys may be loaded several times under several service names, so its device is called
//! like the service: service `probe2` makes `\Device\probe2`, which a program opens as `\\.\probe2`.

/// The name of the device of sluice.sys in user mode.
pub const SLUICE: &str = "Sluice";
/// The usual service name of probe.sys, and so the usual name of its device.
pub const PROBE: &str = "probe";

/// What comes before the name of a device in the object manager's name space.
pub const DEVICE_PREFIX: &str = r"\Device\";
/// What comes before the name of the symbolic link that makes a device visible to user mode.
pub const LINK_PREFIX: &str = r"\DosDevices\";
/// What comes before the name when a user-mode program opens a device.
pub const WIN32_PREFIX: &str = r"\\.\";

/// The longest name that [`DeviceName`] can hold, in UTF-16 units, with its prefix.
pub const MAX_NAME: usize = 128;

/// A name for the object manager, in UTF-16, on the stack.
///
/// ```
/// use sluice_control::name::{DEVICE_PREFIX, DeviceName, SLUICE};
///
/// let device = DeviceName::new(DEVICE_PREFIX, SLUICE.encode_utf16()).unwrap();
/// assert_eq!(String::from_utf16(device.as_slice()).unwrap(), r"\Device\Sluice");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DeviceName {
    units: [u16; MAX_NAME],
    length: usize,
}

impl DeviceName {
    /// `prefix` followed by `name`, or `None` if that is longer than [`MAX_NAME`].
    #[must_use]
    pub fn new(prefix: &str, name: impl IntoIterator<Item = u16>) -> Option<Self> {
        let mut result = Self { units: [0; MAX_NAME], length: 0 };
        for unit in prefix.encode_utf16().chain(name) {
            *result.units.get_mut(result.length)? = unit;
            result.length = result.length.checked_add(1)?;
        }
        Some(result)
    }

    /// The name, without a terminating zero: what a `UNICODE_STRING` points to.
    #[must_use]
    pub fn as_slice(&self) -> &[u16] {
        self.units.get(..self.length).unwrap_or_default()
    }
}

/// The name of the service: the last part of the registry path that `DriverEntry` gets. `None` if that part is empty.
///
/// ```
/// use sluice_control::name::service;
///
/// let path: Vec<u16> = r"\Registry\Machine\System\CurrentControlSet\Services\probe2".encode_utf16().collect();
/// assert_eq!(String::from_utf16(service(&path).unwrap()).unwrap(), "probe2");
/// ```
#[must_use]
pub fn service(registry_path: &[u16]) -> Option<&[u16]> {
    const BACKSLASH: u16 = b'\\' as u16;
    registry_path.rsplit(|unit| *unit == BACKSLASH).next().filter(|name| !name.is_empty())
}
