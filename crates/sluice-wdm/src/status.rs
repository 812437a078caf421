//! The few statuses (`ntstatus.h`) that do not come from the kernel.

/// The status of a call, as in `ntdef.h`.
pub type NTSTATUS = i32;

pub(crate) const STATUS_SUCCESS: NTSTATUS = 0;
pub(crate) const STATUS_INSUFFICIENT_RESOURCES: NTSTATUS = 0xC000_009A_u32.cast_signed();
pub(crate) const STATUS_NAME_TOO_LONG: NTSTATUS = 0xC000_0106_u32.cast_signed();

#[cfg(any(test, feature = "kernel"))]
pub(crate) use records::*;

/// What only records and transfers answer with.
#[cfg(any(test, feature = "kernel"))]
mod records {
    use super::NTSTATUS;

    pub(crate) const STATUS_UNSUCCESSFUL: NTSTATUS = 0xC000_0001_u32.cast_signed();
    pub(crate) const STATUS_OBJECT_TYPE_MISMATCH: NTSTATUS = 0xC000_0024_u32.cast_signed();
    pub(crate) const STATUS_OBJECT_NAME_NOT_FOUND: NTSTATUS = 0xC000_0034_u32.cast_signed();
    pub(crate) const STATUS_BUFFER_OVERFLOW: NTSTATUS = 0x8000_0005_u32.cast_signed();
    pub(crate) const STATUS_BUFFER_TOO_SMALL: NTSTATUS = 0xC000_0023_u32.cast_signed();
}
