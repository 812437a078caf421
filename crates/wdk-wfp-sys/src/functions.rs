//! The functions that a callout driver calls.

use core::ffi::c_void;

use crate::{
    FWPM_CALLOUT0, FWPM_FILTER0, FWPM_PROVIDER0, FWPM_SESSION0, FWPM_SUBLAYER0, FWPS_CALLOUT2, GUID, HANDLE, MDL,
    NTSTATUS,
};

/// `RPC_C_AUTHN_WINNT`: how [`FwpmEngineOpen0`] authenticates.
pub const RPC_C_AUTHN_WINNT: u32 = 10;
/// `KernelMode`, for [`MmMapLockedPagesSpecifyCache`] and [`KeDelayExecutionThread`].
pub const KernelMode: i8 = 0;
/// `MmCached`, for [`MmMapLockedPagesSpecifyCache`].
pub const MmCached: i32 = 1;
/// `LowPagePriority | MdlMappingNoExecute`, for [`MmMapLockedPagesSpecifyCache`].
pub const LOW_PRIORITY_NO_EXECUTE: u32 = 0x4000_0000;

#[cfg_attr(
    all(windows, not(feature = "unlinked")),
    link(name = "fwpkclnt.sys", kind = "raw-dylib", modifiers = "+verbatim")
)]
unsafe extern "system" {
    /// Registers a callout. PASSIVE_LEVEL.
    /// <https://learn.microsoft.com/windows-hardware/drivers/ddi/fwpsk/nf-fwpsk-fwpscalloutregister2>
    pub fn FwpsCalloutRegister2(
        deviceObject: *mut c_void,
        callout: *const FWPS_CALLOUT2,
        calloutId: *mut u32,
    ) -> NTSTATUS;
    /// Unregisters a callout, or says `STATUS_DEVICE_BUSY` while flows have contexts of it. PASSIVE_LEVEL.
    /// <https://learn.microsoft.com/windows-hardware/drivers/ddi/fwpsk/nf-fwpsk-fwpscalloutunregisterbyid0>
    pub fn FwpsCalloutUnregisterById0(calloutId: u32) -> NTSTATUS;
    /// Associates a number of the callout, which is not 0, with a data flow. At most DISPATCH_LEVEL.
    /// <https://learn.microsoft.com/windows-hardware/drivers/ddi/fwpsk/nf-fwpsk-fwpsflowassociatecontext0>
    pub fn FwpsFlowAssociateContext0(flowId: u64, layerId: u16, calloutId: u32, flowContext: u64) -> NTSTATUS;
    /// Removes it; the callout's `flowDeleteFn` is called. At most DISPATCH_LEVEL.
    /// <https://learn.microsoft.com/windows-hardware/drivers/ddi/fwpsk/nf-fwpsk-fwpsflowremovecontext0>
    pub fn FwpsFlowRemoveContext0(flowId: u64, layerId: u16, calloutId: u32) -> NTSTATUS;
    /// Opens a session with the engine. PASSIVE_LEVEL.
    /// <https://learn.microsoft.com/windows/win32/api/fwpmu/nf-fwpmu-fwpmengineopen0>
    pub fn FwpmEngineOpen0(
        serverName: *const u16,
        authnService: u32,
        authIdentity: *const c_void,
        session: *const FWPM_SESSION0,
        engineHandle: *mut HANDLE,
    ) -> NTSTATUS;
    /// Ends a session; a dynamic one takes its objects with it. PASSIVE_LEVEL.
    /// <https://learn.microsoft.com/windows/win32/api/fwpmu/nf-fwpmu-fwpmengineclose0>
    pub fn FwpmEngineClose0(engineHandle: HANDLE) -> NTSTATUS;
    /// Begins a transaction: of changes that are made together or not at all.
    /// <https://learn.microsoft.com/windows/win32/api/fwpmu/nf-fwpmu-fwpmtransactionbegin0>
    pub fn FwpmTransactionBegin0(engineHandle: HANDLE, flags: u32) -> NTSTATUS;
    /// Makes the changes.
    /// <https://learn.microsoft.com/windows/win32/api/fwpmu/nf-fwpmu-fwpmtransactioncommit0>
    pub fn FwpmTransactionCommit0(engineHandle: HANDLE) -> NTSTATUS;
    /// Makes none of them.
    /// <https://learn.microsoft.com/windows/win32/api/fwpmu/nf-fwpmu-fwpmtransactionabort0>
    pub fn FwpmTransactionAbort0(engineHandle: HANDLE) -> NTSTATUS;
    /// Adds a provider.
    /// <https://learn.microsoft.com/windows/win32/api/fwpmu/nf-fwpmu-fwpmprovideradd0>
    pub fn FwpmProviderAdd0(engineHandle: HANDLE, provider: *const FWPM_PROVIDER0, sd: *mut c_void) -> NTSTATUS;
    /// Deletes a provider.
    /// <https://learn.microsoft.com/windows/win32/api/fwpmu/nf-fwpmu-fwpmproviderdeletebykey0>
    pub fn FwpmProviderDeleteByKey0(engineHandle: HANDLE, key: *const GUID) -> NTSTATUS;
    /// Adds a sublayer.
    /// <https://learn.microsoft.com/windows/win32/api/fwpmu/nf-fwpmu-fwpmsublayeradd0>
    pub fn FwpmSubLayerAdd0(engineHandle: HANDLE, subLayer: *const FWPM_SUBLAYER0, sd: *mut c_void) -> NTSTATUS;
    /// Deletes a sublayer.
    /// <https://learn.microsoft.com/windows/win32/api/fwpmu/nf-fwpmu-fwpmsublayerdeletebykey0>
    pub fn FwpmSubLayerDeleteByKey0(engineHandle: HANDLE, key: *const GUID) -> NTSTATUS;
    /// Adds a callout, so that filters can name it.
    /// <https://learn.microsoft.com/windows/win32/api/fwpmu/nf-fwpmu-fwpmcalloutadd0>
    pub fn FwpmCalloutAdd0(
        engineHandle: HANDLE,
        callout: *const FWPM_CALLOUT0,
        sd: *mut c_void,
        id: *mut u32,
    ) -> NTSTATUS;
    /// Deletes a callout.
    /// <https://learn.microsoft.com/windows/win32/api/fwpmu/nf-fwpmu-fwpmcalloutdeletebykey0>
    pub fn FwpmCalloutDeleteByKey0(engineHandle: HANDLE, key: *const GUID) -> NTSTATUS;
    /// Adds a filter.
    /// <https://learn.microsoft.com/windows/win32/api/fwpmu/nf-fwpmu-fwpmfilteradd0>
    pub fn FwpmFilterAdd0(engineHandle: HANDLE, filter: *const FWPM_FILTER0, sd: *mut c_void, id: *mut u64)
    -> NTSTATUS;
    /// Deletes a filter.
    /// <https://learn.microsoft.com/windows/win32/api/fwpmu/nf-fwpmu-fwpmfilterdeletebykey0>
    pub fn FwpmFilterDeleteByKey0(engineHandle: HANDLE, key: *const GUID) -> NTSTATUS;
}

#[cfg_attr(
    all(windows, not(feature = "unlinked")),
    link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")
)]
unsafe extern "system" {
    /// Waits for a time: negative units of 100 ns. At most APC_LEVEL.
    /// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kedelayexecutionthread>
    pub fn KeDelayExecutionThread(WaitMode: i8, Alertable: u8, Interval: *const i64) -> NTSTATUS;
    /// The number of the processor, across all groups. Any level.
    /// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kegetcurrentprocessornumberex>
    pub fn KeGetCurrentProcessorNumberEx(ProcNumber: *mut c_void) -> u32;
    /// Maps the pages of an MDL, as `MmGetSystemAddressForMdlSafe` does for one that is not mapped. NULL if that
    /// fails. Up to DISPATCH_LEVEL.
    /// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmmaplockedpagesspecifycache>
    pub fn MmMapLockedPagesSpecifyCache(
        MemoryDescriptorList: *mut MDL,
        AccessMode: i8,
        CacheType: i32,
        RequestedAddress: *mut c_void,
        BugCheckOnFailure: u32,
        Priority: u32,
    ) -> *mut c_void;
}
