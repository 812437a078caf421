//! The running engine, as administrators see it: what the requests of the control device do.

use sluice_control::message::{
    ClientStatus, CountersAnswer, CountersRequest, DryRunStatus, LogAnswer, ModuleId as ModuleIdMessage, PacketRecord,
    RuleCounter, Status, client_state, counted_policy, header_of, status_flags,
};
use sluice_control::sluice::{Operations, PolicyInForce, dispatch};
use sluice_control::status::STATUS_SUCCESS;
use sluice_control::{Completion, List, NTSTATUS, Request, RequestHandler, SharedBytes};
use sluice_npi::Statistics;
use wdk_nmr::header::RegistrationHeader;
use wdk_nmr::{BindingState, Bindings, Leaked, Passive, Provider, ProviderRegistration, Region, Resident};

use crate::counters::RuleCounters;
use crate::event::Limiter;
use crate::policy::InstalledPolicy;
use crate::provider::announce;
use crate::{AttachedClient, Engine, Event, Machine};

/// The engine from its registration with NMR on. It answers the requests of the control device.
pub struct RunningEngine<M: Machine, R: Resident> {
    registration: ProviderRegistration<Engine<M>, R>,
    driver_version: [u16; 4],
    started_at_ms: u64,
    rejections: Limiter,
}

impl<M: Machine, R: Resident> RunningEngine<M, R> {
    /// Takes over a registration, and reports it. `driver_version` is major, minor, patch, 0. PASSIVE_LEVEL.
    pub fn new(registration: ProviderRegistration<Engine<M>, R>, driver_version: [u16; 4]) -> Self {
        let Engine { machine, policy, .. } = registration.provider();
        let started_at_ms = machine.uptime_ms();
        let started = policy.read(machine, |_, in_force| Event::Started {
            generation: in_force.generation,
            rules: in_force.policy.rule_count(),
            default: in_force.policy.default_action(),
        });
        machine.record(&started);
        Self { registration, driver_version, started_at_ms, rejections: Limiter::default() }
    }

    /// Ends the registration: detaches every client, waits until they are done, and drops the engine. DriverUnload.
    ///
    /// # Errors
    ///
    /// As [`ProviderRegistration::deregister`].
    pub fn deregister(self, passive: Passive<'_>) -> Result<(), Leaked> {
        self.registration.deregister(passive)
    }

    fn engine(&self) -> &Engine<M> {
        self.registration.provider()
    }

    /// What the bindings are doing.
    pub(crate) fn bindings(&self) -> Bindings<'_, AttachedClient, <Engine<M> as Provider>::Guard> {
        self.registration.bindings()
    }

    /// The beginning of the memory of the registration.
    pub(crate) fn header(&self) -> &RegistrationHeader {
        self.registration.header()
    }

    /// The status, without the clients. At any IRQL.
    pub(crate) fn policy_status(&self) -> Status {
        let Engine { machine, policy, .. } = self.engine();
        let damaged = if policy.persisted_is_damaged() { status_flags::PERSISTED_DAMAGED } else { 0 };
        policy.read(machine, |_, in_force| Status {
            header: header_of::<Status>(),
            flags: damaged | if in_force.persisted { status_flags::PERSISTED } else { 0 },
            driver_version: self.driver_version,
            uptime: machine.uptime_ms().saturating_sub(self.started_at_ms),
            generation: in_force.generation,
            table_length: u32::try_from(in_force.policy.bytes().len()).unwrap_or(u32::MAX),
            rule_count: in_force.policy.rule_count(),
            default_action: in_force.policy.default_action().number(),
            reserved: [0; 3],
            clients_total: 0,
            clients_listed: 0,
        })
    }
}

impl<M: Machine, R: Resident> RequestHandler for RunningEngine<M, R> {
    /// As [`dispatch`] does; that a request is refused is reported.
    fn answer(&self, request: Request<'_>) -> Completion {
        let code = request.code;
        let completion = dispatch(self, request);
        if completion.status != STATUS_SUCCESS {
            let machine = &self.engine().machine;
            if let Some(unreported) = self.rejections.admit(machine.uptime_ms()) {
                machine.report(&Event::RequestRejected { code, status: completion.status, unreported });
            }
        }
        completion
    }
}

/// Each operation has a frame of its own on the stack, which is small: in one function they would need all their room
/// at once.
impl<M: Machine, R: Resident> Operations for RunningEngine<M, R> {
    #[inline(never)]
    fn status(&self, clients: &mut List<'_, ClientStatus>) -> Status {
        let machine = &self.engine().machine;
        let now = machine.uptime_ms();
        for client in self.registration.clients() {
            let client = client.binding();
            clients.push(&ClientStatus {
                module_id: client.module_id.into(),
                state: client_state::ATTACHED,
                reserved: 0,
                driver_version: client.driver_version,
                reserved2: 0,
                name: client.name,
                attached: now.saturating_sub(client.attached_at_ms),
                statistics: client.statistics(),
            });
        }
        // A client on its way out cannot be held any more: only what the library recorded of it can be told.
        for binding in self.registration.bindings() {
            if matches!(binding.state, BindingState::Draining | BindingState::Detached) {
                clients.push(&ClientStatus {
                    module_id: binding.peer.map_or(UNNAMED, ModuleIdMessage::from),
                    state: client_state::DETACHING,
                    reserved: 0,
                    driver_version: 0,
                    reserved2: 0,
                    name: [0; 32],
                    attached: 0,
                    statistics: Statistics::default(),
                });
            }
        }
        self.policy_status()
    }

