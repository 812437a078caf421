//! The bytes of a packet.
//!
//! The usual way to them has cost drivers dearly: to look at a header that lies before the
//! data, the offset is moved back in the NET_BUFFER itself (NdisRetreatNetBufferDataStart) and forward again, on a
//! structure that other callouts may be reading. Nothing here writes to a list: the position is calculated.

use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::{fmt, mem, slice};

use wdk_wfp_sys::{
    KernelMode, LOW_PRIORITY_NO_EXECUTE, MDL, MDL_MAPPED_TO_SYSTEM_VA, MDL_SOURCE_IS_NONPAGED_POOL, MmCached,
    MmMapLockedPagesSpecifyCache, NET_BUFFER, NET_BUFFER_LIST,
};

/// How many MDLs of one packet are looked at. A chain that is longer, or that leads back into itself, is malformed.
pub const MAX_MDLS: usize = 1024;

/// What is wrong with a packet, or with what came with it. Whether such a packet passes is the callout's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// There is no list: WFP passes NULL at some layers at some times (W12).
    NoList,
    /// The metadata that say where the first header begins are missing.
    NoMetadata,
    /// The list has no buffers.
    NoBuffers,
    /// The first header begins before the chain does.
    HeaderOutsideChain {
        /// How many bytes before the data it begins.
        before_data: u32,
        /// Where in the chain the data begins.
        data_offset: u32,
    },
    /// The chain ends before the data do.
    ChainTooShort {
        /// How many bytes are missing.
        missing: u32,
    },
    /// The header and the data together are longer than any packet.
    LengthOverflow,
    /// The chain has more than [`MAX_MDLS`] parts.
    TooManyMdls,
    /// The pages of an MDL could not be mapped.
    NotMapped,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoList => f.write_str("there is no NET_BUFFER_LIST"),
            Self::NoMetadata => f.write_str("the metadata do not say where the header begins"),
            Self::NoBuffers => f.write_str("the NET_BUFFER_LIST has no NET_BUFFER"),
            Self::HeaderOutsideChain { before_data, data_offset } => write!(
                f,
                "the header begins {before_data} bytes before the data, which begin at {data_offset} in the MDL chain"
            ),
            Self::ChainTooShort { missing } => write!(f, "the MDL chain ends {missing} bytes before the data do"),
            Self::LengthOverflow => f.write_str("header and data are longer than 4 GiB"),
            Self::TooManyMdls => write!(f, "the MDL chain has more than {MAX_MDLS} MDLs"),
            Self::NotMapped => f.write_str("the pages of an MDL could not be mapped"),
        }
    }
}

/// The packets of a list, and of the lists chained to it (W11).
#[derive(Clone)]
pub struct Packets<'a> {
    list: *const NET_BUFFER_LIST,
    buffer: *const NET_BUFFER,
    before_data: u32,
    lifetime: PhantomData<&'a NET_BUFFER_LIST>,
}

impl<'a> Packets<'a> {
    /// The packets of `list`, each from `before_data` bytes before its data on: where the first header begins.
    ///
    /// # Errors
    ///
    /// [`Malformed::NoList`] for NULL, [`Malformed::NoBuffers`] for a list without packets.
    ///
    /// # Safety
    ///
    /// For `'a`, `list` is NULL or a list as NDIS makes them, its buffers, MDLs and pages stay, and nobody else writes
    /// to any of these structures. The call of a classification is such a time.
    pub unsafe fn new(list: *const NET_BUFFER_LIST, before_data: u32) -> Result<Self, Malformed> {
        let mut list = list;
        if list.is_null() {
            return Err(Malformed::NoList);
        }
        // SAFETY: the caller promises that a list that is not NULL is there.
        let mut buffer = unsafe { (*list).FirstNetBuffer };
        while buffer.is_null() {
            // SAFETY: as above, and for the lists that follow it.
            list = unsafe { (*list).Next };
            if list.is_null() {
                return Err(Malformed::NoBuffers);
            }
            // SAFETY: as above.
            buffer = unsafe { (*list).FirstNetBuffer };
        }
        Ok(Self { list, buffer, before_data, lifetime: PhantomData })
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    #[inline]
    fn next(&mut self) -> Option<Packet<'a>> {
        while self.buffer.is_null() {
            // SAFETY: the lists stay for `'a`, as the maker of this value promised; `list` is one of them or NULL.
            self.list = unsafe { self.list.as_ref() }?.Next;
            // SAFETY: as above.
            self.buffer = unsafe { self.list.as_ref() }?.FirstNetBuffer;
        }
        // SAFETY: a buffer of the list, which stays for `'a`.
        let buffer: &'a NET_BUFFER = unsafe { &*self.buffer };
        self.buffer = buffer.Next;
        Some(Packet { buffer, before_data: self.before_data })
    }
}

