//! What is done to which driver: the words that the run and its report share.

use std::fmt;
use std::path::{Path, PathBuf};

/// The name of the service of sluice.sys.
pub(super) const SERVICE: &str = "sluice";

/// One of the two drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    /// sluice.sys.
    Provider,
    /// probe.sys, or another driver with the same device.
    Client,
}

/// The file of the driver with this service name.
pub(super) fn driver_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.sys"))
}

/// Which driver starts first, and which stops first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) start: [Driver; 2],
    pub(super) stop: [Driver; 2],
}

const PROVIDER_FIRST: [Driver; 2] = [Driver::Provider, Driver::Client];
const CLIENT_FIRST: [Driver; 2] = [Driver::Client, Driver::Provider];

/// Every order.
pub(super) const ORDERS: [Order; 4] = [
    Order { start: PROVIDER_FIRST, stop: PROVIDER_FIRST },
    Order { start: PROVIDER_FIRST, stop: CLIENT_FIRST },
    Order { start: CLIENT_FIRST, stop: PROVIDER_FIRST },
    Order { start: CLIENT_FIRST, stop: CLIENT_FIRST },
];

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = |drivers: [Driver; 2]| if drivers == PROVIDER_FIRST { SERVICE } else { "the client" };
        write!(f, "{} starts first, {} stops first", first(self.start), first(self.stop))
    }
}

/// What is done to the drivers, in the order in which it first happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    StartProvider,
    StartClient,
    Attach,
    ReadPolicy,
    ChangePolicy,
    Classify,
    SwapPolicies,
    Count,
    RestartUnderLoad,
    StopProvider,
    StopClient,
    Alone,
    Stopped,
    Undo,
}

impl Step {
    pub(super) fn start(driver: Driver) -> Self {
        match driver {
            Driver::Provider => Self::StartProvider,
            Driver::Client => Self::StartClient,
        }
    }

    pub(super) fn stop(driver: Driver) -> Self {
        match driver {
            Driver::Provider => Self::StopProvider,
            Driver::Client => Self::StopClient,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::StartProvider => "start sluice",
            Self::StartClient => "start the client",
            Self::Attach => "attach",
            Self::ReadPolicy => "read the policy in force",
            Self::ChangePolicy => "load a policy",
            Self::Classify => "classify the capture",
            Self::SwapPolicies => "swap policies under load",
            Self::Count => "compare the counters",
            Self::RestartUnderLoad => "restart sluice under load",
            Self::StopProvider => "stop sluice",
            Self::StopClient => "stop the client",
            Self::Alone => "run on without the other",
            Self::Stopped => "both are stopped",
            Self::Undo => "undo everything",
        }
    }
}
