//! The statuses (`ntstatus.h`) that decide something here.

/// The status of a call, as in `ntdef.h`.
pub type NTSTATUS = i32;

pub(crate) const STATUS_SUCCESS: NTSTATUS = 0;
pub(crate) const STATUS_INSUFFICIENT_RESOURCES: NTSTATUS = 0xC000_009A_u32.cast_signed();
pub(crate) const STATUS_NAME_TOO_LONG: NTSTATUS = 0xC000_0106_u32.cast_signed();

#[cfg(any(test, feature = "kernel"))]
pub(crate) use kernel::*;

/// What only the kernel answers.
#[cfg(any(test, feature = "kernel"))]
mod kernel {
    use super::NTSTATUS;

    pub(crate) const STATUS_UNSUCCESSFUL: NTSTATUS = 0xC000_0001_u32.cast_signed();
    pub(crate) const STATUS_NOT_IMPLEMENTED: NTSTATUS = 0xC000_0002_u32.cast_signed();
    pub(crate) const STATUS_INVALID_INFO_CLASS: NTSTATUS = 0xC000_0003_u32.cast_signed();
    pub(crate) const STATUS_INVALID_PARAMETER: NTSTATUS = 0xC000_000D_u32.cast_signed();
    pub(crate) const STATUS_INVALID_DEVICE_REQUEST: NTSTATUS = 0xC000_0010_u32.cast_signed();
    pub(crate) const STATUS_ACCESS_DENIED: NTSTATUS = 0xC000_0022_u32.cast_signed();
    pub(crate) const STATUS_BUFFER_TOO_SMALL: NTSTATUS = 0xC000_0023_u32.cast_signed();
    pub(crate) const STATUS_OBJECT_TYPE_MISMATCH: NTSTATUS = 0xC000_0024_u32.cast_signed();
    pub(crate) const STATUS_OBJECT_NAME_NOT_FOUND: NTSTATUS = 0xC000_0034_u32.cast_signed();
    pub(crate) const STATUS_SHARING_VIOLATION: NTSTATUS = 0xC000_0043_u32.cast_signed();
    pub(crate) const STATUS_DELETE_PENDING: NTSTATUS = 0xC000_0056_u32.cast_signed();
    pub(crate) const STATUS_NOT_SUPPORTED: NTSTATUS = 0xC000_00BB_u32.cast_signed();
    pub(crate) const STATUS_BUFFER_OVERFLOW: NTSTATUS = 0x8000_0005_u32.cast_signed();
}
