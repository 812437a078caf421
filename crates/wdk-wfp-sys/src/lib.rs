//! Rust declarations of the Windows Filtering Platform (WFP) for callout drivers.
//!
//! * The callout side, `fwpsk.h` and `fwpstypes.h`: what a driver registers and what a classification passes to it, in
//!   the versions of Windows 8 and later ([`FWPS_CALLOUT2`]). Windows 10 has a version 3, which differs in the type of
//!   [`FWPS_FILTER2::providerContext`] alone.
//! * The management side, `fwpmk.h`: the types are those of `windows-sys` and re-exported here. Its functions cannot be
//!   used by a driver, since `windows-sys` imports them from `fwpuclnt.dll`; here they come from `fwpkclnt.sys`.
//! * [`NET_BUFFER_LIST`] and [`NET_BUFFER`] of `ndis.h`, and [`MDL`].
//!
//! Nothing here is safe to call by itself: `wdk-wfp` is the library to write drivers with. Names are the C names.
//!
//! On Windows targets the functions are imported without any import library. On every other target, and with the
//! feature `unlinked`, they stay unresolved symbols, so that a test can link a filter engine of its own.
//!
//! Sizes and offsets are asserted at compile time and hold for the 64-bit targets of Windows, x64 and ARM64. Nothing of
//! this has run on Windows yet.
#![no_std]
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, reason = "the names are those of the C headers")]

mod callout;
mod fields;
mod functions;
mod layout;
mod ndis;

pub use callout::*;
pub use fields::*;
pub use functions::*;
pub use ndis::*;
pub use windows_sys::Wdk::Foundation::MDL;
pub use windows_sys::Win32::Foundation::{
    HANDLE, NTSTATUS, STATUS_DEVICE_BUSY, STATUS_FWP_ALREADY_EXISTS, STATUS_FWP_CALLOUT_NOT_FOUND,
    STATUS_FWP_CONDITION_NOT_FOUND, STATUS_FWP_FILTER_NOT_FOUND, STATUS_FWP_IN_USE, STATUS_FWP_LAYER_NOT_FOUND,
    STATUS_FWP_LIFETIME_MISMATCH, STATUS_FWP_NO_TXN_IN_PROGRESS, STATUS_FWP_NULL_DISPLAY_NAME,
    STATUS_FWP_PROVIDER_NOT_FOUND, STATUS_FWP_SUBLAYER_NOT_FOUND, STATUS_FWP_TXN_IN_PROGRESS,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_OBJECT_NAME_EXISTS, STATUS_SUCCESS,
    STATUS_UNSUCCESSFUL,
};
pub use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWP_ACTION_BLOCK, FWP_ACTION_CALLOUT_INSPECTION, FWP_ACTION_CALLOUT_TERMINATING, FWP_ACTION_CALLOUT_UNKNOWN,
    FWP_ACTION_CONTINUE, FWP_ACTION_FLAG_CALLOUT, FWP_ACTION_NONE, FWP_ACTION_NONE_NO_MATCH, FWP_ACTION_PERMIT,
    FWP_ACTION_TYPE, FWP_BYTE_ARRAY6, FWP_BYTE_ARRAY6_TYPE, FWP_BYTE_ARRAY16, FWP_BYTE_ARRAY16_TYPE, FWP_BYTE_BLOB,
    FWP_CALLOUT_FLAG_CONDITIONAL_ON_FLOW, FWP_CONDITION_FLAG_IS_LOOPBACK, FWP_CONDITION_VALUE0, FWP_CONDITION_VALUE0_0,
    FWP_DATA_TYPE, FWP_EMPTY, FWP_MATCH_EQUAL, FWP_MATCH_FLAGS_ALL_SET, FWP_MATCH_FLAGS_ANY_SET,
    FWP_MATCH_FLAGS_NONE_SET, FWP_MATCH_TYPE, FWP_UINT8, FWP_UINT16, FWP_UINT32, FWP_UINT64, FWP_VALUE0, FWP_VALUE0_0,
    FWPM_ACTION0, FWPM_ACTION0_0, FWPM_CALLOUT_FLAG_PERSISTENT, FWPM_CALLOUT0, FWPM_CONDITION_FLAGS,
    FWPM_DISPLAY_DATA0, FWPM_FILTER_CONDITION0, FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT,
    FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED, FWPM_FILTER_FLAG_PERSISTENT, FWPM_FILTER0, FWPM_FILTER0_0,
    FWPM_LAYER_INBOUND_IPPACKET_V4, FWPM_LAYER_INBOUND_IPPACKET_V6, FWPM_LAYER_INBOUND_MAC_FRAME_ETHERNET,
    FWPM_LAYER_IPFORWARD_V4, FWPM_LAYER_IPFORWARD_V6, FWPM_LAYER_OUTBOUND_IPPACKET_V4, FWPM_LAYER_OUTBOUND_IPPACKET_V6,
    FWPM_LAYER_OUTBOUND_MAC_FRAME_ETHERNET, FWPM_PROVIDER_FLAG_PERSISTENT, FWPM_PROVIDER0, FWPM_SESSION_FLAG_DYNAMIC,
    FWPM_SESSION0, FWPM_SUBLAYER_FLAG_PERSISTENT, FWPM_SUBLAYER0, FWPS_CLASSIFY_OUT_FLAG_ABSORB,
    FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT, FWPS_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED,
    FWPS_L2_METADATA_FIELD_ETHERNET_MAC_HEADER_SIZE, FWPS_METADATA_FIELD_COMPARTMENT_ID,
    FWPS_METADATA_FIELD_DESTINATION_INTERFACE_INDEX, FWPS_METADATA_FIELD_IP_HEADER_SIZE,
    FWPS_METADATA_FIELD_SOURCE_INTERFACE_INDEX, FWPS_METADATA_FIELD_TRANSPORT_HEADER_SIZE, FWPS_RIGHT_ACTION_WRITE,
};
pub use windows_sys::core::GUID;