    #[inline(never)]
    fn load_policy(&self, table: &SharedBytes<'_>, persist: bool) -> Result<u64, NTSTATUS> {
        let engine = self.engine();
        let generation = engine.policy.load(table, persist, &engine.machine)?;
        announce(&self.registration, generation);
        Ok(generation)
    }

    #[inline(never)]
    fn clear_policy(&self, persist: bool) -> Result<u64, NTSTATUS> {
        let engine = self.engine();
        let generation = engine.policy.clear(persist, &engine.machine)?;
        announce(&self.registration, generation);
        Ok(generation)
    }

    fn read_policy(&self, place: &mut SharedBytes<'_>) -> PolicyInForce {
        let engine = self.engine();
        engine.policy.read(&engine.machine, |_, in_force| {
            let table = in_force.policy.bytes();
            // If there is no room for all of it, nothing is written: the length tells.
            let _ = place.write(table);
            PolicyInForce { generation: in_force.generation, table_length: table.len() }
        })
    }

    #[inline(never)]
    fn rule_counters(
        &self,
        request: &CountersRequest,
        rules: &mut List<'_, RuleCounter>,
    ) -> Result<CountersAnswer, NTSTATUS> {
        let Engine { machine, policy, .. } = self.engine();
        if request.policy == counted_policy::DRY_RUN {
            return policy.dry_run(machine, |dry_run| {
                count_rules(&dry_run.tried, dry_run.number, Some(&dry_run.changed), request.first, rules)
            });
        }
        Ok(policy.read(machine, |_, in_force| count_rules(in_force, in_force.generation, None, request.first, rules)))
    }

    #[inline(never)]
    fn read_log(&self, next: u64, records: &mut List<'_, PacketRecord>) -> LogAnswer {
        let Engine { machine, log, .. } = self.engine();
        let _region = Region::<M::Region>::enter();
        let (next, lost) = log.read(next, records, || machine.pause());
        LogAnswer { header: header_of::<LogAnswer>(), listed: 0, next, lost, now: machine.uptime_ms() }
    }

    #[inline(never)]
    fn start_dry_run(&self, table: &SharedBytes<'_>) -> Result<u64, NTSTATUS> {
        let Engine { machine, policy, .. } = self.engine();
        policy.start_dry_run(table, machine)
    }

    fn stop_dry_run(&self) -> Result<u64, NTSTATUS> {
        let Engine { machine, policy, .. } = self.engine();
        policy.stop_dry_run(machine)
    }

    #[inline(never)]
    fn dry_run(&self, samples: &mut List<'_, PacketRecord>) -> Result<DryRunStatus, NTSTATUS> {
        let Engine { machine, policy, .. } = self.engine();
        let generation = policy.read(machine, |_, in_force| in_force.generation);
        policy.dry_run(machine, |dry_run| dry_run.status(generation, machine.uptime_ms(), samples))
    }

    #[inline(never)]
    fn load_dry_run(&self, persist: bool) -> Result<PolicyInForce, NTSTATUS> {
        let engine = self.engine();
        let (generation, table_length) = engine.policy.load_dry_run(persist, &engine.machine)?;
        announce(&self.registration, generation);
        Ok(PolicyInForce { generation, table_length })
    }

    #[inline(never)]
    fn read_dry_run(&self, place: &mut SharedBytes<'_>) -> Result<PolicyInForce, NTSTATUS> {
        let Engine { machine, policy, .. } = self.engine();
        // While a policy is read, so that the thread is not suspended with what is being tried.
        policy.read(machine, |_, in_force| {
            policy.dry_run(machine, |dry_run| {
                let table = dry_run.tried.policy.bytes();
                // As above: the length tells.
                let _ = place.write(table);
                PolicyInForce { generation: in_force.generation, table_length: table.len() }
            })
        })
    }
}

/// Appends the counters of a policy from rule `first` on.
#[inline(never)]
fn count_rules(
    of: &InstalledPolicy,
    generation: u64,
    changed: Option<&RuleCounters>,
    first: u32,
    rules: &mut List<'_, RuleCounter>,
) -> CountersAnswer {
    let policy = &of.policy;
    let changed = |rule: u32| changed.map_or(0, |changed| changed.sum(rule as usize));
    let packets = |rule: u32| of.counters.sum(rule as usize);
    for rule in first..policy.rule_count() {
        let Some((id, action)) = policy.rule(rule).filter(|_| rules.has_room()) else { break };
        let (packets, changed) = (packets(rule), changed(rule));
        rules.push(&RuleCounter { id, action: action.number(), reserved: 0, packets, changed });
    }
    CountersAnswer {
        header: header_of::<CountersAnswer>(),
        rules_total: policy.rule_count(),
        generation,
        default_packets: packets(policy.rule_count()),
        default_changed: changed(policy.rule_count()),
        default_action: policy.default_action().number(),
        reserved: 0,
        listed: 0,
    }
}

/// A module that has not said who it is.
pub(crate) const UNNAMED: ModuleIdMessage = ModuleIdMessage { kind: 0, value: [0; 16] };
