//! What is still alive: after each unload, and when `\\.\netio` is opened.

use alloc::string::ToString;

use crate::drivers::{self, Driver, DriverId};
use crate::gate::Call;
use crate::{etw, log, nmr, objects, pool};

/// Logs what a driver has left behind. Then its memory is inspected, and a registration that has lost its image is a
/// bug check.
pub(crate) fn unloaded(driver: &Driver) {
    for (tag, sum) in pool::alive(Some(driver.id)) {
        let properties = format_args!("tag={} allocations={} bytes={}", pool::Tag(tag), sum.count, sum.bytes);
        log::event(&driver.name, "leak", properties);
    }
    let made = [pool::made_by(driver.id), etw::made_by(driver.id), objects::made_by(driver.id)];
    for (kind, Call { function, site, .. }) in made.into_iter().flatten() {
        let place = drivers::Place(driver.id, site);
        log::event(&driver.name, "left", format_args!("kind={kind} function={function} offset={place}"));
    }
    let report = nmr::report();
    let mine = report.registrations.iter().filter(|found| found.module.image.as_ref() == Some(&driver.name));
    let (mut registrations, mut bindings) = (0, 0);
    for found in mine {
        left(&driver.name, found);
        let handle = found.module.registration;
        let own = report.bindings.iter().filter(|binding| binding.client == handle || binding.provider == handle);
        own.for_each(|binding| left(&driver.name, binding));
        (registrations, bindings) = (registrations + 1, bindings + found.bindings);
    }
    summary(&driver.name, "unload", Some(driver.id), registrations, bindings);
    pool::inspect(driver.id);
    nmr::image_unloaded(driver);
}

/// Logs everything that is alive, with who it belongs to.
pub(crate) fn everything() {
    let report = nmr::report();
    for found in &report.registrations {
        left(found.module.image.as_deref().unwrap_or("unknown"), found);
    }
    report.bindings.iter().for_each(|binding| left("netio", binding));
    summary("netio", "report", None, report.registrations.len(), report.bindings.len());
}

/// Logs a registration or binding that is alive: whose it is, its state, and for how long.
fn left(driver: &str, what: &impl ToString) {
    log::event(driver, "alive", format_args!("text={}", log::Text(what.to_string().as_bytes())));
}

fn summary(driver: &str, event: &str, owner: Option<DriverId>, registrations: usize, bindings: usize) {
    let pool = pool::alive(owner);
    let (allocations, bytes) = pool.values().fold((0, 0), |sum, tag| (sum.0 + tag.count, sum.1 + tag.bytes));
    let freed = pool::freed(owner);
    let etw_providers = etw::alive(owner);
    let [handles, devices, links] = objects::alive(owner);
    log::event(
        driver,
        event,
        format_args!(
            "allocations={allocations} bytes={bytes} freed={freed} registrations={registrations} bindings={bindings} \
             etw_providers={etw_providers} handles={handles} devices={devices} links={links}"
        ),
    );
}
