//! The contract in terms of wdk-nmr: what drivers use, so that neither Sluice nor its clients need unsafe code for it.
//!
//! | | calls | is called through |
//! | --- | --- | --- |
//! | client | [`CallSluice`] | [`SluiceClient`] |
//! | Sluice | [`CallClient`] | [`SluiceProvider`] |
//!
//! What comes in from a client becomes a [`ClassifyCall`] when every pointer and length of it has been looked at, in
//! one place.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::slice;

use wdk_nmr::{
    Client, ClientCall, ClientTable, Count, NPIID, NTSTATUS, Npi, NpiStructure, Peer, Provider, ProviderCall,
    ProviderTable, StructureError, VersionAndSize,
};

use crate::{
    ClientCharacteristics, ClientDispatch, Header, MAX_BATCH, Packet, ProviderCharacteristics, ProviderDispatch,
    Statistics, VERSION, Verdict, direction,
};

const STATUS_SUCCESS: NTSTATUS = 0;
const STATUS_INVALID_PARAMETER: NTSTATUS = 0xC000_000D_u32.cast_signed();

/// The identifier that both sides register: 0b8f760a-70af-4860-ba3e-de22a76fc2ee.
pub const NPI_ID: NPIID =
    NPIID { Data1: 0x0b8f_760a, Data2: 0x70af, Data3: 0x4860, Data4: [0xba, 0x3e, 0xde, 0x22, 0xa7, 0x6f, 0xc2, 0xee] };

/// Names the interface in types.
#[derive(Clone, Copy, Debug)]
pub struct SluiceNpi;

/// Structures of the contract are recognized by their header.
macro_rules! structures {
    ($($type:ty),*) => {
        $(
            // SAFETY: `repr(C)`, starts with a `Header`; whoever hands one out under `NPI_ID` follows the contract.
            unsafe impl NpiStructure for $type {
                type Header = VersionAndSize;

                fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
                    header.check(VERSION..=VERSION)
                }
            }
        )*
    };
}
structures!(ProviderDispatch, ClientDispatch, ProviderCharacteristics, ClientCharacteristics);

// SAFETY: what the contract says about who registers `NPI_ID`.
unsafe impl Npi for SluiceNpi {
    const ID: NPIID = NPI_ID;
    type ProviderDispatch = ProviderDispatch;
    type ClientDispatch = ClientDispatch;
    type ProviderCharacteristics = ProviderCharacteristics;
    type ClientCharacteristics = ClientCharacteristics;
}

/// A call was answered with this status and had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed(pub NTSTATUS);

/// Something is wrong with a call: STATUS_INVALID_PARAMETER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// A packet whose bytes are there for `'a`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct PacketRef<'a> {
    packet: Packet,
    bytes: PhantomData<&'a [u8]>,
}

// SAFETY: the pointer in it is a shared borrow of bytes.
unsafe impl Send for PacketRef<'_> {}
// SAFETY: a shared reference gives access to a shared borrow.
unsafe impl Sync for PacketRef<'_> {}

impl<'a> PacketRef<'a> {
    /// The packet whose first bytes are `bytes` and which has `wire_length` bytes on the wire. `None` if that is less
    /// than there are, or more than 4 GiB are given.
    #[must_use]
    pub fn new(link_type: u16, direction: u16, bytes: &'a [u8], wire_length: u32) -> Option<Self> {
        let captured_length = u32::try_from(bytes.len()).ok().filter(|length| *length <= wire_length)?;
        let header = Header::of::<Packet>();
        let packet = Packet { header, link_type, direction, captured_length, wire_length, data: bytes.as_ptr() };
        Some(Self { packet, bytes: PhantomData })
    }

    /// The same packet, of which the bytes are the head and the rest can be shown: see
    /// [`HEAD`](crate::direction::HEAD).
    #[must_use]
    pub const fn as_head(mut self) -> Self {
        self.packet.direction |= direction::HEAD;
        self
    }

    /// Whether the bytes are the head of a packet that can be shown whole.
    #[must_use]
    pub const fn is_head(&self) -> bool {
        self.packet.direction & direction::HEAD != 0
    }

