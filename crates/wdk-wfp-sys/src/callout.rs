//! What a callout driver registers, and what a classification passes to it: `fwpsk.h`, `fwpstypes.h`.
//! <https://learn.microsoft.com/windows-hardware/drivers/ddi/fwpsk/>

use core::ffi::c_void;

use crate::{FWP_ACTION_TYPE, FWP_BYTE_BLOB, FWP_VALUE0, GUID, HANDLE, NTSTATUS};

/// One value that a layer passes to a classification.
/// <https://learn.microsoft.com/windows/win32/api/fwpstypes/ns-fwpstypes-fwps_incoming_value0>
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_INCOMING_VALUE0 {
    /// Its type and the value.
    pub value: FWP_VALUE0,
}

/// The values of a layer, in the order of its `FWPS_FIELDS_...` enumeration.
/// <https://learn.microsoft.com/windows/win32/api/fwpstypes/ns-fwpstypes-fwps_incoming_values0>
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_INCOMING_VALUES0 {
    /// The run-time identifier of the layer.
    pub layerId: u16,
    /// How many values there are.
    pub valueCount: u32,
    /// The first of them.
    pub incomingValue: *const FWPS_INCOMING_VALUE0,
}

/// Why a layer discarded data.
/// <https://learn.microsoft.com/windows/win32/api/fwpstypes/ns-fwpstypes-fwps_discard_metadata0>
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FWPS_DISCARD_METADATA0 {
    /// Which module did. A C enumeration.
    pub discardModule: i32,
    /// Why, in the terms of that module.
    pub discardReason: u32,
    /// The filter that led to it, if one did.
    pub filterId: u64,
}

/// What is known of a received fragment.
/// <https://learn.microsoft.com/windows/win32/api/fwpstypes/ns-fwpstypes-fwps_inbound_fragment_metadata0>
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FWPS_INBOUND_FRAGMENT_METADATA0 {
    /// The identification of the packet that it is a part of.
    pub fragmentIdentification: u32,
    /// Its offset.
    pub fragmentOffset: u16,
    /// Its length in bytes.
    pub fragmentLength: u32,
}

/// What the engine knows beside the values of the layer. A member is valid if its bit is set in
/// `currentMetadataValues`, one of layer 2 in `currentL2MetadataValues`.
/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/fwpsk/ns-fwpsk-fwps_incoming_metadata_values0_>
///
/// The members up to `originalDestination` are there since Windows 7, those behind since Windows 8. The page shows the
/// last ones inconsistently over time (`l2ConnectionProfileIndex`), so this ends with the last on which all agree; the
/// structure is only ever read through a pointer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_INCOMING_METADATA_VALUES0 {
    /// `FWPS_METADATA_FIELD_...`: which members are valid.
    pub currentMetadataValues: u32,
    /// The engine's own.
    pub flags: u32,
    /// The engine's own.
    pub reserved: u64,
    /// Why it was discarded, at a layer of discarded data.
    pub discardMetadata: FWPS_DISCARD_METADATA0,
    /// The data flow.
    pub flowHandle: u64,
    /// Inbound: how many bytes before the data the IP header begins, if nothing else lies between.
    pub ipHeaderSize: u32,
    /// Inbound: how many bytes of the transport header lie before the data.
    pub transportHeaderSize: u32,
    /// The path of the process, in UTF-16.
    pub processPath: *const FWP_BYTE_BLOB,
    /// The token of the user.
    pub token: u64,
    /// The process.
    pub processId: u64,
    /// The interface on which the packet was received.
    pub sourceInterfaceIndex: u32,
    /// The interface on which the packet is to be sent.
    pub destinationInterfaceIndex: u32,
    /// The routing compartment.
    pub compartmentId: u32,
    /// The fragment.
    pub fragmentMetadata: FWPS_INBOUND_FRAGMENT_METADATA0,
    /// The largest packet of the path, in bytes.
    pub pathMtu: u32,
    /// What a callout needs to pend the operation.
    pub completionHandle: HANDLE,
    /// The endpoint, for an injection into the transport layer.
    pub transportEndpointHandle: u64,
    /// The scope of the remote address. In C a structure around a `ULONG`.
    pub remoteScopeId: u32,
    /// Control data of the socket.
    pub controlData: *mut c_void,
    /// Their length in bytes.
    pub controlDataLength: u32,
    /// `FWP_DIRECTION`, a C enumeration.
    pub packetDirection: i32,
    /// The IP header that a raw socket has sent.
    pub headerIncludeHeader: *mut c_void,
    /// Its length in bytes.
    pub headerIncludeHeaderLength: u32,
    /// `IP_ADDRESS_PREFIX`: a `SOCKADDR_INET` of 28 bytes, a length and padding.
    pub destinationPrefix: [u32; 8],
    /// The length of the frame.
    pub frameLength: u16,
    /// The parent of the endpoint.
    pub parentEndpointHandle: u64,
    /// ICMP identifier and sequence.
    pub icmpIdAndSequence: u32,
    /// The process that a redirected connection goes to.
    pub localRedirectTargetPID: u32,
    /// Where a redirected connection went at first.
    pub originalDestination: *mut c_void,
    /// The redirect records.
    pub redirectRecords: HANDLE,
    /// `FWPS_L2_METADATA_FIELD_...`: which members of layer 2 are valid.
    pub currentL2MetadataValues: u32,
    /// `FWPS_L2_INCOMING_FLAG_...`.
    pub l2Flags: u32,
    /// Inbound Ethernet: how many bytes before the data the MAC header begins.
    pub ethernetMacHeaderSize: u32,
    /// The mode of operation of 802.11.
    pub wiFiOperationMode: u32,
}

