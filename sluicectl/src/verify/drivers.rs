//! The drivers under verification: their services, and their devices.
//!
//! A device is opened for one request and closed after it: Windows does not unload a driver whose device is open.

use std::cell::Cell;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use sluice_control::gate::flags;
use sluice_control::message::{ClientStatus, ProviderStatus, client_state};
use sluice_control::name::{GATE, SLUICE};
use sluice_npi::Statistics;

use super::counts::VerdictCounts;
use super::plan::{Driver, SERVICE, driver_file, names};
use super::services::{Manager, Service, State};
use super::stopping::{self, NotStopped, Stoppable};
use crate::capture::RecordedPacket;
use crate::device::gate::Gate;
use crate::device::{ERROR_NOT_READY, Probe, Sluice};
use crate::failure::Failure;

/// How long a driver may take to stop, and a service to be gone.
const LIMIT: Duration = Duration::from_secs(60);
/// How long two drivers may take to attach, and to tell each other of a new policy.
const PEER_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// The services of all.
pub(super) struct Drivers {
    manager: Manager,
    provider: Service,
    client: Service,
    gate: Option<Service>,
    /// Whether they were created here, and so are deleted at the end.
    ours: bool,
    /// One of them hangs in its unload. Services are left alone from then on: whatever is asked may hang, too.
    hangs: Cell<bool>,
}

impl Drivers {
    /// Creates services for the files in `folder`. Services of these names must not exist: they may be in use.
    pub(super) fn install(manager: Manager, folder: &Path, client: &str, has_gate: bool) -> Result<Self, Failure> {
        let names = names(client, has_gate);
        for name in &names {
            if manager.service(name)?.is_some() {
                return Err(Failure::State(format!(
                    "the service {name} exists: --existing verifies it as it is, sc.exe delete {name} removes it"
                )));
            }
        }
        let mut made = Vec::new();
        for name in names {
            match manager.create(name, &driver_file(folder, name)) {
                Ok(service) => made.push(service),
                Err(failure) => {
                    made.into_iter().rev().try_for_each(Service::delete)?;
                    return Err(failure);
                }
            }
        }
        Self::of(manager, made, true)
    }

    /// Takes the services that are installed.
    pub(super) fn existing(manager: Manager, client: &str, has_gate: bool) -> Result<Self, Failure> {
        let stopped = |name: &str| {
            let service = manager.service(name)?;
            let service = service.ok_or_else(|| Failure::State(format!("there is no service {name}")))?;
            match service.state()? {
                State::Stopped => Ok(service),
                _ => Err(Failure::State(format!("{name} is running and may be in use; stop it first"))),
            }
        };
        let found = names(client, has_gate).into_iter().map(stopped).collect::<Result<Vec<_>, _>>()?;
        Self::of(manager, found, false)
    }

    /// Of services in the order of [`names`].
    fn of(manager: Manager, services: Vec<Service>, ours: bool) -> Result<Self, Failure> {
        let mut services = services.into_iter();
        let (Some(provider), Some(client)) = (services.next(), services.next()) else {
            return Err(Failure::State("expected the services of two drivers".to_owned()));
        };
        Ok(Self { manager, provider, client, gate: services.next(), ours, hangs: Cell::new(false) })
    }

    fn service(&self, driver: Driver) -> Result<&Service, Failure> {
        match driver {
            Driver::Provider => Ok(&self.provider),
            Driver::Client => Ok(&self.client),
            Driver::Gate => self.gate.as_ref().ok_or_else(|| Failure::State(format!("{GATE} is not verified"))),
        }
    }

    /// All of them, those that depend on others first.
    pub(super) fn all(&self) -> impl Iterator<Item = Driver> {
        self.gate.iter().map(|_| Driver::Gate).chain([Driver::Client, Driver::Provider])
    }

    /// Whether gate.sys is one of them.
    pub(super) fn have_gate(&self) -> bool {
        self.gate.is_some()
    }

    pub(super) fn start(&self, driver: Driver) -> Result<(), Failure> {
        self.service(driver)?.start()?;
        self.must_be(driver, State::Running)
    }

    /// Stops it, and waits until its image is unloaded.
    pub(super) fn stop(&self, driver: Driver) -> Result<(), Failure> {
        stopping::stop(self.service(driver)?, LIMIT).map_err(|why| match why {
            NotStopped::Refused(failure) => failure,
            NotStopped::Hangs(text) => {
                self.hangs.set(true);
                Failure::State(text)
            }
        })
    }

