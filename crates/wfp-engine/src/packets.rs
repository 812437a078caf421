//! Packets as NDIS would make them, cut into MDLs at will.

use std::ptr;

use wdk_wfp_sys::{Aligned, MDL, MDL_MAPPED_TO_SYSTEM_VA, NET_BUFFER, NET_BUFFER_DATA_LENGTH, NET_BUFFER_LIST};

/// Pages that are not mapped are locked: those of all MDLs of a packet are.
const MDL_PAGES_LOCKED: i16 = 2;

/// What one MDL describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether they are mapped.
    pub is_mapped: bool,
}

impl Piece {
    /// Bytes that are mapped.
    #[must_use]
    pub fn mapped(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), is_mapped: true }
    }
}

/// Lists of packets in memory that stays where it is as long as this does.
pub struct PacketList {
    lists: Vec<*mut NET_BUFFER_LIST>,
    buffers: Vec<*mut NET_BUFFER>,
    mdls: Vec<*mut MDL>,
    bytes: Vec<*mut [u8]>,
}

impl Default for PacketList {
    fn default() -> Self {
        Self::new()
    }
}

impl PacketList {
    /// One list without packets.
    #[must_use]
    pub fn new() -> Self {
        let mut made = Self { lists: Vec::new(), buffers: Vec::new(), mdls: Vec::new(), bytes: Vec::new() };
        made.add_list();
        made
    }

    /// One list with one packet: `pieces`, of which the data begin at `data_offset` and reach to the end.
    #[must_use]
    pub fn of(pieces: &[Piece], data_offset: u32) -> Self {
        let mut made = Self::new();
        let all: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
        let length = u32::try_from(all).expect("a test packet is small").saturating_sub(data_offset);
        made.add_packet(pieces, data_offset, length);
        made
    }

    /// Chains one more list to the others; what is added from here on is added to that.
    pub fn add_list(&mut self) {
        let list = Box::into_raw(Box::new(NET_BUFFER_LIST {
            Next: ptr::null_mut(),
            FirstNetBuffer: ptr::null_mut(),
            Context: ptr::null_mut(),
            ParentNetBufferList: ptr::null_mut(),
            NdisPoolHandle: ptr::null_mut(),
            NdisReserved: Aligned([ptr::null_mut(); 2]),
            ProtocolReserved: [ptr::null_mut(); 4],
            MiniportReserved: [ptr::null_mut(); 2],
            Scratch: ptr::null_mut(),
            SourceHandle: ptr::null_mut(),
            NblFlags: 0,
            ChildRefCount: 0,
            Flags: 0,
            Status: 0,
        }));
        if let Some(last) = self.lists.last() {
            // SAFETY: ours, and nobody looks at it meanwhile.
            unsafe { (**last).Next = list };
        }
        self.lists.push(list);
    }

    /// Adds a packet whose data are said to be `data_length` bytes from `data_offset` on, whatever `pieces` have.
    pub fn add_packet(&mut self, pieces: &[Piece], data_offset: u32, data_length: u32) {
        let mut chain: *mut MDL = ptr::null_mut();
        for piece in pieces.iter().rev() {
            let bytes: *mut [u8] = Box::into_raw(piece.bytes.clone().into());
            let start: *mut u8 = bytes.cast();
            self.bytes.push(bytes);
            chain = Box::into_raw(Box::new(MDL {
                Next: chain,
                Size: 48,
                MdlFlags: if piece.is_mapped { MDL_MAPPED_TO_SYSTEM_VA } else { MDL_PAGES_LOCKED },
                Process: ptr::null_mut(),
                MappedSystemVa: if piece.is_mapped { start.cast() } else { ptr::null_mut() },
                StartVa: start.cast(),
                ByteCount: u32::try_from(piece.bytes.len()).expect("a test packet is small"),
                ByteOffset: 0,
            }));
            self.mdls.push(chain);
        }
        let buffer = Box::into_raw(Box::new(NET_BUFFER {
            Next: ptr::null_mut(),
            CurrentMdl: chain,
            CurrentMdlOffset: data_offset,
            DataLength: NET_BUFFER_DATA_LENGTH { stDataLength: data_length as usize },
            MdlChain: chain,
            DataOffset: data_offset,
            HeaderPadding: 0,
            ChecksumBias: 0,
            Reserved: 0,
            NdisPoolHandle: ptr::null_mut(),
            NdisReserved: Aligned([ptr::null_mut(); 2]),
            ProtocolReserved: [ptr::null_mut(); 6],
            MiniportReserved: [ptr::null_mut(); 4],
            DataPhysicalAddress: 0,
            SharedMemoryInfo: ptr::null_mut(),
        }));
        let list = *self.lists.last().expect("there is always one");
        // SAFETY: ours, and nobody looks at it meanwhile.
        let list = unsafe { &mut *list };
        if list.FirstNetBuffer.is_null() {
            list.FirstNetBuffer = buffer;
        } else {
            let last = *self.buffers.last().expect("the list has one");
            // SAFETY: as above.
            unsafe { (*last).Next = buffer };
        }
        self.buffers.push(buffer);
    }