    /// What the bytes start with: one of [`link_type`](crate::link_type), unless the client is mistaken.
    #[must_use]
    pub const fn link_type(&self) -> u16 {
        self.packet.link_type
    }

    /// One of [`direction`](mod@direction), without [`HEAD`](crate::direction::HEAD).
    #[must_use]
    pub const fn direction(&self) -> u16 {
        self.packet.direction & !direction::HEAD
    }

    /// How many bytes the packet has on the wire.
    #[must_use]
    pub const fn wire_length(&self) -> u32 {
        self.packet.wire_length
    }

    /// The bytes that were captured.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        if self.packet.captured_length == 0 {
            return &[];
        }
        // SAFETY: made from a slice by `new`, or validated by `AllegedCall::validate` and promised by the caller.
        unsafe { slice::from_raw_parts(self.packet.data, self.packet.captured_length as usize) }
    }

    /// Whether everything about the packet that can be seen from outside is as the contract says.
    fn is_valid(packet: &Packet) -> bool {
        packet.header == Header::of::<Packet>()
            && matches!(
                packet.direction & !direction::HEAD,
                direction::UNSPECIFIED | direction::INBOUND | direction::OUTBOUND
            )
            && packet.captured_length <= packet.wire_length
            && (packet.captured_length == 0 || !packet.data.is_null())
    }
}

/// What a client asks Sluice, of the provider that it is attached to.
pub trait CallSluice {
    /// Asks what to do with 1 to [`MAX_BATCH`] packets. `room` has place for at least as many verdicts. See
    /// [`ProviderDispatch::classify`].
    ///
    /// # Errors
    ///
    /// STATUS_INVALID_PARAMETER: the number of packets is out of range, or something is wrong with one of them.
    fn classify<'v>(
        &self,
        packets: &[PacketRef<'_>],
        room: &'v mut [MaybeUninit<Verdict>],
    ) -> Result<&'v [Verdict], Failed>;

    /// Asks for this client's counters. See [`ProviderDispatch::query_statistics`].
    ///
    /// # Errors
    ///
    /// What Sluice returned.
    fn query_statistics(&self) -> Result<Statistics, Failed>;
}

impl<B: Send + Sync, G: Count> CallSluice for Peer<'_, B, ProviderDispatch, G> {
    fn classify<'v>(
        &self,
        packets: &[PacketRef<'_>],
        room: &'v mut [MaybeUninit<Verdict>],
    ) -> Result<&'v [Verdict], Failed> {
        let room = room.get_mut(..packets.len()).ok_or(Failed(STATUS_INVALID_PARAMETER))?;
        let count = u32::try_from(packets.len()).map_err(|_| Failed(STATUS_INVALID_PARAMETER))?;
        let verdicts = room.as_mut_ptr().cast::<Verdict>();
        let status = self.call(|table, context| {
            // SAFETY: the context came with the table. There are `count` packets, whose type is `repr(transparent)`
            // over the contract's, with room for as many verdicts, for the duration of the call.
            unsafe { (table.classify)(context, packets.as_ptr().cast(), count, verdicts) }
        });
        if status != STATUS_SUCCESS {
            return Err(Failed(status));
        }
        // SAFETY: after STATUS_SUCCESS every verdict has been written.
        Ok(unsafe { slice::from_raw_parts(verdicts, packets.len()) })
    }

    fn query_statistics(&self) -> Result<Statistics, Failed> {
        let mut statistics = Statistics::default();
        let status = self.call(|table, context| {
            // SAFETY: the context came with the table; the structure is there for the duration of the call.
            unsafe { (table.query_statistics)(context, &raw mut statistics) }
        });
        if status == STATUS_SUCCESS { Ok(statistics) } else { Err(Failed(status)) }
    }
}

/// What Sluice tells a client that is attached to it.
pub trait CallClient {
    /// Says that policy `generation` is in force. At PASSIVE_LEVEL. See [`ClientDispatch::policy_changed`].
    fn policy_changed(&self, generation: u64);
}

