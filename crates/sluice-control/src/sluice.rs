//! The dispatcher of the control device of sluice.sys.

use crate::list::answer_with_list;
use crate::message::{ClientStatus, PolicyAnswer, PolicyRequest, Status, header_of, policy_flags};
use crate::status::{
    STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER,
    STATUS_REVISION_MISMATCH,
};
use crate::wire::Wire;
use crate::{Buffer, Completion, List, NTSTATUS, code};

/// What sluice.sys does for the requests of its control device. Everything is called at PASSIVE_LEVEL, by as many
/// threads at once as there are requests.
pub trait Device {
    /// Says how the driver is, and appends its clients to `clients`. The header and the counts of the clients are filled
    /// in by the caller.
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

/// Answers one request. `buffer` is the system buffer, whose first `input_length` bytes are the input, and whose first
/// `output_length` bytes may be overwritten by the answer.
pub fn control<D: Device>(
    device: &D,
    code: u32,
    buffer: &mut [u8],
    input_length: usize,
    output_length: usize,
) -> Completion {
    Completion::of(Buffer::new(buffer, input_length, output_length).and_then(|buffer| match code {
        code::SLUICE_STATUS => status(device, buffer),
        code::SLUICE_POLICY_LOAD => load_policy(device, buffer),
        code::SLUICE_POLICY_CLEAR => clear_policy(device, buffer),
        code::SLUICE_POLICY_READ => read_policy(device, buffer),
        _ => Err(STATUS_INVALID_DEVICE_REQUEST),
    }))
}

fn status<D: Device>(device: &D, mut buffer: Buffer<'_>) -> Result<usize, NTSTATUS> {
    buffer.expect_no_input()?;
    let fill =
        |clients: &mut List<'_, ClientStatus>| Status { header: header_of::<Status>(), ..device.status(clients) };
    answer_with_list(buffer.output(), fill, |status, total, listed| {
        status.clients_total = total;
        status.clients_listed = listed;
    })
    .ok_or(STATUS_BUFFER_TOO_SMALL)
}

fn load_policy<D: Device>(device: &D, mut buffer: Buffer<'_>) -> Result<usize, NTSTATUS> {
    let (persist, table) = policy_request(buffer.input())?;
    if table.is_empty() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let table_length = table.len();
    buffer.expect_room(PolicyAnswer::SIZE)?;
    let generation = device.load_policy(table, persist)?;
    answer_policy(buffer.output(), PolicyInForce { generation, table_length })
}

fn clear_policy<D: Device>(device: &D, mut buffer: Buffer<'_>) -> Result<usize, NTSTATUS> {
    let (persist, table) = policy_request(buffer.input())?;
    if !table.is_empty() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    buffer.expect_room(PolicyAnswer::SIZE)?;
    let generation = device.clear_policy(persist)?;
    answer_policy(buffer.output(), PolicyInForce { generation, table_length: 0 })
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

fn read_policy<D: Device>(device: &D, mut buffer: Buffer<'_>) -> Result<usize, NTSTATUS> {
    buffer.expect_no_input()?;
    let (answer, place) = buffer.output().split_at_mut_checked(PolicyAnswer::SIZE).ok_or(STATUS_BUFFER_TOO_SMALL)?;
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
