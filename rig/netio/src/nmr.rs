//! The nine functions: the registrar, on the primitives that Wine has.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::ffi::c_void;
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use core::time::Duration;

use nmr_registrar::{Event, Function, Lock, PausePoint, Platform, Registrar, Report, SlowWait, Violation, When};
use wdk_nmr_sys::{HANDLE, NPI_CLIENT_CHARACTERISTICS, NPI_PROVIDER_CHARACTERISTICS, NTSTATUS, STATUS_PENDING};

use crate::drivers::{self, Driver};
use crate::{bugcheck, control, critical, irql, lock, log, sys, teb, waits};

/// After this long a wait is logged with whom it waits for, and again and again. On the machine that limits are written
/// down for, it has lasted too long then.
const SLOW_WAIT: Duration = Duration::from_secs(5);

/// The world of the registrar: a process of Wine.
struct Wine;

/// [`lock::Lock`] as the registrar wants it.
struct Exclusive<T>(lock::Lock<T>);

impl<T: Send> Lock<T> for Exclusive<T> {
    fn new(value: T) -> Self {
        Self(lock::Lock::new(value))
    }

    fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        self.0.with(work)
    }
}

/// 0 until it is set, then 1.
struct Flag(AtomicU32);

impl Event for Flag {
    fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn set(&self) {
        self.0.store(1, Ordering::Release);
        // SAFETY: only the address matters, and only to threads that wait on it.
        unsafe { sys::RtlWakeAddressAll(self.0.as_ptr().cast()) };
    }

    fn wait(&self, timeout: Option<Duration>) -> bool {
        let deadline = timeout.map(|timeout| log::microseconds() + timeout.as_micros() as i64);
        while self.0.load(Ordering::Acquire) == 0 {
            // Relative times are negative, in units of 100 ns.
            let left = deadline.map(|deadline| (log::microseconds() - deadline) * 10);
            if left.is_some_and(|left| left >= 0) {
                return false;
            }
            let timeout = left.as_ref().map_or(null(), core::ptr::from_ref);
            let unset = 0u32;
            // SAFETY: four bytes at either address, both live during the call.
            unsafe {
                sys::RtlWaitOnAddress(self.0.as_ptr().cast(), (&raw const unset).cast(), size_of::<u32>(), timeout)
            };
        }
        true
    }
}

impl Platform for Wine {
    type Lock<T: Send> = Exclusive<T>;
    type Event = Flag;

    fn irql(&self) -> u8 {
        irql::current()
    }

    fn thread(&self) -> u64 {
        teb::thread() as u64
    }

    fn now(&self) -> Duration {
        Duration::from_micros(log::microseconds().unsigned_abs())
    }

    fn violation(&self, violation: &Violation) {
        let image = violation.module.as_ref().and_then(|module| module.image.clone());
        let driver = image.or_else(drivers::calling).unwrap_or_else(unknown);
        bugcheck::bug_check_named(&driver, bugcheck::code::NMR_INVALID_STATE, format_args!("{violation}"));
    }

    fn slow_wait(&self, wait: &SlowWait) {
        let driver = wait.module.image.clone().unwrap_or_else(unknown);
        log::event(&driver, "slow_wait", format_args!("text={}", log::Text(wait.to_string().as_bytes())));
        if wait.waited >= control::scaled(SLOW_WAIT) {
            critical::blame();
        }
    }

    fn pause(&self, point: &PausePoint) {
        if point.when == When::After {
            waits::leave_callback();
        } else {
            waits::enter_callback(point.callback.name());
            log::event(
                &driver_of(point.registration),
                "callback",
                format_args!("function={} binding={:#x}", point.callback.name(), point.binding),
            );
        }
    }

    fn image(&self, address: usize) -> Option<String> {
        drivers::containing(address).map(drivers::name)
    }

    fn readable(&self, address: usize, length: usize) -> bool {
        sys::readable(address, length)
    }

    fn restore_irql(&self, irql: u8) {
        irql::set(irql);
    }
}

static REGISTRAR: AtomicPtr<Registrar<Wine>> = AtomicPtr::new(null_mut());

/// Makes the registrar. Called once, before any driver can call one of the nine functions.
pub(crate) fn start() {
    let registrar = Registrar::new(Wine);
    registrar.set_slow_wait(Some(SLOW_WAIT));
    REGISTRAR.store(Box::into_raw(Box::new(registrar)), Ordering::Release);
}