impl<B: Send + Sync, G: Count> CallClient for Peer<'_, B, ClientDispatch, G> {
    fn policy_changed(&self, generation: u64) {
        self.call(|table, context| {
            // SAFETY: the context came with the table.
            unsafe { (table.policy_changed)(context, generation) }
        });
    }
}

/// The arguments of [`ProviderDispatch::classify`] as a client passed them, not validated yet.
#[derive(Debug)]
struct AllegedCall<'a> {
    packets: *const Packet,
    count: u32,
    verdicts: *mut Verdict,
    duration: PhantomData<&'a ()>,
}

impl<'a> AllegedCall<'a> {
    /// # Safety
    ///
    /// The arguments are those of a call that is in progress for `'a`. As far as they are not NULL, misaligned or out
    /// of range, they and the packets point to what the contract says.
    unsafe fn new(packets: *const Packet, count: u32, verdicts: *mut Verdict) -> Self {
        Self { packets, count, verdicts, duration: PhantomData }
    }

    /// Validates the pointers, the count and each packet. Nothing is written.
    fn validate(self) -> Result<ClassifyCall<'a>, Invalid> {
        let Self { packets, count, verdicts, .. } = self;
        if packets.is_null() || !packets.is_aligned() || verdicts.is_null() || !verdicts.is_aligned() {
            return Err(Invalid);
        }
        if count == 0 || count > MAX_BATCH {
            return Err(Invalid);
        }
        let count = count as usize;
        // SAFETY: not NULL and aligned, and the count is in range, so it is what the contract says for `'a`.
        let packets = unsafe { slice::from_raw_parts(packets, count) };
        // SAFETY: not NULL and aligned, so there is room for `count` verdicts, which for `'a` nobody else uses.
        let verdicts = unsafe { slice::from_raw_parts_mut(verdicts.cast::<MaybeUninit<Verdict>>(), count) };
        if !packets.iter().all(PacketRef::is_valid) {
            return Err(Invalid);
        }
        let packets: *const [Packet] = packets;
        // SAFETY: `PacketRef` is `repr(transparent)` over `Packet`, and the packets have just been validated.
        let packets = unsafe { &*(packets as *const [PacketRef<'a>]) };
        Ok(ClassifyCall { packets, verdicts })
    }
}

/// One call of [`ProviderDispatch::classify`]: the packets, all of them valid as far as can be seen without reading
/// their bytes, and the places for their verdicts. Whether a link type is known is for the parser to say.
#[derive(Debug)]
pub struct ClassifyCall<'a> {
    packets: &'a [PacketRef<'a>],
    verdicts: &'a mut [MaybeUninit<Verdict>],
}

impl<'a> ClassifyCall<'a> {
    /// The packets: at least 1, at most [`MAX_BATCH`].
    #[inline]
    #[must_use]
    pub const fn packets(&self) -> &'a [PacketRef<'a>] {
        self.packets
    }

    /// Lets `judge` write the verdicts on the packets, in order, to where the client wants them: verdicts that are
    /// returned would have to be copied there. What `judge` finds there are defaults, as many as there are packets.
    #[inline]
    pub fn answer(self, judge: impl FnOnce(&'a [PacketRef<'a>], &mut [Verdict])) -> Answered<'a> {
        for place in &mut *self.verdicts {
            place.write(Verdict::default());
        }
        let verdicts: *mut [MaybeUninit<Verdict>] = self.verdicts;
        // SAFETY: `MaybeUninit<T>` has the layout of `T`, and all of them have just been written.
        judge(self.packets, unsafe { &mut *(verdicts as *mut [Verdict]) });
        Answered(PhantomData)
    }
}

/// Every packet of a call has its verdict. Only [`ClassifyCall::answer`] makes one, so a call cannot succeed without.
#[derive(Debug)]
pub struct Answered<'a>(PhantomData<&'a ()>);

