//! The dispatcher of the control device of sluice.sys.

use sluice_npi::Header;

use crate::list::answer_with_list;
use crate::message::{
    ClientStatus, CountersAnswer, CountersRequest, DryRunStatus, LogAnswer, LogRequest, PacketRecord, PolicyAnswer,
    PolicyRequest, RuleCounter, Status, counted_policy, header_of, policy_flags,
};
use crate::status::{
    STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER,
    STATUS_REVISION_MISMATCH,
};
use crate::wire::Wire;
use crate::{Buffered, Buffers, Completion, List, NTSTATUS, Request, SharedBytes, code, expect_no_input, expect_room};

/// What sluice.sys does for the requests of its control device. Everything is called at PASSIVE_LEVEL, by as many
/// threads at once as there are requests.
pub trait Operations {
    /// Says how the driver is, and appends its clients to `clients`. The header and the counts of the clients are
    /// filled in by the caller.
    fn status(&self, clients: &mut List<'_, ClientStatus>) -> Status;

    /// Copies `table`, validates the copy and puts it in force; if `persist`, the driver starts with it the next time.
    /// Returns the new generation.
    ///
    /// # Errors
    ///
    /// Whatever the reason, the policy that was in force stays in force, and what was persisted stays persisted.
    fn load_policy(&self, table: &SharedBytes<'_>, persist: bool) -> Result<u64, NTSTATUS>;

    /// Takes the policy out of force; if `persist`, the driver starts without one. Returns the new generation.
    ///
    /// # Errors
    ///
    /// As for [`load_policy`](Self::load_policy).
    fn clear_policy(&self, persist: bool) -> Result<u64, NTSTATUS>;

    /// Copies the table in force to the start of `place`, if it fits there whole.
    fn read_policy(&self, place: &mut SharedBytes<'_>) -> PolicyInForce;

    /// Says how many packets the rules of a policy matched, and appends the counters from rule `request.first` on to
    /// `rules`. The header and the count of the rules are filled in by the caller.
    ///
    /// # Errors
    ///
    /// STATUS_NOT_FOUND: it is asked for the policy that is being tried, and there is none.
    fn rule_counters(
        &self,
        request: &CountersRequest,
        rules: &mut List<'_, RuleCounter>,
    ) -> Result<CountersAnswer, NTSTATUS>;

    /// Appends the records of logged packets from number `next` on to `records`. The header and the count are filled in
    /// by the caller.
    fn read_log(&self, next: u64, records: &mut List<'_, PacketRecord>) -> LogAnswer;

    /// Copies `table`, validates the copy and tries it beside the policy in force, in place of the one that was being
    /// tried. Returns the generation of the policy in force.
    ///
    /// # Errors
    ///
    /// Whatever the reason, the policy that was being tried goes on being tried.
    fn start_dry_run(&self, table: &SharedBytes<'_>) -> Result<u64, NTSTATUS>;

    /// Stops trying a policy. Returns the generation of the policy in force.
    ///
    /// # Errors
    ///
    /// STATUS_NOT_FOUND: there is none.
    fn stop_dry_run(&self) -> Result<u64, NTSTATUS>;

    /// Says what the policy that is being tried would change, and appends packets to `samples`. The header and the
    /// counts of the samples are filled in by the caller.
    ///
    /// # Errors
    ///
    /// STATUS_NOT_FOUND: there is none.
    fn dry_run(&self, samples: &mut List<'_, PacketRecord>) -> Result<DryRunStatus, NTSTATUS>;

    /// Puts the policy that is being tried in force; if `persist`, the driver starts with it the next time.
    ///
    /// # Errors
    ///
    /// STATUS_NOT_FOUND: there is none. Whatever the reason, nothing has changed.
    fn load_dry_run(&self, persist: bool) -> Result<PolicyInForce, NTSTATUS>;

    /// Copies the table that is being tried to the start of `place`, if it fits there whole. Returns its length, with
    /// the generation of the policy in force.
    ///
    /// # Errors
    ///
    /// STATUS_NOT_FOUND: there is none.
    fn read_dry_run(&self, place: &mut SharedBytes<'_>) -> Result<PolicyInForce, NTSTATUS>;
}

/// Which policy is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyInForce {
    /// Its generation.
    pub generation: u64,
    /// How many bytes its table has, whether or not they were copied; 0 if there is no policy.
    pub table_length: usize,
}

/// Answers one request with the operation that its code asks for.
pub fn dispatch<D: Operations>(device: &D, request: Request<'_>) -> Completion {
    Completion::of(match (request.code, request.buffers) {
        (code::SLUICE_STATUS, Buffers::Buffered(buffer)) => status(device, buffer),
        (code::SLUICE_POLICY_LOAD, Buffers::Direct { input, shared }) => load_policy(device, input, shared),
        (code::SLUICE_POLICY_CLEAR, Buffers::Buffered(buffer)) => clear_policy(device, buffer),
        (code::SLUICE_POLICY_READ, Buffers::Direct { input, shared }) => {
            read_table(input, shared, |place| Ok(device.read_policy(place)))
        }
        (code::SLUICE_RULE_COUNTERS, Buffers::Buffered(buffer)) => rule_counters(device, buffer),
        (code::SLUICE_LOG_READ, Buffers::Buffered(buffer)) => read_log(device, buffer),
        (code::SLUICE_DRY_RUN_START, Buffers::Direct { input, shared }) => start_dry_run(device, input, shared),
        (code::SLUICE_DRY_RUN_STOP, Buffers::Buffered(buffer)) => stop_dry_run(device, buffer),
        (code::SLUICE_DRY_RUN_STATUS, Buffers::Buffered(buffer)) => dry_run(device, buffer),
        (code::SLUICE_DRY_RUN_LOAD, Buffers::Buffered(buffer)) => load_dry_run(device, buffer),
        (code::SLUICE_DRY_RUN_READ, Buffers::Direct { input, shared }) => {
            read_table(input, shared, |place| device.read_dry_run(place))
        }
        _ => Err(STATUS_INVALID_DEVICE_REQUEST),
    })
}

fn status<D: Operations>(device: &D, mut buffer: Buffered<'_>) -> Result<usize, NTSTATUS> {
    expect_no_input(buffer.input())?;
    let fill =
        |clients: &mut List<'_, ClientStatus>| Ok(Status { header: header_of::<Status>(), ..device.status(clients) });
    answer_with_list(buffer.output(), fill, |status, total, listed| {
        status.clients_total = total;
        status.clients_listed = listed;
    })
}

/// The answer takes the place of the fixed part of the request.
const _: () = assert!(PolicyAnswer::SIZE == PolicyRequest::SIZE);

fn load_policy<D: Operations>(device: &D, input: &[u8], mut shared: SharedBytes<'_>) -> Result<usize, NTSTATUS> {
    expect_no_input(input)?;
    let (table, persist) = table(&mut shared)?;
    let table_length = table.len();
    let generation = device.load_policy(&table, persist)?;
    answer_policy(&mut shared, PolicyInForce { generation, table_length })
}

fn start_dry_run<D: Operations>(device: &D, input: &[u8], mut shared: SharedBytes<'_>) -> Result<usize, NTSTATUS> {
    expect_no_input(input)?;
    let (table, persist) = table(&mut shared)?;
    if persist {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let table_length = table.len();
    let generation = device.start_dry_run(&table)?;
    answer_policy(&mut shared, PolicyInForce { generation, table_length })
}

/// The table behind the fixed part of a request, and whether to persist it.
fn table<'a>(shared: &'a mut SharedBytes<'_>) -> Result<(SharedBytes<'a>, bool), NTSTATUS> {
    let fixed_part = shared.first::<{ PolicyRequest::SIZE }>().ok_or(STATUS_INVALID_BUFFER_SIZE)?;
    let table = shared.behind(PolicyRequest::SIZE);
    let persist = policy_request(&mut fixed_part.as_slice(), table.len())?;
    if table.is_empty() { Err(STATUS_INVALID_PARAMETER) } else { Ok((table, persist)) }
}

fn clear_policy<D: Operations>(device: &D, mut buffer: Buffered<'_>) -> Result<usize, NTSTATUS> {
    let persist = without_table(&buffer)?;
    let generation = device.clear_policy(persist)?;
    answer_policy(&mut SharedBytes::new(buffer.output()), PolicyInForce { generation, table_length: 0 })
}

fn stop_dry_run<D: Operations>(device: &D, mut buffer: Buffered<'_>) -> Result<usize, NTSTATUS> {
    if without_table(&buffer)? {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let generation = device.stop_dry_run()?;
    answer_policy(&mut SharedBytes::new(buffer.output()), PolicyInForce { generation, table_length: 0 })
}

fn load_dry_run<D: Operations>(device: &D, mut buffer: Buffered<'_>) -> Result<usize, NTSTATUS> {
    let persist = without_table(&buffer)?;
    let in_force = device.load_dry_run(persist)?;
    answer_policy(&mut SharedBytes::new(buffer.output()), in_force)
}

/// Whether to persist, of a request that has no table and room for its answer.
fn without_table(buffer: &Buffered<'_>) -> Result<bool, NTSTATUS> {
    let mut rest = buffer.input();
    let rest_length = rest.len().saturating_sub(PolicyRequest::SIZE);
    let persist = policy_request(&mut rest, rest_length)?;
    if !rest.is_empty() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    expect_room(buffer.room(), PolicyAnswer::SIZE)?;
    Ok(persist)
}

fn rule_counters<D: Operations>(device: &D, mut buffer: Buffered<'_>) -> Result<usize, NTSTATUS> {
    let request: CountersRequest = fixed_input(buffer.input(), |request: &CountersRequest| request.header)?;
    if !matches!(request.policy, counted_policy::IN_FORCE | counted_policy::DRY_RUN) || request.reserved != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let fill = |rules: &mut List<'_, RuleCounter>| {
        let answer = device.rule_counters(&request, rules)?;
        Ok(CountersAnswer { header: header_of::<CountersAnswer>(), ..answer })
    };
    answer_with_list(buffer.output(), fill, |answer, _, listed| answer.listed = listed)
}

fn read_log<D: Operations>(device: &D, mut buffer: Buffered<'_>) -> Result<usize, NTSTATUS> {
    let request: LogRequest = fixed_input(buffer.input(), |request: &LogRequest| request.header)?;
    if request.reserved != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let fill = |records: &mut List<'_, PacketRecord>| {
        Ok(LogAnswer { header: header_of::<LogAnswer>(), ..device.read_log(request.next, records) })
    };
    answer_with_list(buffer.output(), fill, |answer, _, listed| answer.listed = listed)
}

fn dry_run<D: Operations>(device: &D, mut buffer: Buffered<'_>) -> Result<usize, NTSTATUS> {
    expect_no_input(buffer.input())?;
    let fill = |samples: &mut List<'_, PacketRecord>| {
        Ok(DryRunStatus { header: header_of::<DryRunStatus>(), ..device.dry_run(samples)? })
    };
    answer_with_list(buffer.output(), fill, |status, total, listed| {
        status.samples_total = total;
        status.samples_listed = listed;
    })
}

/// An input that is a fixed part and nothing else.
fn fixed_input<T: Wire>(input: &[u8], header: fn(&T) -> Header) -> Result<T, NTSTATUS> {
    let mut rest = input;
    let request = T::read(&mut rest).filter(|_| rest.is_empty()).ok_or(STATUS_INVALID_BUFFER_SIZE)?;
    if header(&request).version != crate::VERSION {
        return Err(STATUS_REVISION_MISMATCH);
    }
    if header(&request) == header_of::<T>() { Ok(request) } else { Err(STATUS_INVALID_PARAMETER) }
}

/// Whether to persist. The fixed part is taken from `bytes`, and `rest_length` bytes follow it.
fn policy_request(bytes: &mut &[u8], rest_length: usize) -> Result<bool, NTSTATUS> {
    let request = PolicyRequest::read(bytes).ok_or(STATUS_INVALID_BUFFER_SIZE)?;
    if request.header.version != crate::VERSION {
        return Err(STATUS_REVISION_MISMATCH);
    }
    if request.header != header_of::<PolicyRequest>()
        || request.flags & !policy_flags::ALL != 0
        || request.reserved != 0
    {
        return Err(STATUS_INVALID_PARAMETER);
    }
    if usize::try_from(request.table_length) != Ok(rest_length) {
        return Err(STATUS_INVALID_BUFFER_SIZE);
    }
    Ok(request.flags & policy_flags::PERSIST != 0)
}

/// A table, which `read` copies if there is room for it, and its length in any case.
fn read_table(
    input: &[u8],
    mut shared: SharedBytes<'_>,
    read: impl FnOnce(&mut SharedBytes<'_>) -> Result<PolicyInForce, NTSTATUS>,
) -> Result<usize, NTSTATUS> {
    expect_no_input(input)?;
    expect_room(shared.len(), PolicyAnswer::SIZE)?;
    let mut place = shared.behind(PolicyAnswer::SIZE);
    let room = place.len();
    let answer = read(&mut place)?;
    let copied = if answer.table_length <= room { answer.table_length } else { 0 };
    Ok(answer_policy(&mut shared, answer)?.saturating_add(copied))
}

fn answer_policy(output: &mut SharedBytes<'_>, in_force: PolicyInForce) -> Result<usize, NTSTATUS> {
    let answer = PolicyAnswer {
        header: header_of::<PolicyAnswer>(),
        table_length: u32::try_from(in_force.table_length).unwrap_or(u32::MAX),
        generation: in_force.generation,
    };
    let mut bytes = [0; PolicyAnswer::SIZE];
    answer.write(&mut bytes.as_mut_slice()).ok_or(STATUS_BUFFER_TOO_SMALL)?;
    if output.write(&bytes) { Ok(PolicyAnswer::SIZE) } else { Err(STATUS_BUFFER_TOO_SMALL) }
}