fn registrar() -> &'static Registrar<Wine> {
    let registrar = REGISTRAR.load(Ordering::Acquire);
    assert!(!registrar.is_null(), "a driver was loaded before netio.sys was set up");
    // SAFETY: from a Box that is never freed.
    unsafe { &*registrar }
}

fn unknown() -> String {
    "unknown".into()
}

/// The driver that made a registration.
fn driver_of(registration: usize) -> String {
    let report = registrar().report();
    let found = report.registrations.into_iter().find(|found| found.module.registration == registration);
    found.and_then(|found| found.module.image).unwrap_or_else(unknown)
}

/// Everything that is alive.
pub(crate) fn report() -> Report {
    registrar().report()
}

/// Tells the registrar that an image is gone; a registration that it leaves behind is a violation (R65).
pub(crate) fn image_unloaded(driver: &Driver) {
    registrar().image_unloaded(driver.base..driver.base + driver.size);
}

/// Logs what a call of one of the nine functions came to.
fn done(driver: &str, function: Function, status: NTSTATUS) -> NTSTATUS {
    log::event(driver, "nmr", format_args!("function={} status={status:#010x}", function.name()));
    status
}

fn caller() -> String {
    drivers::calling().unwrap_or_else(unknown)
}

/// See wdk-nmr-sys.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn NmrRegisterClient(
    characteristics: *const NPI_CLIENT_CHARACTERISTICS,
    context: *mut c_void,
    handle: *mut HANDLE,
) -> NTSTATUS {
    // SAFETY: the driver's own arguments; the registrar checks what can be checked of them.
    let status = unsafe { registrar().register_client(characteristics, context, handle) };
    done(&caller(), Function::RegisterClient, status)
}

/// See wdk-nmr-sys.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn NmrRegisterProvider(
    characteristics: *const NPI_PROVIDER_CHARACTERISTICS,
    context: *mut c_void,
    handle: *mut HANDLE,
) -> NTSTATUS {
    // SAFETY: the driver's own arguments; the registrar checks what can be checked of them.
    let status = unsafe { registrar().register_provider(characteristics, context, handle) };
    done(&caller(), Function::RegisterProvider, status)
}

/// See wdk-nmr-sys.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn NmrDeregisterClient(handle: HANDLE) -> NTSTATUS {
    done(&caller(), Function::DeregisterClient, registrar().deregister_client(handle))
}

/// See wdk-nmr-sys.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn NmrDeregisterProvider(handle: HANDLE) -> NTSTATUS {
    done(&caller(), Function::DeregisterProvider, registrar().deregister_provider(handle))
}

/// See wdk-nmr-sys.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn NmrWaitForClientDeregisterComplete(handle: HANDLE) -> NTSTATUS {
    let status = registrar().wait_for_client_deregister_complete(handle);
    done(&caller(), Function::WaitForClientDeregisterComplete, status)
}

/// See wdk-nmr-sys.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn NmrWaitForProviderDeregisterComplete(handle: HANDLE) -> NTSTATUS {
    let status = registrar().wait_for_provider_deregister_complete(handle);
    done(&caller(), Function::WaitForProviderDeregisterComplete, status)
}

/// See wdk-nmr-sys.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn NmrClientAttachProvider(
    binding: HANDLE,
    client_context: *mut c_void,
    client_dispatch: *const c_void,
    provider_context: *mut *mut c_void,
    provider_dispatch: *mut *const c_void,
) -> NTSTATUS {
    // SAFETY: the driver's own arguments; the registrar checks what can be checked of them.
    let status = unsafe {
        registrar().client_attach_provider(
            binding,
            client_context,
            client_dispatch,
            provider_context,
            provider_dispatch,
        )
    };
    done(&caller(), Function::ClientAttachProvider, status)
}

/// See wdk-nmr-sys.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn NmrClientDetachProviderComplete(binding: HANDLE) {
    done(&caller(), Function::ClientDetachProviderComplete, STATUS_PENDING);
    registrar().client_detach_provider_complete(binding);
}

/// See wdk-nmr-sys.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn NmrProviderDetachClientComplete(binding: HANDLE) {
    done(&caller(), Function::ProviderDetachClientComplete, STATUS_PENDING);
    registrar().provider_detach_client_complete(binding);
}