/// One packet.
#[derive(Clone, Copy)]
pub struct Packet<'a> {
    buffer: &'a NET_BUFFER,
    before_data: u32,
}

impl<'a> Packet<'a> {
    /// The length in bytes from the first header on, as the packet states it.
    ///
    /// # Errors
    ///
    /// [`Malformed::LengthOverflow`].
    #[inline]
    pub fn wire_length(&self) -> Result<u32, Malformed> {
        // SAFETY: both members of the union begin with these 32 bits.
        let data_length = unsafe { self.buffer.DataLength.DataLength };
        data_length.checked_add(self.before_data).ok_or(Malformed::LengthOverflow)
    }

    /// The bytes from the first header on. Where they are contiguous they are not copied, whatever their number. Where
    /// they are not, as many of them as `gather` holds are copied there; if that is not all of them, the packet is
    /// [truncated](Bytes::is_truncated).
    ///
    /// The whole chain is validated either way. Other processors and devices may write to the bytes of a packet while
    /// somebody looks at them: what depends on two looks being equal copies first.
    ///
    /// # Errors
    ///
    /// All of [`Malformed`] that concerns one packet.
    pub fn bytes<'g>(&self, gather: &'g mut [u8]) -> Result<Bytes<'g>, Malformed>
    where
        'a: 'g,
    {
        self.gathered(|_| gather)
    }

    /// As [`bytes`](Self::bytes), for the packets of a list that share a buffer: what has to be brought together is
    /// put at the start of `room`, at most `most` bytes of it, and `room` begins behind it afterwards.
    ///
    /// # Errors
    ///
    /// All of [`Malformed`] that concerns one packet. What it has taken of `room` is not given back.
    #[inline]
    pub fn bytes_sharing<'g>(&self, room: &mut &'g mut [u8], most: usize) -> Result<Bytes<'g>, Malformed>
    where
        'a: 'g,
    {
        self.gathered(|length| {
            let whole = mem::take(room);
            let wanted = most.min(whole.len()).min(length);
            let (own, rest) = whole.split_at_mut_checked(wanted).unwrap_or_default();
            *room = rest;
            own
        })
    }

    /// The bytes, brought together in what `room` gives for so many, which is asked only if they lie apart.
    #[inline]
    fn gathered<'g>(&self, room: impl FnOnce(usize) -> &'g mut [u8]) -> Result<Bytes<'g>, Malformed>
    where
        'a: 'g,
    {
        let wire_length = self.wire_length()?;
        let length = wire_length as usize;
        let mut chain = Chain::at(self.buffer, self.before_data)?;
        let mut part = chain.next_part(length)?;
        if part.length == length {
            return Ok(Bytes { data: part.bytes()?, wire_length });
        }
        let gather = room(length);
        let gather = if gather.len() > length { gather.get_mut(..length).unwrap_or_default() } else { gather };
        let mut rest = &mut *gather;
        let mut left = length;
        loop {
            let count = part.length.min(rest.len());
            if count > 0 {
                let (place, behind) = rest.split_at_mut_checked(count).unwrap_or_default();
                copy(place, part.bytes()?.get(..count).unwrap_or_default());
                rest = behind;
            }
            left = left.saturating_sub(part.length);
            if left == 0 {
                break;
            }
            part = chain.next_part(left)?;
        }
        Ok(Bytes { data: gather, wire_length })
    }
}

impl fmt::Debug for Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet").field("wire_length", &self.wire_length()).finish_non_exhaustive()
    }
}

/// Copies bytes to a place for as many. Most parts of packets are headers: too few bytes to call a function for.
#[inline(always)]
fn copy(to: &mut [u8], from: &[u8]) {
    let is_done = match to.len() {
        8..16 => copy_ends::<8>(to, from),
        16..32 => copy_ends::<16>(to, from),
        32..64 => copy_ends::<32>(to, from),
        64..=128 => copy_ends::<64>(to, from),
        _ => None,
    };
    if is_done.is_none() && to.len() == from.len() {
        to.copy_from_slice(from);
    }
}

