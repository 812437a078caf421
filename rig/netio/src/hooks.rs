//! Which functions of the kernel are replaced for drivers, and by what: the one table.

use crate::bugcheck::bug_check;
use crate::thunk::{self, Hook};
use crate::{debug, entry, etw, file, irql, pool, processors, state, system_routine, time};

macro_rules! hooks {
    ($($name:expr => $replacement:path;)*) => { &[$(Hook::new($name, $replacement as *const _)),*] };
}

/// The name of the hook that is not an import: the driver's entry point.
pub(crate) const ENTRY: &str = "DriverEntry";

/// All hooks. What Wine 8.0 lacks is marked.
pub(crate) static HOOKS: &[Hook] = hooks! {
    ENTRY => entry::enter;

    "ExAllocatePool" => pool::allocate_untagged;
    "ExAllocatePool2" => pool::allocate_pool2; // not in Wine
    "ExAllocatePool3" => pool::allocate_pool3; // not in Wine
    "ExAllocatePoolWithQuota" => pool::allocate_untagged;
    "ExAllocatePoolWithQuotaTag" => pool::allocate_with_tag;
    "ExAllocatePoolWithTag" => pool::allocate_with_tag;
    "ExAllocatePoolWithTagPriority" => pool::allocate_with_tag_priority;
    "ExAllocatePoolZero" => pool::allocate_zeroed; // not in Wine
    "ExFreePool" => pool::free;
    "ExFreePool2" => pool::free2; // not in Wine
    "ExFreePoolWithTag" => pool::free_with_tag;

    "DbgPrint" => debug::dbg_print;
    "DbgPrintEx" => debug::dbg_print_ex;
    "vDbgPrintEx" => debug::v_dbg_print_ex;
    "vDbgPrintExWithPrefix" => debug::v_dbg_print_ex_with_prefix;

    "IoGetDriverDirectory" => state::get_directory; // not in Wine
    "IoOpenDriverRegistryKey" => state::open_registry_key; // not in Wine

    "KeBugCheck" => ke_bug_check;
    "KeBugCheckEx" => ke_bug_check_ex;

    "KeAcquireSpinLockRaiseToDpc" => irql::acquire_spin_lock;
    "KeGetCurrentIrql" => irql::get_current; // not in Wine
    "KeLowerIrql" => irql::lower;
    "KeRaiseIrqlToDpcLevel" => irql::raise_to_dpc; // not in Wine
    "KeReleaseSpinLock" => irql::release_spin_lock;
    "KfRaiseIrql" => irql::raise;

    "KeGetCurrentProcessorNumberEx" => processors::current;
    "KeGetProcessorNumberFromIndex" => processors::from_index; // not in Wine
    "KeIpiGenericCall" => processors::interrupt_each; // not in Wine
    "KeRevertToUserGroupAffinityThread" => processors::revert_affinity; // not in Wine
    "KeSetSystemGroupAffinityThread" => processors::set_affinity; // not in Wine

    "KeQueryUnbiasedInterruptTime" => time::unbiased_interrupt_time; // not in Wine

    "EtwActivityIdControl" => etw::activity_id_control; // not in Wine, like all of these
    "EtwEventEnabled" => etw::event_enabled;
    "EtwProviderEnabled" => etw::provider_enabled;
    "EtwRegister" => etw::register;
    "EtwSetInformation" => etw::set_information;
    "EtwUnregister" => etw::unregister;
    "EtwWrite" => etw::write;
    "EtwWriteTransfer" => etw::write_transfer;

    "ZwCreateFile" => file::create;
    "ZwSetInformationFile" => file::set_information;

    "MmGetSystemRoutineAddress" => system_routine::address;
};

extern "system" fn ke_bug_check(code: u32) {
    bug_check(thunk::caller(), code, format_args!("KeBugCheck"));
}

extern "system" fn ke_bug_check_ex(code: u32, first: usize, second: usize) {
    bug_check(thunk::caller(), code, format_args!("KeBugCheckEx with {first:#x}, {second:#x}"));
}
