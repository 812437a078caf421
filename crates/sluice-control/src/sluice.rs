//! The dispatcher of the control device of sluice.sys.

use crate::list::answer_with_list;
use crate::message::{ClientStatus, PolicyAnswer, PolicyRequest, Status, header_of, policy_flags};
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
        (code::SLUICE_POLICY_READ, Buffers::Direct { input, shared }) => read_policy(device, input, shared),
        _ => Err(STATUS_INVALID_DEVICE_REQUEST),
    })
}

fn status<D: Operations>(device: &D, mut buffer: Buffered<'_>) -> Result<usize, NTSTATUS> {
    expect_no_input(buffer.input())?;
    let fill =
        |clients: &mut List<'_, ClientStatus>| Status { header: header_of::<Status>(), ..device.status(clients) };
    answer_with_list(buffer.output(), fill, |status, total, listed| {
        status.clients_total = total;
        status.clients_listed = listed;
    })
    .ok_or(STATUS_BUFFER_TOO_SMALL)
}

/// The answer takes the place of the fixed part of the request.
const _: () = assert!(PolicyAnswer::SIZE == PolicyRequest::SIZE);

fn load_policy<D: Operations>(device: &D, input: &[u8], mut shared: SharedBytes<'_>) -> Result<usize, NTSTATUS> {
    expect_no_input(input)?;
    let fixed_part = shared.first::<{ PolicyRequest::SIZE }>().ok_or(STATUS_INVALID_BUFFER_SIZE)?;
    let table = shared.behind(PolicyRequest::SIZE);
    let persist = policy_request(&mut fixed_part.as_slice(), table.len())?;
    if table.is_empty() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let table_length = table.len();
    let generation = device.load_policy(&table, persist)?;
    answer_policy(&mut shared, PolicyInForce { generation, table_length })
}

fn clear_policy<D: Operations>(device: &D, mut buffer: Buffered<'_>) -> Result<usize, NTSTATUS> {
    let mut rest = buffer.input();
    let rest_length = rest.len().saturating_sub(PolicyRequest::SIZE);
    let persist = policy_request(&mut rest, rest_length)?;
    if !rest.is_empty() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    expect_room(buffer.room(), PolicyAnswer::SIZE)?;
    let generation = device.clear_policy(persist)?;
    answer_policy(&mut SharedBytes::new(buffer.output()), PolicyInForce { generation, table_length: 0 })
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

fn read_policy<D: Operations>(device: &D, input: &[u8], mut shared: SharedBytes<'_>) -> Result<usize, NTSTATUS> {
    expect_no_input(input)?;
    expect_room(shared.len(), PolicyAnswer::SIZE)?;
    let mut place = shared.behind(PolicyAnswer::SIZE);
    let room = place.len();
    let in_force = device.read_policy(&mut place);
    let copied = if in_force.table_length <= room { in_force.table_length } else { 0 };
    Ok(answer_policy(&mut shared, in_force)?.saturating_add(copied))
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
