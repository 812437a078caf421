//! What is done to which driver: the words that the run and its report share.

use std::fmt;
use std::path::{Path, PathBuf};

use sluice_control::name::GATE;

/// The name of the service of sluice.sys.
pub(super) const SERVICE: &str = "sluice";

/// One of the drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    /// sluice.sys.
    Provider,
    /// probe.sys, or another driver with the same device.
    Client,
    /// gate.sys, if it is verified as well.
    Gate,
}

/// The names of the services: Sluice, its client, and gate if it is verified as well.
pub(super) fn names(client: &str, has_gate: bool) -> Vec<&str> {
    [SERVICE, client].into_iter().chain(has_gate.then_some(GATE)).collect()
}

/// The file of the driver with this service name.
pub(super) fn driver_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.sys"))
}

/// Which driver starts first, and which stops first. gate.sys comes before both of the others or behind them, as the
/// client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) start: [Driver; 2],
    pub(super) stop: [Driver; 2],
}

impl Order {
    /// Whether gate.sys starts before the others.
    pub(super) fn starts_with_gate(self) -> bool {
        self.start == CLIENT_FIRST
    }

    /// Whether gate.sys stops before the others.
    pub(super) fn stops_with_gate(self) -> bool {
        self.stop == CLIENT_FIRST
    }
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
    StartGate,
    Attach,
    Filter,
    ReadPolicy,
    ChangePolicy,
    Classify,
    SwapPolicies,
    Count,
    RestartUnderLoad,
    StopProvider,
    StopClient,
    LetPass,
    StopGate,
    Alone,
    Stopped,
    Undo,
}

impl Step {
    pub(super) fn start(driver: Driver) -> Self {
        match driver {
            Driver::Provider => Self::StartProvider,
            Driver::Client => Self::StartClient,
            Driver::Gate => Self::StartGate,
        }
    }

    pub(super) fn stop(driver: Driver) -> Self {
        match driver {
            Driver::Provider => Self::StopProvider,
            Driver::Client => Self::StopClient,
            Driver::Gate => Self::StopGate,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::StartProvider => "start sluice",
            Self::StartClient => "start the client",
            Self::StartGate => "start gate",
            Self::Attach => "attach",
            Self::Filter => "filter packets",
            Self::ReadPolicy => "read the policy in force",
            Self::ChangePolicy => "load a policy",
            Self::Classify => "classify the capture",
            Self::SwapPolicies => "swap policies under load",
            Self::Count => "compare the counters",
            Self::RestartUnderLoad => "restart sluice under load",
            Self::StopProvider => "stop sluice",
            Self::StopClient => "stop the client",
            Self::LetPass => "let packets pass",
            Self::StopGate => "stop gate",
            Self::Alone => "run on without the other",
            Self::Stopped => "all are stopped",
            Self::Undo => "undo everything",
        }
    }
}