    /// Whether a driver hangs in its unload.
    pub(super) fn hang(&self) -> bool {
        self.hangs.get()
    }

    pub(super) fn must_be(&self, driver: Driver, wanted: State) -> Result<(), Failure> {
        let service = self.service(driver)?;
        let (name, state) = (service.name(), service.state()?);
        if state == wanted {
            return Ok(());
        }
        Err(Failure::State(match state {
            State::Stopped => format!("{name} has stopped by itself"),
            State::Running => format!("{name} is still running"),
            State::Other(number) => {
                format!("{name} is in state {number}, neither running (4) nor stopped (1): something blocks it")
            }
        }))
    }

    /// Stops the driver if it runs.
    pub(super) fn stop_if_running(&self, driver: Driver) -> Result<(), Failure> {
        match self.service(driver)?.state()? {
            State::Stopped => Ok(()),
            _ => self.stop(driver),
        }
    }

    /// Undoes what [`Self::install`] did. All are stopped.
    pub(super) fn uninstall(self) -> Result<(), Failure> {
        let Self { manager, provider, client, gate, ours, hangs: _ } = self;
        if !ours {
            return Ok(());
        }
        let services: Vec<Service> = gate.into_iter().chain([client, provider]).collect();
        let names: Vec<String> = services.iter().map(|service| service.name().to_owned()).collect();
        // All, even if the first fails.
        let deleted: Vec<_> = services.into_iter().map(Service::delete).collect();
        deleted.into_iter().collect::<Result<(), _>>()?;
        for name in names {
            let gone = within(LIMIT, || manager.service(&name).map(|service| service.is_none()));
            if !gone? {
                return Err(Failure::State(format!("the service {name} still exists after it was deleted")));
            }
        }
        Ok(())
    }

    /// The name of the client driver's service, and of its device.
    pub(super) fn client(&self) -> &str {
        self.client.name()
    }

    fn probe(&self) -> Result<Probe, Failure> {
        Probe::open(self.client())
    }

    /// Classifies through the client driver.
    pub(super) fn classify(&self, packets: &[RecordedPacket]) -> Result<Vec<sluice_npi::Verdict>, Failure> {
        self.probe()?.classify(packets)
    }

    /// Puts a policy in force, or none if its table is empty, and returns its generation. The client has been told.
    pub(super) fn change_policy(&self, table: &[u8]) -> Result<u64, Failure> {
        let answer = {
            let sluice = Sluice::open_to_change()?;
            if table.is_empty() { sluice.clear_policy(false)? } else { sluice.load_policy(table, false)? }
        };
        let mut announced = None;
        let heard = within(PEER_LIMIT, || {
            announced = self.provider_of_client()?.map(|provider| provider.generation);
            Ok(announced == Some(answer.generation))
        })?;
        if heard {
            return Ok(answer.generation);
        }
        Err(Failure::State(format!(
            "policy generation {} was put in force, but the client was told of {announced:?}",
            answer.generation
        )))
    }

    /// The generation and the table in force.
    pub(super) fn policy(&self) -> Result<(u64, Vec<u8>), Failure> {
        let (answer, table) = Sluice::open()?.read_policy()?;
        Ok((answer.generation, table))
    }

    /// Waits until each of the two says that it is attached to the other.
    pub(super) fn attached(&self) -> Result<(), Failure> {
        let mut seen = (None, None);
        let attached = within(PEER_LIMIT, || {
            seen = (self.client_of_provider()?, self.provider_of_client()?);
            Ok(matches!(&seen, (Some(client), Some(_)) if client.state == client_state::ATTACHED))
        })?;
        if attached { Ok(()) } else { Err(Failure::State(format!("they have not attached to each other: {seen:?}"))) }
    }

    /// The driver that is left alone keeps running and knows that the other is gone. A client refuses to classify.
    pub(super) fn is_alone(&self, driver: Driver, packets: &[RecordedPacket]) -> Result<(), Failure> {
        self.must_be(driver, State::Running)?;
        match driver {
            Driver::Client => self.client_is_alone(packets),
            Driver::Provider => self.provider_is_alone(),
            Driver::Gate => self.gate_is(0),
        }
    }

    /// Has gate.sys filter packets.
    pub(super) fn filter(&self) -> Result<(), Failure> {
        let status = Gate::open_to_change()?.enable(None)?;
        expect_filtering(status.flags & flags::ENABLED != 0, true)
    }