/// What a filter does.
/// <https://learn.microsoft.com/windows/win32/api/fwpstypes/ns-fwpstypes-fwps_action0>
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FWPS_ACTION0 {
    /// `FWP_ACTION_...`.
    pub r#type: FWP_ACTION_TYPE,
    /// The callout, for an action with one.
    pub calloutId: u32,
}

/// A filter as a callout sees it.
/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/fwpsk/ns-fwpsk-fwps_filter2_>
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_FILTER2 {
    /// The run-time identifier.
    pub filterId: u64,
    /// Its weight in the sublayer.
    pub weight: FWP_VALUE0,
    /// The weight of the sublayer.
    pub subLayerWeight: u16,
    /// `FWPS_FILTER_FLAG_...`.
    pub flags: u16,
    /// How many conditions there are.
    pub numFilterConditions: u32,
    /// `FWPS_FILTER_CONDITION0`, which no callout needs.
    pub filterCondition: *mut c_void,
    /// What it does.
    pub action: FWPS_ACTION0,
    /// `FWPM_FILTER0.rawContext`: what whoever added the filter wanted. Anybody who may add filters may name any
    /// callout, so it must not be taken for a pointer.
    pub context: u64,
    /// `FWPM_PROVIDER_CONTEXT2`, or NULL.
    pub providerContext: *mut c_void,
}

/// What a classification answers.
/// <https://learn.microsoft.com/windows/win32/api/fwpstypes/ns-fwpstypes-fwps_classify_out0>
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FWPS_CLASSIFY_OUT0 {
    /// `FWP_ACTION_...`. Only to be written with [`FWPS_RIGHT_ACTION_WRITE`](crate::FWPS_RIGHT_ACTION_WRITE), except
    /// for a veto.
    pub actionType: FWP_ACTION_TYPE,
    /// The system's own.
    pub outContext: u64,
    /// The system's own.
    pub filterId: u64,
    /// [`FWPS_RIGHT_ACTION_WRITE`](crate::FWPS_RIGHT_ACTION_WRITE) or nothing.
    pub rights: u32,
    /// `FWPS_CLASSIFY_OUT_FLAG_...`.
    pub flags: u32,
    /// The system's own.
    pub reserved: u32,
}

/// What happened to a filter that names the callout. A C enumeration.
/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/fwpsk/ne-fwpsk-fwps_callout_notify_type_>
pub type FWPS_CALLOUT_NOTIFY_TYPE = i32;
/// A filter is being added.
pub const FWPS_CALLOUT_NOTIFY_ADD_FILTER: FWPS_CALLOUT_NOTIFY_TYPE = 0;
/// A filter is being deleted.
pub const FWPS_CALLOUT_NOTIFY_DELETE_FILTER: FWPS_CALLOUT_NOTIFY_TYPE = 1;
/// A filter has been added, for callouts that ask to be told.
pub const FWPS_CALLOUT_NOTIFY_ADD_FILTER_POST_COMMIT: FWPS_CALLOUT_NOTIFY_TYPE = 2;

/// Classifies. Called at up to DISPATCH_LEVEL, on any thread, by several at a time. `layerData` is a
/// [`NET_BUFFER_LIST`](crate::NET_BUFFER_LIST) at the layers of this crate.
/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/fwpsk/nc-fwpsk-fwps_callout_classify_fn2>
pub type FWPS_CALLOUT_CLASSIFY_FN2 = Option<
    unsafe extern "system" fn(
        inFixedValues: *const FWPS_INCOMING_VALUES0,
        inMetaValues: *const FWPS_INCOMING_METADATA_VALUES0,
        layerData: *mut c_void,
        classifyContext: *const c_void,
        filter: *const FWPS_FILTER2,
        flowContext: u64,
        classifyOut: *mut FWPS_CLASSIFY_OUT0,
    ),
>;
/// Told of filters that name the callout. A failure refuses a filter that is being added. `filterKey` is NULL when a
/// filter is deleted. PASSIVE_LEVEL.
/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/fwpsk/nc-fwpsk-fwps_callout_notify_fn2>
pub type FWPS_CALLOUT_NOTIFY_FN2 = Option<
    unsafe extern "system" fn(
        notifyType: FWPS_CALLOUT_NOTIFY_TYPE,
        filterKey: *const GUID,
        filter: *const FWPS_FILTER2,
    ) -> NTSTATUS,
>;
/// Told that a flow with a context of the callout has ended. Up to DISPATCH_LEVEL.
/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/fwpsk/nc-fwpsk-fwps_callout_flow_delete_notify_fn0>
pub type FWPS_CALLOUT_FLOW_DELETE_NOTIFY_FN0 =
    Option<unsafe extern "system" fn(layerId: u16, calloutId: u32, flowContext: u64)>;

/// What a driver registers.
/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/fwpsk/ns-fwpsk-fwps_callout2_>
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FWPS_CALLOUT2 {
    /// Who it is: what filters name.
    pub calloutKey: GUID,
    /// `FWP_CALLOUT_FLAG_...`.
    pub flags: u32,
    /// Required.
    pub classifyFn: FWPS_CALLOUT_CLASSIFY_FN2,
    /// Required.
    pub notifyFn: FWPS_CALLOUT_NOTIFY_FN2,
    /// May be NULL, if no flow gets a context.
    pub flowDeleteFn: FWPS_CALLOUT_FLOW_DELETE_NOTIFY_FN0,
}
