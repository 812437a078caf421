//! Names in the object manager's name space, in UTF-16.

use alloc::vec::Vec;

use crate::NTSTATUS;
use crate::memory::try_collect;
use crate::status::STATUS_NAME_TOO_LONG;

/// The longest [`DeviceName`] in UTF-16 units, with its prefix.
pub const MAX_NAME: usize = 128;

/// The name of a device or of a symbolic link, in memory from the global allocator: with its prefix it would be a
/// quarter of what a kernel stack frame should have.
///
/// ```
/// use sluice_wdm::DeviceName;
///
/// let device = DeviceName::new(r"\Device\", "Sluice".encode_utf16()).unwrap();
/// assert_eq!(String::from_utf16(device.units()).unwrap(), r"\Device\Sluice");
/// ```
#[derive(Debug)]
pub struct DeviceName(Vec<u16>);

impl DeviceName {
    /// `prefix` followed by `name`.
    ///
    /// # Errors
    ///
    /// STATUS_NAME_TOO_LONG: that is longer than [`MAX_NAME`]. STATUS_INSUFFICIENT_RESOURCES.
    pub fn new(prefix: &str, name: impl IntoIterator<Item = u16>) -> Result<Self, NTSTATUS> {
        // One more than may be, to tell whether there is more.
        let room = MAX_NAME.saturating_add(1);
        let units = try_collect(room, prefix.encode_utf16().chain(name))?;
        if units.len() > MAX_NAME { Err(STATUS_NAME_TOO_LONG) } else { Ok(Self(units)) }
    }

    /// The name, without a terminating zero: what a UNICODE_STRING points to.
    #[must_use]
    pub fn units(&self) -> &[u16] {
        &self.0
    }
}

const BACKSLASH: u16 = b'\\' as u16;

/// The longest [`ObjectName`] in units: a UNICODE_STRING counts bytes in a u16.
const MAX_UNITS: usize = u16::MAX as usize / size_of::<u16>();

/// The name of a file or a key, in memory from the global allocator.
#[derive(Debug)]
pub struct ObjectName(Vec<u16>);

impl ObjectName {
    /// The parts, one behind the other.
    ///
    /// # Errors
    ///
    /// STATUS_NAME_TOO_LONG, or STATUS_INSUFFICIENT_RESOURCES.
    pub fn new(start: &[u16], end: &str) -> Result<Self, NTSTATUS> {
        Self::of(start.iter().copied().chain(end.encode_utf16()), start.len().saturating_add(end.len()))
    }

    /// A name whose start is text.
    ///
    /// # Errors
    ///
    /// As [`ObjectName::new`].
    pub fn with_prefix(start: &str, end: &[u16]) -> Result<Self, NTSTATUS> {
        Self::of(start.encode_utf16().chain(end.iter().copied()), start.len().saturating_add(end.len()))
    }

    /// At most `room` units.
    fn of(units: impl Iterator<Item = u16>, room: usize) -> Result<Self, NTSTATUS> {
        if room > MAX_UNITS {
            return Err(STATUS_NAME_TOO_LONG);
        }
        try_collect(room, units).map(Self)
    }

    /// The units, without a zero at the end.
    #[must_use]
    pub fn units(&self) -> &[u16] {
        &self.0
    }

    /// What stands behind the last backslash: the name within its folder.
    #[must_use]
    pub fn last_part(&self) -> &[u16] {
        self.0.rsplit(|unit| *unit == BACKSLASH).next().unwrap_or_default()
    }
}

/// The name of the service: the last part of the registry path that DriverEntry gets. `None` if that part is empty.
///
/// ```
/// use sluice_wdm::service;
///
/// let path: Vec<u16> = r"\Registry\Machine\System\CurrentControlSet\Services\probe2".encode_utf16().collect();
/// assert_eq!(String::from_utf16(service(&path).unwrap()).unwrap(), "probe2");
/// ```
#[must_use]
pub fn service(registry_path: &[u16]) -> Option<&[u16]> {
    registry_path.rsplit(|unit| *unit == BACKSLASH).next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    #[test]
    fn a_device_name_has_room_for_128_units_with_its_prefix() {
        let fits = DeviceName::new(r"\Device\", [65; MAX_NAME - 8]).unwrap();
        assert_eq!(fits.units().len(), MAX_NAME);
        assert_eq!(DeviceName::new(r"\Device\", [65; MAX_NAME - 7]).unwrap_err(), STATUS_NAME_TOO_LONG);
    }

    #[test]
    fn an_object_name_is_as_long_as_a_counted_string_can_be() {
        assert_eq!(MAX_UNITS, 32_767);
        assert_eq!(ObjectName::new(&[66; MAX_UNITS - 1], "x").unwrap().units().len(), MAX_UNITS);
        assert_eq!(ObjectName::new(&[66; MAX_UNITS], "x").unwrap_err(), STATUS_NAME_TOO_LONG);
        assert_eq!(ObjectName::with_prefix("x", &[66; MAX_UNITS]).unwrap_err(), STATUS_NAME_TOO_LONG);
    }

    #[test]
    fn the_parts_of_a_name_lie_one_behind_the_other() {
        let text = |name: ObjectName| String::from_utf16(name.units()).unwrap();
        let path: Vec<u16> = r"C:\ä.policy".encode_utf16().collect();
        assert_eq!(text(ObjectName::with_prefix(r"\GLOBAL??\", &path).unwrap()), r"\GLOBAL??\C:\ä.policy");
        assert_eq!(text(ObjectName::new(&path, ".new").unwrap()), r"C:\ä.policy.new");
    }

    #[test]
    fn the_last_part_is_the_name_within_the_folder() {
        let last = |name: &str| String::from_utf16(ObjectName::new(&[], name).unwrap().last_part()).unwrap();
        assert_eq!(last(r"\GLOBAL??\C:\a b\x.policy"), "x.policy");
        assert_eq!(last("x.policy"), "x.policy");
    }

    #[test]
    fn a_path_that_ends_in_a_backslash_names_no_service() {
        assert_eq!(service(&[b'a'.into(), b'\\'.into()]), None);
        assert_eq!(service(&[]), None);
        assert_eq!(service(&[b'a'.into()]), Some(&[u16::from(b'a')][..]));
    }
}