    /// Has gate.sys let all packets pass.
    pub(super) fn let_pass(&self) -> Result<(), Failure> {
        let status = Gate::open_to_change()?.disable()?;
        expect_filtering(status.flags & flags::ENABLED != 0, false)
    }

    /// gate.sys and Sluice are attached, and packets are filtered.
    pub(super) fn gate_filters(&self) -> Result<(), Failure> {
        self.gate_is(flags::ATTACHED)?;
        let is_listed = Sluice::open()?.status()?.1.iter().any(is_gate);
        if is_listed { Ok(()) } else { Err(Failure::State(format!("{SLUICE} does not list {GATE}"))) }
    }

    /// Waits until gate.sys says that Sluice is attached (`ATTACHED`) or not (0), and filters all the while.
    fn gate_is(&self, attached: u32) -> Result<(), Failure> {
        let mut seen = 0;
        let is_so = within(PEER_LIMIT, || {
            seen = Gate::open()?.status()?.flags;
            Ok(seen & flags::ATTACHED == attached)
        })?;
        expect_filtering(seen & flags::ENABLED != 0, true)?;
        let says = if attached == 0 { "still says" } else { "does not say" };
        if is_so { Ok(()) } else { Err(Failure::State(format!("{GATE} {says} that {SLUICE} is attached"))) }
    }

    fn client_is_alone(&self, packets: &[RecordedPacket]) -> Result<(), Failure> {
        if let Some(provider) = self.provider_of_client()? {
            return Err(Failure::State(format!("{SLUICE} is stopped, but its client still lists {provider:?}")));
        }
        match self.classify(packets) {
            Err(Failure::Windows { code: ERROR_NOT_READY, .. }) => Ok(()),
            Err(failure) => Err(failure),
            Ok(_) => Err(Failure::State("packets are classified although the provider is stopped".to_owned())),
        }
    }

    fn provider_is_alone(&self) -> Result<(), Failure> {
        match self.client_of_provider()? {
            None => Ok(()),
            Some(client) => Err(Failure::State(format!("the client is stopped, but Sluice still lists {client:?}"))),
        }
    }

    /// Both sides have counted the packets classified since they attached, and nothing else.
    pub(super) fn counted(&self, counts: &VerdictCounts) -> Result<(), Failure> {
        let gone = || Failure::State("they are no longer attached to each other".to_owned());
        let by_provider = self.client_of_provider()?.ok_or_else(gone)?.statistics;
        let by_client = self.provider_of_client()?.ok_or_else(gone)?.statistics;
        let differs = |who: &str, counted: &Statistics| counts.difference(counted).map(|what| format!("{who} {what}"));
        match differs(SERVICE, &by_provider).or_else(|| differs(self.client(), &by_client)) {
            None => Ok(()),
            Some(what) => Err(Failure::State(what)),
        }
    }

    /// The one client that Sluice lists beside gate.sys.
    fn client_of_provider(&self) -> Result<Option<ClientStatus>, Failure> {
        let (_, mut clients) = Sluice::open()?.status()?;
        clients.retain(|client| !self.have_gate() || !is_gate(client));
        only("Sluice lists", clients)
    }

    /// The one provider that the client lists.
    fn provider_of_client(&self) -> Result<Option<ProviderStatus>, Failure> {
        only("the client lists", self.probe()?.providers()?)
    }
}

/// Whether this is gate.sys, by the name that it gives Sluice.
fn is_gate(client: &ClientStatus) -> bool {
    client.name.split(|byte| *byte == 0).next() == Some(GATE.as_bytes())
}

fn expect_filtering(is_filtering: bool, expected: bool) -> Result<(), Failure> {
    match (is_filtering, expected) {
        (false, true) => Err(Failure::State(format!("{GATE} says that it does not filter, though it was told to"))),
        (true, false) => Err(Failure::State(format!("{GATE} says that it filters, though it was told to stop"))),
        _ => Ok(()),
    }
}

fn only<T: std::fmt::Debug>(who: &str, mut list: Vec<T>) -> Result<Option<T>, Failure> {
    match list.len() {
        0 | 1 => Ok(list.pop()),
        _ => Err(Failure::State(format!("{who} more than its one peer: {list:?}"))),
    }
}

/// Whether `done` answers true within the time.
pub(super) fn within(limit: Duration, mut done: impl FnMut() -> Result<bool, Failure>) -> Result<bool, Failure> {
    let deadline = Instant::now() + limit;
    loop {
        if done()? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(POLL);
    }
}
