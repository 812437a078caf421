//! How a structure lies in a buffer: its fields in order, little-endian, without padding, at any alignment.
//!
//! That is how the `repr(C)` structures lie in memory, too; [`wire!`](self) proves it for each when it compiles. They
//! are read and written field by field nevertheless, which needs no `unsafe` and no aligned buffer.

use sluice_npi::{Flow, Header, MAX_VLANS, Statistics, Verdict};

/// A value that can be read from and written to a buffer.
pub trait Wire: Sized {
    /// How many bytes it takes.
    const SIZE: usize;

    /// Takes the value from the start of `bytes`; `None` if they are too few.
    fn read(bytes: &mut &[u8]) -> Option<Self>;

    /// Writes the value to the start of `bytes`, which then begin behind it; `None` if they are too few.
    fn write(&self, bytes: &mut &mut [u8]) -> Option<()>;
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Wire for $type {
            const SIZE: usize = size_of::<$type>();

            fn read(bytes: &mut &[u8]) -> Option<Self> {
                let (value, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some(<$type>::from_le_bytes(*value))
            }

            fn write(&self, bytes: &mut &mut [u8]) -> Option<()> {
                let (place, rest) = core::mem::take(bytes).split_first_chunk_mut()?;
                *place = self.to_le_bytes();
                *bytes = rest;
                Some(())
            }
        }
    )*};
}

integers!(u8 u16 u32 u64);

impl<T: Wire + Copy + Default, const N: usize> Wire for [T; N] {
    const SIZE: usize = T::SIZE.saturating_mul(N);

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let mut values = [T::default(); N];
        for value in &mut values {
            *value = T::read(bytes)?;
        }
        Some(values)
    }

    fn write(&self, bytes: &mut &mut [u8]) -> Option<()> {
        self.iter().try_for_each(|value| value.write(bytes))
    }
}

/// Implements [`Wire`] for a `repr(C)` structure, of which all fields are listed in their order.
macro_rules! wire {
    ($type:ident { $($field:ident: $of:ty),* $(,)? }) => {
        impl $crate::wire::Wire for $type {
            const SIZE: usize = size_of::<$type>();

            fn read(bytes: &mut &[u8]) -> Option<Self> {
                Some(Self { $($field: <$of as $crate::wire::Wire>::read(bytes)?),* })
            }

            fn write(&self, bytes: &mut &mut [u8]) -> Option<()> {
                $(<$of as $crate::wire::Wire>::write(&self.$field, bytes)?;)*
                Some(())
            }
        }

        // In memory as on the wire: each field begins where the one before it ends, and the last one ends the
        // structure.
        const _: () = {
            let mut offset = 0_usize;
            $(
                assert!(core::mem::offset_of!($type, $field) == offset);
                offset = offset.saturating_add(<$of as $crate::wire::Wire>::SIZE);
            )*
            assert!(offset == size_of::<$type>());
        };
    };
}
pub(crate) use wire;

wire!(Header { version: u16, size: u16 });

wire!(Statistics {
    header: Header,
    reserved: u32,
    packets: u64,
    permitted: u64,
    blocked: u64,
    malformed: u64,
    truncated: u64,
    rejected_calls: u64,
});

wire!(Verdict { header: Header, action: u16, reserved: [u16; 3], rule_id: u32, generation: u64, flow: Flow });

wire!(Flow {
    flags: u32,
    ip_version: u8,
    protocol: u8,
    icmp_type: u8,
    icmp_code: u8,
    tcp_flags: u8,
    vlan_count: u8,
    ether_type: u16,
    source_port: u16,
    destination_port: u16,
    network_offset: u32,
    transport_offset: u32,
    payload_offset: u32,
    payload_length: u32,
    source_address: [u8; 16],
    destination_address: [u8; 16],
    vlan_ids: [u16; MAX_VLANS],
    dns_type: u16,
    name_kind: u8,
    reserved: [u8; 3],
    name_length: u16,
    name_offset: u32,
    quic_version: u32,
});
