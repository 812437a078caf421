//! Which functions of the kernel are replaced for drivers, and by what: the one table.

use core::ffi::c_void;
use core::ptr::null;

use crate::bugcheck::bug_check;
use crate::irql::{APC_LEVEL, DISPATCH_LEVEL, HIGH_LEVEL, IPI_LEVEL, PASSIVE_LEVEL};
use crate::thunk::{self, Hook};
use crate::{
    critical, debug, dump_data, entry, error_log, etw, file, irql, isolation, locks, nmr, objects, paging, pool,
    processors, requests, state, system_routine, threads, time, token, waits,
};

/// `name => what runs, the highest IRQL that its page allows, what it fails with;`. What has no IRQL may be called at
/// any; what has no failure cannot fail, or its callers have no reason to look.
///
/// The levels are those that `Requirements` or `Remarks` of each function's page state, as of
/// <https://github.com/MicrosoftDocs/windows-driver-docs-ddi>: `wdm`, `ntddk`, `ntifs`, `netioddk`, `fwpmk` and `fwpsk`
/// there. Three functions are exported under other names than their pages have: KfRaiseIrql (KeRaiseIrql),
/// IofCompleteRequest (IoCompleteRequest) and ObfDereferenceObject (ObDereferenceObject). Where a page has a lower
/// level for some of what can be passed, or a lowest one, the replacement looks; the registrar does for Nmr*.
/// HIGH_LEVEL limits nothing: it stands where a failure follows.
///
/// Some pages say more than is asked here. Those of ExAcquireFastMutexUnsafe and ExReleaseFastMutexUnsafe demand
/// APC_LEVEL, but the first allows a critical region instead. That of KeReleaseSpinLockFromDpcLevel demands
/// DISPATCH_LEVEL, but the lock may have been acquired above it. Those of DbgPrint and its like allow DIRQL, which
/// differs from device to device.
macro_rules! hooks {
    ($($name:expr => $runs:expr $(, $irql:expr $(, $failure:expr)?)?;)*) => {
        &[$(Hook::new($name, $runs as *const c_void)$(.up_to($irql)$(.failing($failure as usize))?)?),*]
    };
}

/// In the place of a replacement: the function itself runs.
const ITSELF: *const c_void = null();

/// A failed allocation.
const NULL: usize = 0;
/// STATUS_INSUFFICIENT_RESOURCES, which every function that returns a status may return.
const NO_RESOURCES: u32 = 0xC000_009A;
/// STATUS_BUFFER_TOO_SMALL.
const BUFFER_TOO_SMALL: u32 = 0xC000_0023;
/// STATUS_BUFFER_OVERFLOW: a warning, which is no success either.
const BUFFER_OVERFLOW: u32 = 0x8000_0005;

/// The name of the hook that is not an import: the driver's entry point.
pub(crate) const ENTRY: &str = "DriverEntry";

