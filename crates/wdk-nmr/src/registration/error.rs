//! Why there is no registration, or no end of one.

use core::fmt;

use wdk_nmr_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER};

use crate::structure::StructureError;

/// Why there is no registration. Nothing is left of the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// The driver's own heap has no memory for the registration.
    OutOfMemory,
    /// NMR returned STATUS_INSUFFICIENT_RESOURCES.
    InsufficientResources,
    /// NMR returned another status.
    Status(NTSTATUS),
    /// A structure that the module itself wants to hand out does not have the form that its interface demands.
    OwnStructure(StructureError),
    /// The interface has an identifier at run time alone ([`ID_AT_RUN_TIME`](crate::ID_AT_RUN_TIME)), and the options
    /// do not say which.
    NoNpiId,
}

impl RegisterError {
    /// What DriverEntry returns: a failure, always.
    #[must_use]
    pub const fn status(&self) -> NTSTATUS {
        /// STATUS_UNSUCCESSFUL
        const UNSUCCESSFUL: NTSTATUS = 0xC000_0001_u32.cast_signed();
        match self {
            Self::OutOfMemory | Self::InsufficientResources => STATUS_INSUFFICIENT_RESOURCES,
            Self::Status(status) if *status < 0 => *status,
            Self::Status(_) => UNSUCCESSFUL,
            Self::OwnStructure(_) | Self::NoNpiId => STATUS_INVALID_PARAMETER,
        }
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory => f.write_str("no memory for the registration"),
            Self::InsufficientResources => f.write_str("NMR has no resources for the registration"),
            Self::Status(status) => write!(f, "NMR refused the registration with status {status:#010x}"),
            Self::NoNpiId => f.write_str("expected an identifier of the interface in the options, found none"),
            Self::OwnStructure(error) => {
                write!(f, "a structure of the module itself is wrong: {error}")
            }
        }
    }
}

impl core::error::Error for RegisterError {}

/// NMR did not end a registration as it should. The registration has been leaked, and with it the driver's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leaked {
    /// What NMR returned.
    pub status: NTSTATUS,
}

impl fmt::Display for Leaked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NMR did not end the registration (status {:#010x}); the driver stays loaded", self.status)
    }
}

impl core::error::Error for Leaked {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn driver_entry_returns_a_failure_whatever_nmr_has_returned() {
        // STATUS_SUCCESS without a handle, STATUS_PENDING; what is a failure stays what it is.
        for (status, answer) in [(0, 0xC000_0001), (0x103, 0xC000_0001), (-1, 0xFFFF_FFFF_u32)] {
            assert_eq!(RegisterError::Status(status).status(), answer.cast_signed());
        }
        assert_eq!(RegisterError::OutOfMemory.status(), STATUS_INSUFFICIENT_RESOURCES);
        assert_eq!(RegisterError::NoNpiId.status(), STATUS_INVALID_PARAMETER);
    }

    #[test]
    fn a_status_is_said_as_people_look_it_up() {
        let error = RegisterError::Status(STATUS_INVALID_PARAMETER);
        assert_eq!(error.to_string(), "NMR refused the registration with status 0xc000000d");
        let leaked = Leaked { status: STATUS_INSUFFICIENT_RESOURCES };
        let expected = "NMR did not end the registration (status 0xc000009a); the driver stays loaded";
        assert_eq!(leaked.to_string(), expected);
    }
}