/// Copies the first and the last `N` of at most twice as many bytes. `None` if there are not as many.
#[inline(always)]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) -> Option<()> {
    let (first, last) = (from.first_chunk::<N>()?, from.last_chunk::<N>()?);
    *to.first_chunk_mut()? = *first;
    *to.last_chunk_mut()? = *last;
    Some(())
}

/// The bytes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes<'g> {
    data: &'g [u8],
    wire_length: u32,
}

impl<'g> Bytes<'g> {
    /// From the first header on, as far as there was room.
    #[must_use]
    pub fn data(&self) -> &'g [u8] {
        self.data
    }

    /// How long the packet is, in bytes.
    #[must_use]
    pub fn wire_length(&self) -> u32 {
        self.wire_length
    }

    /// Whether there was no room for all of it.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.data.len() < self.wire_length as usize
    }
}

/// A walk along the MDLs of a packet.
struct Chain<'a> {
    mdl: Option<NonNull<MDL>>,
    /// Where in `mdl` the next byte lies.
    offset: usize,
    left: usize,
    lifetime: PhantomData<&'a MDL>,
}

impl<'a> Chain<'a> {
    /// At `before_data` bytes before the data of `buffer`.
    #[inline]
    fn at(buffer: &'a NET_BUFFER, before_data: u32) -> Result<Self, Malformed> {
        let data_offset = buffer.DataOffset;
        let offset =
            data_offset.checked_sub(before_data).ok_or(Malformed::HeaderOutsideChain { before_data, data_offset })?;
        Ok(Self { mdl: NonNull::new(buffer.MdlChain), offset: offset as usize, left: MAX_MDLS, lifetime: PhantomData })
    }

    /// The next part that is contiguous and not empty, of at most `wanted` bytes. Of none wanted, an empty one.
    #[inline]
    fn next_part(&mut self, wanted: usize) -> Result<Part<'a>, Malformed> {
        if wanted == 0 {
            return Ok(Part { mdl: None, offset: 0, length: 0, lifetime: PhantomData });
        }
        loop {
            let missing = u32::try_from(wanted).unwrap_or(u32::MAX);
            let mdl = self.mdl.ok_or(Malformed::ChainTooShort { missing })?;
            self.left = self.left.checked_sub(1).ok_or(Malformed::TooManyMdls)?;
            // SAFETY: the chain stays for `'a`, as the maker of the packets promised, and this is an MDL of it.
            let MDL { Next: next, ByteCount: count, .. } = unsafe { mdl.read() };
            self.mdl = NonNull::new(next);
            let offset = self.offset;
            let available = (count as usize).saturating_sub(offset);
            self.offset = offset.saturating_sub(count as usize);
            if available > 0 {
                return Ok(Part { mdl: Some(mdl), offset, length: available.min(wanted), lifetime: PhantomData });
            }
        }
    }
}

/// Bytes that lie together in one MDL.
struct Part<'a> {
    mdl: Option<NonNull<MDL>>,
    offset: usize,
    length: usize,
    lifetime: PhantomData<&'a [u8]>,
}

impl<'a> Part<'a> {
    #[inline]
    fn bytes(&self) -> Result<&'a [u8], Malformed> {
        let Some(mdl) = self.mdl else { return Ok(&[]) };
        let base = address(mdl).ok_or(Malformed::NotMapped)?;
        // SAFETY: the part lies within the `ByteCount` bytes that the MDL describes and that are mapped at `base`.
        let start = unsafe { base.add(self.offset) };
        // SAFETY: as above, and the pages stay for `'a`.
        Ok(unsafe { slice::from_raw_parts(start.as_ptr(), self.length) })
    }
}

/// Where the bytes of an MDL are, mapped if they were not: what `MmGetSystemAddressForMdlSafe` does. No pool is
/// allocated for that, and the mapping belongs to the MDL, whose owner takes it away.
#[inline]
fn address(mdl: NonNull<MDL>) -> Option<NonNull<u8>> {
    let mdl = mdl.as_ptr();
    // SAFETY: the MDL stays, as the maker of the packets promised.
    let flags = unsafe { (*mdl).MdlFlags };
    let mapped = if flags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) != 0 {
        // SAFETY: as above.
        unsafe { (*mdl).MappedSystemVa }
    } else {
        // SAFETY: its pages are locked, as those of all MDLs of a packet are; mapping them is allowed to whoever has
        // the packet, at up to DISPATCH_LEVEL.
        unsafe { MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, ptr::null_mut(), 0, LOW_PRIORITY_NO_EXECUTE) }
    };
    NonNull::new(mapped.cast())
}
