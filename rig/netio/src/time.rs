//! Clocks that Wine lacks.

use crate::log;

/// KeQueryUnbiasedInterruptTime: units of 100 ns since some moment in the past. The machine of the rig does not sleep.
pub(crate) extern "system" fn unbiased_interrupt_time() -> u64 {
    log::microseconds().unsigned_abs() * 10
}
