//! What is still alive: after each unload, and whenever somebody asks.

use alloc::string::ToString;

use crate::drivers::{Driver, DriverId};
use crate::{etw, log, nmr, pool};

/// Logs what a driver has left behind. Then its memory is inspected, and a registration that has lost its image is a
/// bug check.
pub(crate) fn unloaded(driver: &Driver) {
    for (tag, sum) in pool::alive(Some(driver.id)) {
        let properties = format_args!("tag={} allocations={} bytes={}", pool::Tag(tag), sum.count, sum.bytes);
        log::event(&driver.name, "leak", properties);
    }
    let report = nmr::report();
    let mine = report.registrations.iter().filter(|found| found.module.image.as_ref() == Some(&driver.name));
    let (registrations, bindings) = mine.fold((0, 0), |sum, found| (sum.0 + 1, sum.1 + found.bindings));
    summary(&driver.name, "unload", Some(driver.id), registrations, bindings);
    pool::inspect(driver.id);
    nmr::image_unloaded(driver);
}

/// Logs everything that is alive, with who it belongs to.
pub(crate) fn everything() {
    let report = nmr::report();
    for found in &report.registrations {
        let driver = found.module.image.as_deref().unwrap_or("unknown");
        log::event(driver, "alive", format_args!("text={}", log::Text(found.module.to_string().as_bytes())));
    }
    for binding in &report.bindings {
        log::event("netio", "alive", format_args!("text={}", log::Text(binding.to_string().as_bytes())));
    }
    summary("netio", "report", None, report.registrations.len(), report.bindings.len());
}

fn summary(driver: &str, event: &str, owner: Option<DriverId>, registrations: usize, bindings: usize) {
    let pool = pool::alive(owner);
    let (allocations, bytes) = pool.values().fold((0, 0), |sum, tag| (sum.0 + tag.count, sum.1 + tag.bytes));
    let freed = pool::freed(owner);
    let etw_providers = etw::alive(owner);
    log::event(
        driver,
        event,
        format_args!(
            "allocations={allocations} bytes={bytes} freed={freed} registrations={registrations} bindings={bindings} \
             etw_providers={etw_providers}"
        ),
    );
}
