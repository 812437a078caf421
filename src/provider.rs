//! The registration of the provider.
//!
//! [`Engine::register`] fills in NPI_PROVIDER_CHARACTERISTICS and calls NmrRegisterProvider, through wdk-nmr. What that
//! function asks of a driver, and where it is done:
//!
//! | NmrRegisterProvider | here |
//! | --- | --- |
//! | is called at PASSIVE_LEVEL (R15) | it takes a [`Passive`], which only DriverEntry and DriverUnload make |
//! | the characteristics, and all that they point to, stay valid, resident and in place as long as the provider is registered (R10) | they are one block of non-paged memory, which the registration owns; it is freed after NmrWaitForProviderDeregisterComplete has returned, and nowhere else |
//! | the context comes back in ProviderAttachClient (R11) | it is that block: [`Engine`]'s attach function is called with the engine in it |
//! | the handle has a meaning after STATUS_SUCCESS only (R9), and is given to NmrDeregisterProvider (R68) | there is a registration after STATUS_SUCCESS only, and the handle is in it |
//! | STATUS_INSUFFICIENT_RESOURCES and other failures | [`RegisterError`] tells them apart; DriverEntry logs and returns them |
//! | clients that are there already attach before it returns, others later (R4, R6) | it is the last thing that can fail in DriverEntry |

use core::ptr;

use sluice_control::settings;
use sluice_engine::{Engine, RunningEngine};
use sluice_wdm::StartError;
use wdk_nmr::{Passive, RegisterError};
use wdk_nmr_wdm::DriverImage;
use wdk_sys::DRIVER_OBJECT;

use crate::kernel::Kernel;
use crate::settings::Settings;

/// Major, minor, patch, 0.
const VERSION: [u16; 4] = [
    number(env!("CARGO_PKG_VERSION_MAJOR")),
    number(env!("CARGO_PKG_VERSION_MINOR")),
    number(env!("CARGO_PKG_VERSION_PATCH")),
    0,
];

/// What sluice.sys is while it runs.
pub(crate) type Classifier = RunningEngine<Kernel, DriverImage>;

/// Reads the settings and puts the persisted policy in force. PASSIVE_LEVEL, in DriverEntry.
///
/// # Errors
///
/// As [`Settings::read`] and [`Engine::start`]; it has been reported.
// In a frame of its own, which is gone before NMR attaches clients on the same stack.
#[inline(never)]
pub(crate) fn start(driver: &mut DRIVER_OBJECT) -> Result<Engine<Kernel>, StartError> {
    let Settings { policy_file, table_limit, on_policy_error, assembly_memory } = Settings::read(driver)?;
    let engine = Engine::start(Kernel { policy_file }, table_limit, on_policy_error)
        .map_err(|status| StartError::Unusable { what: "the persisted policy", status })?;
    // Where a driver and its stack lie is random, and so, to a hundred nanoseconds, is when it starts.
    let seed = sluice_wdm::moment() ^ (ptr::from_mut(driver).addr() as u64).rotate_left(32) ^ stack_address();
    engine
        .assembling(assembly_memory, seed)
        .map_err(|status| StartError::Unusable { what: settings::ASSEMBLY_MEMORY, status })
}

/// Somewhere in the stack of this thread.
fn stack_address() -> u64 {
    let here = 0_u8;
    ptr::from_ref(&here).addr() as u64
}

/// Registers the provider with NMR.
pub(crate) fn register(
    engine: Engine<Kernel>,
    image: DriverImage,
    passive: Passive<'_>,
) -> Result<Classifier, RegisterError> {
    let registration = engine.register(image, sluice_wdm::uptime_ms, passive)?;
    Ok(RunningEngine::new(registration, VERSION))
}

/// The number at one place of a version.
const fn number(digits: &str) -> u16 {
    match u16::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("a version is made of numbers"),
    }
}