/// All hooks. What Wine 8.0 lacks is marked.
pub(crate) static HOOKS: &[Hook] = hooks! {
    ENTRY => entry::enter;

    "ExAllocatePool" => pool::allocate_untagged, DISPATCH_LEVEL, NULL;
    "ExAllocatePool2" => pool::allocate_pool2, DISPATCH_LEVEL, NULL; // not in Wine
    "ExAllocatePool3" => pool::allocate_pool3, DISPATCH_LEVEL, NULL; // not in Wine
    "ExAllocatePoolWithQuota" => pool::allocate_untagged, DISPATCH_LEVEL, NULL;
    "ExAllocatePoolWithQuotaTag" => pool::allocate_with_tag, DISPATCH_LEVEL, NULL;
    "ExAllocatePoolWithTag" => pool::allocate_with_tag, DISPATCH_LEVEL, NULL;
    "ExAllocatePoolWithTagPriority" => pool::allocate_with_tag_priority, DISPATCH_LEVEL, NULL;
    "ExAllocatePoolZero" => pool::allocate_zeroed, DISPATCH_LEVEL, NULL; // not in Wine
    "ExFreePool" => pool::free, DISPATCH_LEVEL;
    "ExFreePool2" => pool::free2, DISPATCH_LEVEL; // not in Wine
    "ExFreePoolWithTag" => pool::free_with_tag, DISPATCH_LEVEL;

    "DbgPrint" => debug::dbg_print;
    "DbgPrintEx" => debug::dbg_print_ex;
    "vDbgPrintEx" => debug::v_dbg_print_ex;
    "vDbgPrintExWithPrefix" => debug::v_dbg_print_ex_with_prefix;

    "IoAllocateErrorLogEntry" => error_log::allocate, DISPATCH_LEVEL, NULL; // nothing in Wine
    "IoWriteErrorLogEntry" => error_log::write, DISPATCH_LEVEL; // not in Wine

    "IoGetDriverDirectory" => state::get_directory, PASSIVE_LEVEL, NO_RESOURCES; // not in Wine
    "IoOpenDriverRegistryKey" => state::open_registry_key, PASSIVE_LEVEL, NO_RESOURCES; // not in Wine

    "KeDeregisterBugCheckReasonCallback" => dump_data::deregister; // not in Wine
    "KeRegisterBugCheckReasonCallback" => dump_data::register; // not in Wine

    "KeBugCheck" => ke_bug_check;
    "KeBugCheckEx" => ke_bug_check_ex;

    "KeAcquireSpinLockAtDpcLevel" => locks::acquire_spin_at_dpc;
    "KeAcquireSpinLockRaiseToDpc" => locks::acquire_spin, DISPATCH_LEVEL;
    "KeGetCurrentIrql" => irql::get_current; // not in Wine
    "KeLowerIrql" => irql::lower;
    "KeRaiseIrqlToDpcLevel" => irql::raise_to_dpc; // not in Wine
    "KeReleaseSpinLock" => locks::release_spin, DISPATCH_LEVEL;
    "KeReleaseSpinLockFromDpcLevel" => locks::release_spin_from_dpc;
    "KfRaiseIrql" => irql::raise;

    "KeGetCurrentProcessorNumberEx" => processors::current;
    "KeGetProcessorNumberFromIndex" => processors::from_index; // not in Wine
    "KeIpiGenericCall" => processors::interrupt_each, IPI_LEVEL - 1; // not in Wine
    "KeQueryActiveProcessorCountEx" => processors::active_count;
    "KeRevertToUserGroupAffinityThread" => processors::revert_affinity, DISPATCH_LEVEL; // not in Wine
    "KeSetSystemGroupAffinityThread" => processors::set_affinity, DISPATCH_LEVEL; // not in Wine

    "KeQueryUnbiasedInterruptTime" => time::unbiased_interrupt_time; // not in Wine

    "EtwActivityIdControl" => etw::activity_id_control; // not in Wine, like all of these
    "EtwEventEnabled" => etw::event_enabled;
    "EtwProviderEnabled" => etw::provider_enabled;
    "EtwRegister" => etw::register, PASSIVE_LEVEL, NO_RESOURCES;
    "EtwSetInformation" => etw::set_information, PASSIVE_LEVEL;
    "EtwUnregister" => etw::unregister, PASSIVE_LEVEL;
    "EtwWrite" => etw::write;
    "EtwWriteTransfer" => etw::write_transfer;

    "ZwCreateFile" => file::create, PASSIVE_LEVEL, NO_RESOURCES;
    "ZwSetInformationFile" => file::set_information, PASSIVE_LEVEL, NO_RESOURCES;

    "ExAcquireFastMutex" => locks::acquire_fast, APC_LEVEL;
    "ExAcquireFastMutexUnsafe" => locks::acquire_fast_unsafe, APC_LEVEL;
    "ExAcquireResourceExclusiveLite" => locks::acquire_exclusive, APC_LEVEL;
    "ExAcquireResourceSharedLite" => locks::acquire_shared, APC_LEVEL;
    "ExDeleteResourceLite" => locks::delete_resource, APC_LEVEL;
    "ExReleaseFastMutex" => locks::release_fast, APC_LEVEL;
    "ExReleaseFastMutexUnsafe" => locks::release_fast_unsafe, APC_LEVEL;
    "ExReleaseResourceLite" => locks::release_resource, DISPATCH_LEVEL;
    "IoAcquireCancelSpinLock" => locks::acquire_cancel, DISPATCH_LEVEL;
    "IoAllocateIrp" => ITSELF, DISPATCH_LEVEL, NULL;
    "IoAllocateMdl" => ITSELF, DISPATCH_LEVEL, NULL;
    "IoAllocateWorkItem" => ITSELF, DISPATCH_LEVEL, NULL;
    "IoCreateDevice" => objects::create_device, APC_LEVEL, NO_RESOURCES;
    "IoCreateSymbolicLink" => objects::create_link, PASSIVE_LEVEL, NO_RESOURCES;
    "IoDeleteDevice" => objects::delete_device, APC_LEVEL;
    "IoDeleteSymbolicLink" => objects::delete_link, PASSIVE_LEVEL;
    "IoGetDeviceObjectPointer" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES;
    "IoReleaseCancelSpinLock" => locks::release_cancel, DISPATCH_LEVEL;
    "IofCompleteRequest" => requests::complete, DISPATCH_LEVEL;
    "KeDelayExecutionThread" => ITSELF, APC_LEVEL;
    "KeEnterCriticalRegion" => critical::enter, APC_LEVEL;
    "KeLeaveCriticalRegion" => critical::leave, APC_LEVEL;
    "KeReleaseMutex" => locks::release_mutex, DISPATCH_LEVEL;
    "KeSetEvent" => waits::set_event, DISPATCH_LEVEL;
    "KeWaitForMultipleObjects" => waits::for_several, DISPATCH_LEVEL;
    "KeWaitForSingleObject" => waits::for_one, DISPATCH_LEVEL;
    "MmMapLockedPagesSpecifyCache" => paging::map, DISPATCH_LEVEL, NULL;
    "ObOpenObjectByPointer" => objects::open_object, APC_LEVEL, NO_RESOURCES;
    "ObfDereferenceObject" => ITSELF, DISPATCH_LEVEL;
    "ObfReferenceObject" => ITSELF, DISPATCH_LEVEL;
    "ObReferenceObjectByHandle" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES;
    "PsCreateSystemThread" => threads::create, PASSIVE_LEVEL, NO_RESOURCES;
    "PsTerminateSystemThread" => threads::terminate, PASSIVE_LEVEL;
    "MmLockPagableDataSection" => paging::lock, APC_LEVEL;
    "MmLockPagableSectionByHandle" => paging::lock_by_handle, APC_LEVEL;
    "MmUnlockPagableImageSection" => paging::unlock, APC_LEVEL;
    "RtlAppendUnicodeStringToString" => ITSELF, HIGH_LEVEL, BUFFER_TOO_SMALL;
    "RtlAppendUnicodeToString" => ITSELF, HIGH_LEVEL, BUFFER_TOO_SMALL;
    "RtlConvertSidToUnicodeString" => ITSELF, APC_LEVEL, BUFFER_OVERFLOW;

    "RtlCheckRegistryKey" => isolation::check_registry_key, PASSIVE_LEVEL, NO_RESOURCES;
    "RtlCreateRegistryKey" => isolation::create_registry_key, PASSIVE_LEVEL, NO_RESOURCES;
    "RtlDeleteRegistryValue" => isolation::delete_value, PASSIVE_LEVEL, NO_RESOURCES;
    "RtlQueryRegistryValues" => isolation::query_values, PASSIVE_LEVEL, NO_RESOURCES;
    "RtlWriteRegistryValue" => isolation::write_value, PASSIVE_LEVEL, NO_RESOURCES;

    "ZwClose" => objects::close, PASSIVE_LEVEL;
    "ZwCreateKey" => isolation::create_key, PASSIVE_LEVEL, NO_RESOURCES;
    "ZwDeleteFile" => isolation::delete_file, PASSIVE_LEVEL, NO_RESOURCES;
    "ZwFlushBuffersFile" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES;
    "ZwOpenFile" => isolation::open_file, PASSIVE_LEVEL, NO_RESOURCES;
    "ZwOpenKeyEx" => isolation::open_key_ex, PASSIVE_LEVEL, NO_RESOURCES;
    "ZwOpenKey" => isolation::open_key, PASSIVE_LEVEL, NO_RESOURCES;
    "ZwOpenProcessTokenEx" => token::open_of_process, PASSIVE_LEVEL, NO_RESOURCES;
    "ZwOpenThreadTokenEx" => token::open_of_thread, PASSIVE_LEVEL, NO_RESOURCES;
    "ZwQueryInformationFile" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES;
    "ZwQueryInformationToken" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES;
    "ZwQueryValueKey" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES;
    "ZwReadFile" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES;
    "ZwSetSecurityObject" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES;
    "ZwSetValueKey" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES;
    "ZwWriteFile" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES;

    "NmrClientAttachProvider" => nmr::NmrClientAttachProvider, HIGH_LEVEL, NO_RESOURCES;
    "NmrClientDetachProviderComplete" => nmr::NmrClientDetachProviderComplete;
    "NmrDeregisterClient" => nmr::NmrDeregisterClient;
    "NmrDeregisterProvider" => nmr::NmrDeregisterProvider;
    "NmrProviderDetachClientComplete" => nmr::NmrProviderDetachClientComplete;
    "NmrWaitForClientDeregisterComplete" => nmr::NmrWaitForClientDeregisterComplete;
    "NmrWaitForProviderDeregisterComplete" => nmr::NmrWaitForProviderDeregisterComplete;
    "NmrRegisterClient" => nmr::NmrRegisterClient, HIGH_LEVEL, NO_RESOURCES;
    "NmrRegisterProvider" => nmr::NmrRegisterProvider, HIGH_LEVEL, NO_RESOURCES;

    "FwpmCalloutAdd0" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES; // of fwpkclnt.sys, like those that follow
    "FwpmEngineClose0" => ITSELF, PASSIVE_LEVEL;
    "FwpmEngineOpen0" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES;
    "FwpmFilterAdd0" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES;
    "FwpmProviderAdd0" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES;
    "FwpmSubLayerAdd0" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES;
    "FwpmTransactionAbort0" => ITSELF, PASSIVE_LEVEL;
    "FwpmTransactionBegin0" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES;
    "FwpmTransactionCommit0" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES;
    "FwpsCalloutRegister2" => ITSELF, PASSIVE_LEVEL, NO_RESOURCES;
    "FwpsCalloutUnregisterById0" => ITSELF, PASSIVE_LEVEL;

    "MmGetSystemRoutineAddress" => system_routine::address, PASSIVE_LEVEL;
};

extern "system" fn ke_bug_check(code: u32) {
    bug_check(thunk::caller(), code, format_args!("KeBugCheck"));
}

extern "system" fn ke_bug_check_ex(code: u32, first: usize, second: usize) {
    bug_check(thunk::caller(), code, format_args!("KeBugCheckEx with {first:#x}, {second:#x}"));
}
