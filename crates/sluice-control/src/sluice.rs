//! The dispatcher of the control device of sluice.sys.

use crate::list::answer_with_list;
use crate::message::{ClientStatus, PolicyAnswer, PolicyRequest, Status, header_of, policy_flags};
use crate::status::{
    STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER,
    STATUS_REVISION_MISMATCH,
};
use crate::wire::Wire;
use crate::{Completion, List, NTSTATUS, Request, code, expect_no_input, expect_room};

/// What sluice.sys does for the requests of its control device. Everything is called at PASSIVE_LEVEL, by as many
/// threads at once as there are requests.
pub trait Operations {
    /// Says how the driver is, and appends its clients to `clients`. The header and the counts of the clients are
    /// filled in by the caller.
    fn status(&self, clients: &mut List<'_, ClientStatus>) -> Status;

    /// Validates `table` and puts it in force; if `persist`, the driver starts with it the next time. Returns the
    /// new generation.
    ///
    /// # Errors
    ///
    /// Whatever the reason, the policy that was in force stays in force, and what was persisted stays persisted.
    fn load_policy(&self, table: &[u8], persist: bool) -> Result<u64, NTSTATUS>;

    /// Takes the policy out of force; if `persist`, the driver starts without one. Returns the new generation.
    ///
    /// # Errors
    ///
    /// As for [`load_policy`](Self::load_policy).
    fn clear_policy(&self, persist: bool) -> Result<u64, NTSTATUS>;

    /// Copies the table in force to the start of `place`, if it fits there whole.
    fn read_policy(&self, place: &mut [u8]) -> PolicyInForce;
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
    Completion::of(match request.code() {
        code::SLUICE_STATUS => status(device, request),
        code::SLUICE_POLICY_LOAD => load_policy(device, request),
        code::SLUICE_POLICY_CLEAR => clear_policy(device, request),
        code::SLUICE_POLICY_READ => read_policy(device, request),
        _ => Err(STATUS_INVALID_DEVICE_REQUEST),
    })
}

fn status<D: Operations>(device: &D, mut request: Request<'_>) -> Result<usize, NTSTATUS> {
    expect_no_input(&request)?;
    let fill =
        |clients: &mut List<'_, ClientStatus>| Status { header: header_of::<Status>(), ..device.status(clients) };
    answer_with_list(request.output(), fill, |status, total, listed| {
        status.clients_total = total;
        status.clients_listed = listed;
    })
    .ok_or(STATUS_BUFFER_TOO_SMALL)
}

fn load_policy<D: Operations>(device: &D, mut request: Request<'_>) -> Result<usize, NTSTATUS> {
    let (persist, table) = policy_request(request.input())?;
    if table.is_empty() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let table_length = table.len();
    expect_room(&request, PolicyAnswer::SIZE)?;
    let generation = device.load_policy(table, persist)?;
    answer_policy(request.output(), PolicyInForce { generation, table_length })
}

fn clear_policy<D: Operations>(device: &D, mut request: Request<'_>) -> Result<usize, NTSTATUS> {
    let (persist, table) = policy_request(request.input())?;
    if !table.is_empty() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    expect_room(&request, PolicyAnswer::SIZE)?;
    let generation = device.clear_policy(persist)?;
    answer_policy(request.output(), PolicyInForce { generation, table_length: 0 })
}

/// Whether to persist, and the table.
fn policy_request(input: &[u8]) -> Result<(bool, &[u8]), NTSTATUS> {
    let mut table = input;
    let request = PolicyRequest::read(&mut table).ok_or(STATUS_INVALID_BUFFER_SIZE)?;
    if request.header.version != crate::VERSION {
        return Err(STATUS_REVISION_MISMATCH);
    }
    if request.header != header_of::<PolicyRequest>()
        || request.flags & !policy_flags::ALL != 0
        || request.reserved != 0
    {
        return Err(STATUS_INVALID_PARAMETER);
    }
    if usize::try_from(request.table_length) != Ok(table.len()) {
        return Err(STATUS_INVALID_BUFFER_SIZE);
    }
    Ok((request.flags & policy_flags::PERSIST != 0, table))
}

fn read_policy<D: Operations>(device: &D, mut request: Request<'_>) -> Result<usize, NTSTATUS> {
    expect_no_input(&request)?;
    let (answer, place) = request.output().split_at_mut_checked(PolicyAnswer::SIZE).ok_or(STATUS_BUFFER_TOO_SMALL)?;
    let in_force = device.read_policy(place);
    let copied = if in_force.table_length <= place.len() { in_force.table_length } else { 0 };
    Ok(answer_policy(answer, in_force)?.saturating_add(copied))
}

fn answer_policy(mut output: &mut [u8], in_force: PolicyInForce) -> Result<usize, NTSTATUS> {
    let answer = PolicyAnswer {
        header: header_of::<PolicyAnswer>(),
        table_length: u32::try_from(in_force.table_length).unwrap_or(u32::MAX),
        generation: in_force.generation,
    };
    answer.write(&mut output).ok_or(STATUS_BUFFER_TOO_SMALL)?;
    Ok(PolicyAnswer::SIZE)
}
