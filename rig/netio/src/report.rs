//! What is still alive: after each unload, and whenever somebody asks.

use crate::drivers::Driver;
use crate::{etw, log, nmr, pool};

/// Logs what a driver has left behind, and what is alive in all.
pub(crate) fn unloaded(driver: &Driver) {
    let id = driver.id;
    let (mut allocations, mut bytes) = (0, 0);
    for (tag, sum) in pool::alive(Some(id)) {
        log::event(
            &driver.name,
            "leak",
            format_args!("tag={} allocations={} bytes={}", pool::Tag(tag), sum.count, sum.bytes),
        );
        allocations += sum.count;
        bytes += sum.bytes;
    }
    let modules = nmr::alive(driver);
    let etw_providers = etw::alive(id);
    log::event(
        &driver.name,
        "unload",
        format_args!(
            "allocations={allocations} bytes={bytes} registrations={} bindings={} etw_providers={etw_providers}",
            modules.registrations, modules.bindings
        ),
    );
    pool::inspect(id);
    nmr::image_unloaded(driver);
}
