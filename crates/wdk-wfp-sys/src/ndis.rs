//! Packets as NDIS passes them around: a list of buffers, each a chain of MDLs.

use core::ffi::c_void;

use crate::{MDL, NTSTATUS};

/// The MDL's pages are mapped at `MappedSystemVa`.
/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/using-mdls>
pub const MDL_MAPPED_TO_SYSTEM_VA: i16 = 0x0001;
/// The MDL describes non-paged pool, and `MappedSystemVa` is its address.
pub const MDL_SOURCE_IS_NONPAGED_POOL: i16 = 0x0004;

/// The data of one packet: `DataLength` bytes from `DataOffset` in the chain at `MdlChain`. What lies before the offset
/// is room that headers were taken off from.
/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/nbl/ns-nbl-net_buffer>
#[repr(C, align(16))]
#[derive(Clone, Copy)]
pub struct NET_BUFFER {
    /// The next of the list, or NULL.
    pub Next: *mut NET_BUFFER,
    /// The MDL of the chain in which the data begins.
    pub CurrentMdl: *mut MDL,
    /// Where in it.
    pub CurrentMdlOffset: u32,
    /// The length of the data in bytes.
    pub DataLength: NET_BUFFER_DATA_LENGTH,
    /// The first MDL.
    pub MdlChain: *mut MDL,
    /// Where in the chain the data begins, in bytes.
    pub DataOffset: u32,
    /// What makes the members up to here, in C one of a union with an `SLIST_HEADER`, end on its alignment.
    pub HeaderPadding: u32,
    /// Used when a checksum is calculated in software.
    pub ChecksumBias: u16,
    /// NDIS's own.
    pub Reserved: u16,
    /// The pool that it came from.
    pub NdisPoolHandle: *mut c_void,
    /// NDIS's own, aligned as memory of the pool is.
    pub NdisReserved: Aligned<[*mut c_void; 2]>,
    /// The protocol driver's own.
    pub ProtocolReserved: [*mut c_void; 6],
    /// The miniport driver's own.
    pub MiniportReserved: [*mut c_void; 4],
    /// The physical address of the data.
    pub DataPhysicalAddress: u64,
    /// Shared memory, or a scatter-gather list.
    pub SharedMemoryInfo: *mut c_void,
}

/// `DataLength` of a [`NET_BUFFER`], by both of its names.
#[repr(C)]
#[derive(Clone, Copy)]
pub union NET_BUFFER_DATA_LENGTH {
    /// What drivers use.
    pub DataLength: u32,
    /// What makes it as long as a pointer.
    pub stDataLength: usize,
}

/// Packets that belong together.
/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/nbl/ns-nbl-net_buffer_list>
///
/// How many entries `NetBufferListInfo` has depends on the version of NDIS, so they are not declared: lists are made by
/// NDIS and read through pointers.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
pub struct NET_BUFFER_LIST {
    /// The next list, or NULL.
    pub Next: *mut NET_BUFFER_LIST,
    /// The first packet.
    pub FirstNetBuffer: *mut NET_BUFFER,
    /// Data of drivers.
    pub Context: *mut c_void,
    /// The list that this one was cloned from.
    pub ParentNetBufferList: *mut NET_BUFFER_LIST,
    /// The pool that it came from.
    pub NdisPoolHandle: *mut c_void,
    /// NDIS's own, aligned as memory of the pool is.
    pub NdisReserved: Aligned<[*mut c_void; 2]>,
    /// The protocol driver's own.
    pub ProtocolReserved: [*mut c_void; 4],
    /// The miniport driver's own.
    pub MiniportReserved: [*mut c_void; 2],
    /// The owner's own.
    pub Scratch: *mut c_void,
    /// Who made it.
    pub SourceHandle: *mut c_void,
    /// Flags for all drivers.
    pub NblFlags: u32,
    /// How many lists were cloned from it.
    pub ChildRefCount: i32,
    /// Flags of NDIS.
    pub Flags: u32,
    /// How sending it ended.
    pub Status: NTSTATUS,
}

/// Aligned to 16 bytes, which is `MEMORY_ALLOCATION_ALIGNMENT` of 64-bit Windows.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug)]
pub struct Aligned<T>(pub T);
