//! Which functions of the kernel are replaced for drivers, and by what: the one table.

use core::ffi::c_void;

use crate::bugcheck::bug_check;
use crate::drivers::DriverId;
use crate::thunk::Register::{self, R8, R9, R10, Rcx, Rdx};
use crate::{debug, etw, file, image, irql, pool, system_routine, time};

/// The address of a replacement.
struct Code(*const c_void);

// SAFETY: the address of a function, which never changes.
unsafe impl Sync for Code {}

/// A function of the kernel that drivers get from here instead.
pub(crate) struct Hook {
    /// Its name in the import table.
    pub(crate) name: &'static str,
    /// Where the replacement takes the driver that calls.
    pub(crate) driver_in: Register,
    code: Code,
}

impl Hook {
    /// Where the replacement is.
    pub(crate) fn replacement(&self) -> usize {
        self.code.0 as usize
    }
}

macro_rules! hooks {
    ($($name:literal => $code:path, driver in $register:ident;)*) => {
        &[$(Hook { name: $name, driver_in: $register, code: Code($code as *const c_void) }),*]
    };
}

/// The name of the hook that is no import: the driver's entry point.
pub(crate) const ENTRY: &str = "DriverEntry";

/// All hooks. What Wine 8.0 does not have is marked.
pub(crate) static HOOKS: &[Hook] = hooks! {
    "DriverEntry" => image::enter, driver in R8;

    "ExAllocatePool" => pool::allocate_untagged, driver in R8;
    "ExAllocatePool2" => pool::allocate_pool2, driver in R9; // not in Wine
    "ExAllocatePool3" => pool::allocate_pool3, driver in R10; // not in Wine
    "ExAllocatePoolWithQuota" => pool::allocate_untagged, driver in R8;
    "ExAllocatePoolWithQuotaTag" => pool::allocate_with_tag, driver in R9;
    "ExAllocatePoolWithTag" => pool::allocate_with_tag, driver in R9;
    "ExAllocatePoolWithTagPriority" => pool::allocate_with_tag_priority, driver in R10;
    "ExAllocatePoolZero" => pool::allocate_zeroed, driver in R9; // not in Wine
    "ExFreePool" => pool::free, driver in Rdx;
    "ExFreePool2" => pool::free2, driver in R10; // not in Wine
    "ExFreePoolWithTag" => pool::free_with_tag, driver in R8;

    "DbgPrint" => debug::dbg_print, driver in R10;
    "DbgPrintEx" => debug::dbg_print_ex, driver in R10;
    "vDbgPrintEx" => debug::v_dbg_print_ex, driver in R10;
    "vDbgPrintExWithPrefix" => debug::v_dbg_print_ex_with_prefix, driver in R10;

    "KeBugCheck" => ke_bug_check, driver in Rdx;
    "KeBugCheckEx" => ke_bug_check_ex, driver in R9;

    "KeAcquireSpinLockRaiseToDpc" => irql::acquire_spin_lock, driver in Rdx;
    "KeGetCurrentIrql" => irql::get_current, driver in Rcx; // not in Wine
    "KeLowerIrql" => irql::lower, driver in Rdx;
    "KeRaiseIrqlToDpcLevel" => irql::raise_to_dpc, driver in Rcx; // not in Wine
    "KeReleaseSpinLock" => irql::release_spin_lock, driver in R8;
    "KfRaiseIrql" => irql::raise, driver in Rdx;

    "KeQueryUnbiasedInterruptTime" => time::unbiased_interrupt_time, driver in Rcx; // not in Wine

    "EtwActivityIdControl" => etw::activity_id_control, driver in R8; // not in Wine, like all of these
    "EtwEventEnabled" => etw::event_enabled, driver in R8;
    "EtwProviderEnabled" => etw::provider_enabled, driver in R9;
    "EtwRegister" => etw::register, driver in R10;
    "EtwSetInformation" => etw::set_information, driver in R10;
    "EtwUnregister" => etw::unregister, driver in Rdx;
    "EtwWrite" => etw::write, driver in R10;
    "EtwWriteTransfer" => etw::write_transfer, driver in R10;

    "ZwCreateFile" => file::create, driver in R10;
    "ZwSetInformationFile" => file::set_information, driver in R10;

    "MmGetSystemRoutineAddress" => system_routine::address, driver in Rdx;
};

/// The place of a hook in the table.
pub(crate) fn find(name: &str) -> Option<usize> {
    HOOKS.iter().position(|hook| hook.name == name)
}

extern "system" fn ke_bug_check(code: u32, caller: DriverId) {
    bug_check(caller, code, format_args!("KeBugCheck"));
}

extern "system" fn ke_bug_check_ex(code: u32, first: usize, second: usize, caller: DriverId) {
    bug_check(caller, code, format_args!("KeBugCheckEx with {first:#x}, {second:#x}"));
}
