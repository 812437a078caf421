//! Systems other than Windows, which have no driver services.

use std::path::Path;

use super::super::stopping::Stoppable;
use super::State;
use crate::failure::Failure;

/// A service manager that cannot exist.
pub(in super::super) enum Manager {}

/// A service that cannot exist.
#[derive(Clone)]
pub(in super::super) enum Service {}

impl Manager {
    pub(in super::super) fn open() -> Result<Self, Failure> {
        Err(Failure::State("verify loads drivers, which run on Windows alone".to_owned()))
    }

    pub(in super::super) fn create(&self, _: &str, _: &Path) -> Result<Service, Failure> {
        match *self {}
    }

    pub(in super::super) fn service(&self, _: &str) -> Result<Option<Service>, Failure> {
        match *self {}
    }
}

impl Service {
    pub(in super::super) fn start(&self) -> Result<(), Failure> {
        match *self {}
    }

    pub(in super::super) fn delete(self) -> Result<(), Failure> {
        match self {}
    }
}

impl Stoppable for Service {
    fn name(&self) -> &str {
        match *self {}
    }

    fn stop(&self) -> Result<(), Failure> {
        match *self {}
    }

    fn state(&self) -> Result<State, Failure> {
        match *self {}
    }
}
