//! The two drivers under verification: their services, and their devices.
//!
//! A device is opened for one request and closed after it: Windows does not unload a driver whose device is open.

use std::cell::Cell;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use sluice_control::message::{ClientStatus, ProviderStatus, client_state};
use sluice_control::name::SLUICE;
use sluice_npi::Statistics;

use super::counts::VerdictCounts;
use super::plan::{Driver, SERVICE, driver_file};
use super::services::{Manager, Service, State};
use super::stopping::{self, NotStopped, Stoppable};
use crate::capture::RecordedPacket;
use crate::device::{ERROR_NOT_READY, Probe, Sluice};
use crate::failure::Failure;

/// How long a driver may take to stop, and a service to be gone.
const LIMIT: Duration = Duration::from_secs(60);
/// How long two drivers may take to attach, and to tell each other of a new policy.
const PEER_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// The services of both.
pub(super) struct Drivers {
    manager: Manager,
    provider: Service,
    client: Service,
    /// Whether they were created here, and so are deleted at the end.
    ours: bool,
    /// One of them hangs in its unload. Services are left alone from then on: whatever is asked may hang, too.
    hangs: Cell<bool>,
}

impl Drivers {
    /// Creates services for the files in `folder`. Services of these names must not exist: they may be in use.
    pub(super) fn install(manager: Manager, folder: &Path, client: &str) -> Result<Self, Failure> {
        for name in [SERVICE, client] {
            if manager.service(name)?.is_some() {
                return Err(Failure::State(format!(
                    "the service {name} exists: --existing verifies it as it is, sc.exe delete {name} removes it"
                )));
            }
        }
        let provider = manager.create(SERVICE, &driver_file(folder, SERVICE))?;
        match manager.create(client, &driver_file(folder, client)) {
            Ok(client) => Ok(Self { manager, provider, client, ours: true, hangs: Cell::new(false) }),
            Err(failure) => {
                provider.delete()?;
                Err(failure)
            }
        }
    }

    /// Takes the services that are installed.
    pub(super) fn existing(manager: Manager, client: &str) -> Result<Self, Failure> {
        let stopped = |name: &str| {
            let service = manager.service(name)?;
            let service = service.ok_or_else(|| Failure::State(format!("there is no service {name}")))?;
            match service.state()? {
                State::Stopped => Ok(service),
                _ => Err(Failure::State(format!("{name} is running and may be in use; stop it first"))),
            }
        };
        let (provider, client) = (stopped(SERVICE)?, stopped(client)?);
        Ok(Self { manager, provider, client, ours: false, hangs: Cell::new(false) })
    }

    fn service(&self, driver: Driver) -> &Service {
        match driver {
            Driver::Provider => &self.provider,
            Driver::Client => &self.client,
        }
    }

    pub(super) fn start(&self, driver: Driver) -> Result<(), Failure> {
        let service = self.service(driver);
        service.start()?;
        self.must_be(driver, State::Running)
    }

    /// Stops it, and waits until its image is unloaded.
    pub(super) fn stop(&self, driver: Driver) -> Result<(), Failure> {
        stopping::stop(self.service(driver), LIMIT).map_err(|why| match why {
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
        let state = self.service(driver).state()?;
        if state == wanted { Ok(()) } else { Err(self.wrong_state(driver, state)) }
    }

    fn wrong_state(&self, driver: Driver, state: State) -> Failure {
        let name = self.service(driver).name();
        Failure::State(match state {
            State::Stopped => format!("{name} has stopped by itself"),
            State::Running => format!("{name} is still running"),
            State::Other(number) => {
                format!("{name} is in state {number}, neither running (4) nor stopped (1): something blocks it")
            }
        })
    }

    /// Stops the driver if it runs.
    pub(super) fn stop_if_running(&self, driver: Driver) -> Result<(), Failure> {
        match self.service(driver).state()? {
            State::Stopped => Ok(()),
            _ => self.stop(driver),
        }
    }

    /// Undoes what [`Self::install`] did. Both are stopped.
    pub(super) fn uninstall(self) -> Result<(), Failure> {
        let Self { manager, provider, client, ours, hangs: _ } = self;
        if !ours {
            return Ok(());
        }
        let names = [client.name().to_owned(), provider.name().to_owned()];
        // Both, even if the first fails.
        let deleted = [client.delete(), provider.delete()];
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
        }
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

    /// The one client that Sluice lists.
    fn client_of_provider(&self) -> Result<Option<ClientStatus>, Failure> {
        let (_, clients) = Sluice::open()?.status()?;
        only("Sluice lists", clients)
    }

    /// The one provider that the client lists.
    fn provider_of_client(&self) -> Result<Option<ProviderStatus>, Failure> {
        only("the client lists", self.probe()?.providers()?)
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
