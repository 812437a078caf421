//! The `NTSTATUS` values of the contract (`ntstatus.h`), and what Win32 makes of them.

pub use sluice_wdm::NTSTATUS;

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        $($(#[$doc])* pub const $name: NTSTATUS = u32::cast_signed($value);)*
    };
}

statuses! {
    /// Done.
    STATUS_SUCCESS = 0;
    /// Something failed that should not (`ERROR_GEN_FAILURE`).
    STATUS_UNSUCCESSFUL = 0xC000_0001;
    /// A field of the input has no allowed value (`ERROR_INVALID_PARAMETER`).
    STATUS_INVALID_PARAMETER = 0xC000_000D;
    /// The device has no such control code (`ERROR_INVALID_FUNCTION`).
    STATUS_INVALID_DEVICE_REQUEST = 0xC000_0010;
    /// The output cannot hold the answer (`ERROR_INSUFFICIENT_BUFFER`).
    STATUS_BUFFER_TOO_SMALL = 0xC000_0023;
    /// The input is of another version of the contract (`ERROR_REVISION_MISMATCH`).
    STATUS_REVISION_MISMATCH = 0xC000_0059;
    /// The table is larger than the driver takes (`ERROR_NOT_ENOUGH_QUOTA`).
    STATUS_QUOTA_EXCEEDED = 0xC000_0044;
    /// There is no memory for it (`ERROR_NO_SYSTEM_RESOURCES`).
    STATUS_INSUFFICIENT_RESOURCES = 0xC000_009A;
    /// No Sluice provider is attached to the probe (`ERROR_NOT_READY`).
    STATUS_DEVICE_NOT_READY = 0xC000_00A3;
    /// A persisted policy is not what was written (`ERROR_FILE_CORRUPT`).
    STATUS_FILE_CORRUPT_ERROR = 0xC000_0102;
    /// No policy is being tried (`ERROR_NOT_FOUND`).
    STATUS_NOT_FOUND = 0xC000_0225;
    /// The driver unloads (`ERROR_ACCESS_DENIED`).
    STATUS_DELETE_PENDING = 0xC000_0056;
    /// The input is shorter or longer than it has to be (`ERROR_INVALID_USER_BUFFER`).
    STATUS_INVALID_BUFFER_SIZE = 0xC000_0206;
}