/// What Sluice does for its clients. See [`provider_dispatch`].
pub trait SluiceProvider: Provider<Npi = SluiceNpi> {
    /// Classifies the packets of one call, by one policy. Up to DISPATCH_LEVEL.
    ///
    /// # Errors
    ///
    /// There is a link type that is not known.
    fn classify<'a>(&self, binding: &Self::Binding, call: ClassifyCall<'a>) -> Result<Answered<'a>, Invalid>;

    /// The counters of a client. Up to DISPATCH_LEVEL.
    fn statistics(&self, binding: &Self::Binding) -> Statistics;

    /// A call of a client has been answered with STATUS_INVALID_PARAMETER. Up to DISPATCH_LEVEL.
    fn rejected(&self, binding: &Self::Binding);
}

/// The dispatch table of a provider of Sluice's interface.
#[must_use]
pub const fn provider_dispatch<P: SluiceProvider>() -> ProviderTable<P> {
    // SAFETY: the functions are called with contexts of bindings of `P`.
    unsafe {
        ProviderTable::new(ProviderDispatch {
            header: Header::of::<ProviderDispatch>(),
            classify: classify::<P>,
            query_statistics: query_statistics::<P>,
        })
    }
}

/// # Safety
///
/// The contract of [`ProviderDispatch::classify`].
unsafe extern "system" fn classify<P: SluiceProvider>(
    context: *mut c_void,
    packets: *const Packet,
    count: u32,
    verdicts: *mut Verdict,
) -> NTSTATUS {
    // SAFETY: clients call with the context that came with the table.
    let caller = unsafe { ProviderCall::<P>::new(context) };
    // SAFETY: the arguments of this call.
    let alleged = unsafe { AllegedCall::new(packets, count, verdicts) };
    let result = alleged.validate().and_then(|call| caller.provider().classify(caller.binding(), call).map(|_| ()));
    finish(&caller, result)
}

/// # Safety
///
/// The contract of [`ProviderDispatch::query_statistics`].
unsafe extern "system" fn query_statistics<P: SluiceProvider>(
    context: *mut c_void,
    statistics: *mut Statistics,
) -> NTSTATUS {
    // SAFETY: clients call with the context that came with the table.
    let caller = unsafe { ProviderCall::<P>::new(context) };
    if statistics.is_null() || !statistics.is_aligned() {
        return finish(&caller, Err(Invalid));
    }
    // SAFETY: not NULL and aligned, so the client has at least filled in the header.
    let header = unsafe { statistics.cast::<Header>().read() };
    if header != Header::of::<Statistics>() {
        return finish(&caller, Err(Invalid));
    }
    let answer = caller.provider().statistics(caller.binding());
    // SAFETY: the header says that there is room for it.
    unsafe { statistics.write(answer) };
    finish(&caller, Ok(()))
}

fn finish<P: SluiceProvider>(caller: &ProviderCall<P>, result: Result<(), Invalid>) -> NTSTATUS {
    match result {
        Ok(()) => STATUS_SUCCESS,
        Err(Invalid) => {
            caller.provider().rejected(caller.binding());
            STATUS_INVALID_PARAMETER
        }
    }
}

/// What a client of Sluice does when Sluice calls. See [`client_dispatch`].
pub trait SluiceClient: Client<Npi = SluiceNpi> {
    /// Policy `generation` is in force. At PASSIVE_LEVEL, perhaps before the client has attached (R28); the provider
    /// can be called back through `call`.
    fn policy_changed(call: &ClientCall<'_, Self>, generation: u64);
}

/// The dispatch table of a client of Sluice's interface.
#[must_use]
pub const fn client_dispatch<C: SluiceClient>() -> ClientTable<C> {
    // SAFETY: the function is called with contexts of bindings of `C`.
    unsafe {
        ClientTable::new(ClientDispatch { header: Header::of::<ClientDispatch>(), policy_changed: policy_changed::<C> })
    }
}

/// # Safety
///
/// The contract of [`ClientDispatch::policy_changed`].
unsafe extern "system" fn policy_changed<C: SluiceClient>(context: *mut c_void, generation: u64) {
    // SAFETY: Sluice calls with the context that came with the table.
    let call = unsafe { ClientCall::<C>::new(context) };
    C::policy_changed(&call, generation);
}