    /// Has the chain of the last packet lead back to its beginning.
    pub fn close_the_chain(&mut self) {
        let buffer = *self.buffers.last().expect("a packet was added");
        // SAFETY: ours.
        let first = unsafe { (*buffer).MdlChain };
        let mut last = first;
        loop {
            // SAFETY: an MDL of the chain.
            let next = unsafe { (*last).Next };
            if next.is_null() {
                break;
            }
            last = next;
        }
        // SAFETY: ours, and nobody looks at it meanwhile.
        unsafe { (*last).Next = first };
    }

    /// Has the packets of the last list lead back to their beginning.
    pub fn close_the_list(&mut self) {
        let list = *self.lists.last().expect("there is always one");
        // SAFETY: ours.
        let first = unsafe { (*list).FirstNetBuffer };
        let last = *self.buffers.last().expect("a packet was added");
        // SAFETY: ours, and nobody looks at it meanwhile.
        unsafe { (*last).Next = first };
    }

    /// The first list, as a layer indicates it.
    #[must_use]
    pub fn as_ptr(&self) -> *mut NET_BUFFER_LIST {
        *self.lists.first().expect("there is always one")
    }
}

impl Drop for PacketList {
    fn drop(&mut self) {
        fn free<T: ?Sized>(places: &mut Vec<*mut T>) {
            for place in places.drain(..) {
                // SAFETY: from `Box::into_raw`, once.
                drop(unsafe { Box::from_raw(place) });
            }
        }
        free(&mut self.lists);
        free(&mut self.buffers);
        free(&mut self.mdls);
        free(&mut self.bytes);
    }
}

/// What a callout must leave as it is (W13): the positions of the data of every packet of a list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(Vec<(usize, u32, usize, u32, usize)>);

impl Fingerprint {
    pub(crate) fn of(list: *const NET_BUFFER_LIST) -> Self {
        let mut positions = Vec::new();
        // SAFETY: a list of a `PacketList` or NULL, as whoever indicates it said.
        let mut next_list = unsafe { list.as_ref() };
        while let Some(list) = next_list {
            // SAFETY: a packet of that list or NULL.
            let mut next = unsafe { list.FirstNetBuffer.as_ref() };
            // Of a list that leads back into itself as many as show a change.
            while let Some(buffer) = next.filter(|_| positions.len() < 1 << 10) {
                // SAFETY: all of the union was written.
                let length = unsafe { buffer.DataLength.stDataLength };
                let chain = buffer.MdlChain.addr();
                positions.push((chain, buffer.DataOffset, buffer.CurrentMdl.addr(), buffer.CurrentMdlOffset, length));
                // SAFETY: as above.
                next = unsafe { buffer.Next.as_ref() };
            }
            // SAFETY: as above.
            next_list = unsafe { list.Next.as_ref() };
        }
        Self(positions)
    }
}
