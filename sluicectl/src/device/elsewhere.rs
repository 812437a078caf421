//! Systems other than Windows, where the drivers do not run.

use super::Access;
use crate::failure::Failure;

/// A handle that cannot exist.
pub(super) enum Handle {}

impl Handle {
    pub(super) fn open(name: &str, _: Access) -> Result<Self, Failure> {
        Err(Failure::State(format!(
            "cannot open the device {name}: the drivers run on Windows; `classify --offline`, `policy check` and \
             `policy test` work everywhere"
        )))
    }

    pub(super) fn control(&self, _: u32, _: &[u8], _: usize) -> Result<Vec<u8>, Failure> {
        match *self {}
    }
}
