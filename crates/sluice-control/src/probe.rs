//! The dispatcher of the device of probe.sys.

use sluice_npi::{MAX_BATCH, Verdict};

use crate::list::answer_with_list;
use crate::message::{BatchAnswer, BatchEntry, BatchRequest, ProbeStatus, ProviderStatus, header_of};
use crate::status::{
    STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_BUFFER_SIZE, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER,
    STATUS_REVISION_MISMATCH, STATUS_UNSUCCESSFUL,
};
use crate::wire::Wire;
use crate::{Buffered, Buffers, Completion, List, NTSTATUS, Request, code, expect_no_input, expect_room};

/// What probe.sys does for the requests of its device. Everything is called at PASSIVE_LEVEL, by as many threads at
/// once as there are requests.
pub trait Operations {
    /// Holds the verdicts of one batch. They cannot lie in the system buffer, where the packets are still needed.
    type Verdicts: AsRef<[Verdict]>;

    /// Has the batch classified, in one call, by the first provider: one verdict a packet.
    ///
    /// # Errors
    ///
    /// `STATUS_DEVICE_NOT_READY` if there is no provider, `STATUS_INSUFFICIENT_RESOURCES` if there is no memory, and
    /// whatever the provider answers.
    fn classify(&self, batch: &Batch<'_>) -> Result<Self::Verdicts, NTSTATUS>;

    /// Appends the providers that the probe is attached to, the one that classifies first.
    fn providers(&self, providers: &mut List<'_, ProviderStatus>);
}

/// Answers one request with the operation that its code asks for.
pub fn dispatch<D: Operations>(device: &D, request: Request<'_>) -> Completion {
    Completion::of(match (request.code, request.buffers) {
        (code::PROBE_CLASSIFY, Buffers::Buffered(buffer)) => classify(device, buffer),
        (code::PROBE_STATUS, Buffers::Buffered(buffer)) => status(device, buffer),
        _ => Err(STATUS_INVALID_DEVICE_REQUEST),
    })
}

fn classify<D: Operations>(device: &D, mut buffer: Buffered<'_>) -> Result<usize, NTSTATUS> {
    let batch = Batch::parse(buffer.input())?;
    let answer_length = BatchAnswer::size_for(batch.len());
    expect_room(buffer.room(), answer_length)?;
    let count = batch.count;
    let verdicts = device.classify(&batch)?;
    let verdicts = verdicts.as_ref();
    if Ok(verdicts.len()) != usize::try_from(count) {
        return Err(STATUS_UNSUCCESSFUL);
    }
    let mut output = buffer.output();
    let answer = BatchAnswer { header: header_of::<BatchAnswer>(), count, reserved: 0 };
    answer.write(&mut output).ok_or(STATUS_BUFFER_TOO_SMALL)?;
    for verdict in verdicts {
        verdict.write(&mut output).ok_or(STATUS_BUFFER_TOO_SMALL)?;
    }
    Ok(answer_length)
}

fn status<D: Operations>(device: &D, mut buffer: Buffered<'_>) -> Result<usize, NTSTATUS> {
    expect_no_input(buffer.input())?;
    let fill = |providers: &mut List<'_, ProviderStatus>| {
        device.providers(providers);
        Ok(ProbeStatus { header: header_of::<ProbeStatus>(), providers_total: 0, providers_listed: 0, reserved: 0 })
    };
    answer_with_list(buffer.output(), fill, |status, total, listed| {
        status.providers_total = total;
        status.providers_listed = listed;
    })
}

/// A batch of packets whose counts, offsets and lengths have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    input: &'a [u8],
    entries: &'a [u8],
    count: u32,
}

/// One packet of a batch. All but the bytes is what the user-mode program said, for the provider to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPacket<'a> {
    /// What the bytes start with: one of [`sluice_npi::link_type`].
    pub link_type: u16,
    /// One of [`sluice_npi::direction`].
    pub direction: u16,
    /// How many bytes the packet had on the wire.
    pub wire_length: u32,
    /// The captured bytes, which lie in the system request.
    pub bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Checks the input of [`PROBE_CLASSIFY`](code::PROBE_CLASSIFY).
    ///
    /// # Errors
    ///
    /// As in the table at [the top](crate).
    pub fn parse(input: &'a [u8]) -> Result<Self, NTSTATUS> {
        let mut rest = input;
        let request = BatchRequest::read(&mut rest).ok_or(STATUS_INVALID_BUFFER_SIZE)?;
        if request.header.version != crate::VERSION {
            return Err(STATUS_REVISION_MISMATCH);
        }
        if request.header != header_of::<BatchRequest>()
            || request.reserved != 0
            || request.count == 0
            || request.count > MAX_BATCH
        {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let entries_length = usize::try_from(request.count)
            .ok()
            .and_then(|count| count.checked_mul(BatchEntry::SIZE))
            .ok_or(STATUS_INVALID_PARAMETER)?;
        let (entries, _) = rest.split_at_checked(entries_length).ok_or(STATUS_INVALID_BUFFER_SIZE)?;
        let batch = Self { input, entries, count: request.count };
        let first_byte = BatchRequest::SIZE.saturating_add(entries_length);
        let mut entries_left = entries;
        while !entries_left.is_empty() {
            let entry = BatchEntry::read(&mut entries_left).ok_or(STATUS_INVALID_BUFFER_SIZE)?;
            if !usize::try_from(entry.offset).is_ok_and(|offset| offset >= first_byte) || batch.bytes(&entry).is_none()
            {
                return Err(STATUS_INVALID_PARAMETER);
            }
        }
        Ok(batch)
    }

    /// How many packets there are: 1 to [`MAX_BATCH`].
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub const fn len(&self) -> usize {
        // `parse` has shown that as many entries lie in memory.
        self.count as usize
    }

    /// The packets, in their order: [`len`](Self::len) of them.
    pub fn packets(&self) -> impl Iterator<Item = BatchPacket<'a>> + use<'a> {
        let batch = *self;
        let mut entries = self.entries;
        core::iter::from_fn(move || {
            let entry = BatchEntry::read(&mut entries)?;
            Some(BatchPacket {
                link_type: entry.link_type,
                direction: entry.direction,
                wire_length: entry.wire_length,
                bytes: batch.bytes(&entry)?,
            })
        })
    }

    fn bytes(&self, entry: &BatchEntry) -> Option<&'a [u8]> {
        let start = usize::try_from(entry.offset).ok()?;
        let end = start.checked_add(usize::try_from(entry.captured_length).ok()?)?;
        self.input.get(start..end)
    }
}
