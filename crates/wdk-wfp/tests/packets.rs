//! Packet views over MDL chains: cut at every byte, and everything that can be wrong with one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use wdk_wfp::{Bytes, GatherBuffers, MAX_MDLS, Malformed, Packets, Scratch};
use wfp_engine::{PacketList, Piece, set_mapping_fails, set_processor};

/// Bytes of which no two neighbours are equal.
fn sample(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

fn pieces(bytes: &[u8], cuts: &[usize]) -> Vec<Piece> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain(std::iter::once(bytes.len()));
    starts.zip(ends).map(|(start, end)| Piece::mapped(&bytes[start..end])).collect()
}

/// The first packet of a list, from `before_data` bytes before its data on.
fn look(list: &PacketList, before_data: u32, gather: &mut [u8]) -> Result<(Vec<u8>, u32, bool), Malformed> {
    // SAFETY: the list lives for the call, and nobody else knows it.
    let packet = unsafe { Packets::new(list.as_ptr(), before_data) }?.next().expect("there is a packet");
    let bytes: Bytes<'_> = packet.bytes(gather)?;
    Ok((bytes.data().to_vec(), bytes.wire_length(), bytes.is_truncated()))
}

#[test]
fn a_chain_that_is_cut_at_every_byte_has_the_same_bytes() {
    const HEADER: u32 = 20;
    let bytes = sample(64);
    for offset in 0..=bytes.len() as u32 - HEADER {
        for cut in 0..=bytes.len() {
            for second in cut..=bytes.len() {
                let list = PacketList::of(&pieces(&bytes, &[cut, second]), offset + HEADER);
                let seen = look(&list, HEADER, &mut [0; 64]).unwrap();
                let expected = &bytes[offset as usize..];
                assert_eq!(seen, (expected.to_vec(), expected.len() as u32, false), "{offset}, {cut}, {second}");
            }
        }
    }
}

#[test]
fn every_byte_in_an_mdl_of_its_own() {
    let bytes = sample(1000);
    let cuts: Vec<usize> = (1..1000).collect();
    let list = PacketList::of(&pieces(&bytes, &cuts), 14);
    assert_eq!(look(&list, 14, &mut [0; 1000]), Ok((bytes, 1000, false)));
}

#[test]
fn bytes_that_lie_together_are_not_copied() {
    let bytes = sample(2000);
    let list = PacketList::of(&[Piece::mapped(&bytes[..1]), Piece::mapped(&bytes[1..])], 1);
    // SAFETY: the list lives for the test, and nobody else knows it.
    let packet = unsafe { Packets::new(list.as_ptr(), 0) }.unwrap().next().unwrap();
    // More than there is room for, and still all of it.
    let mut gather = [0; 8];
    let seen = packet.bytes(&mut gather).unwrap();
    assert_eq!((seen.data(), seen.is_truncated()), (&bytes[1..], false));
    assert_eq!(gather, [0; 8]);
}

#[test]
fn what_there_is_no_room_for_is_truncated_and_the_wire_length_stays() {
    let bytes = sample(100);
    let list = PacketList::of(&pieces(&bytes, &[30, 60]), 0);
    for room in 0..100 {
        assert_eq!(look(&list, 0, &mut vec![0; room]), Ok((bytes[..room].to_vec(), 100, true)));
    }
    assert_eq!(look(&list, 0, &mut [0; 100]), Ok((bytes, 100, false)));
}

#[test]
fn an_mdl_that_is_not_mapped_is_mapped_and_one_that_cannot_be_is_malformed() {
    let bytes = sample(40);
    let mut pieces = pieces(&bytes, &[10, 20]);
    pieces[1].is_mapped = false;
    let list = PacketList::of(&pieces, 0);
    set_mapping_fails(true);
    assert_eq!(look(&list, 0, &mut [0; 40]), Err(Malformed::NotMapped));
    // Bytes that nobody needs are not mapped.
    assert_eq!(look(&list, 0, &mut [0; 10]), Ok((bytes[..10].to_vec(), 40, true)));
    set_mapping_fails(false);
    assert_eq!(look(&list, 0, &mut [0; 40]), Ok((bytes, 40, false)));
}

#[test]
fn empty_mdls_are_passed_over() {
    let bytes = sample(8);
    let empty = Piece::mapped(&[]);
    let list = PacketList::of(
        &[empty.clone(), Piece::mapped(&bytes[..4]), empty.clone(), empty.clone(), Piece::mapped(&bytes[4..]), empty],
        4,
    );
    assert_eq!(look(&list, 4, &mut [0; 8]), Ok((bytes.clone(), 8, false)));
    assert_eq!(look(&list, 0, &mut [0; 8]), Ok((bytes[4..].to_vec(), 4, false)));
}

#[test]
fn a_chain_that_is_shorter_than_it_says_is_malformed() {
    let bytes = sample(10);
    for cut in 0..=10 {
        let mut list = PacketList::new();
        list.add_packet(&pieces(&bytes, &[cut]), 2, 9);
        assert_eq!(look(&list, 0, &mut [0; 64]), Err(Malformed::ChainTooShort { missing: 1 }), "{cut}");
        // Also where nobody would have looked that far.
        assert_eq!(look(&list, 0, &mut []), Err(Malformed::ChainTooShort { missing: 1 }), "{cut}");
    }
    let mut list = PacketList::new();
    list.add_packet(&[], 0, 1);
    assert_eq!(look(&list, 0, &mut [0; 64]), Err(Malformed::ChainTooShort { missing: 1 }));
    let mut list = PacketList::new();
    list.add_packet(&[Piece::mapped(&bytes)], 4000, 1);
    assert_eq!(look(&list, 0, &mut [0; 64]), Err(Malformed::ChainTooShort { missing: 1 }), "offset beyond the chain");
}

#[test]
fn lengths_and_offsets_that_contradict_each_other_are_malformed() {
    let bytes = sample(10);
    let list = PacketList::of(&[Piece::mapped(&bytes)], 4);
    let outside = Malformed::HeaderOutsideChain { before_data: 5, data_offset: 4 };
    assert_eq!(look(&list, 5, &mut [0; 64]), Err(outside));
    let mut list = PacketList::new();
    list.add_packet(&[Piece::mapped(&bytes)], 4, u32::MAX);
    assert_eq!(look(&list, 1, &mut [0; 64]), Err(Malformed::LengthOverflow));
    assert_eq!(look(&list, 0, &mut [0; 64]), Err(Malformed::ChainTooShort { missing: u32::MAX - 6 }));
}

#[test]
fn a_chain_without_an_end_is_malformed() {
    let mut list = PacketList::new();
    list.add_packet(&[Piece::mapped(&[]), Piece::mapped(&[])], 0, 1);
    list.close_the_chain();
    assert_eq!(look(&list, 0, &mut [0; 8]), Err(Malformed::TooManyMdls));
    let mut list = PacketList::new();
    list.add_packet(&[Piece::mapped(&[1])], 0, MAX_MDLS as u32 + 1);
    list.close_the_chain();
    assert_eq!(look(&list, 0, &mut [0; 8]), Err(Malformed::TooManyMdls));
}

#[test]
fn a_packet_without_bytes_has_none() {
    let mut list = PacketList::new();
    list.add_packet(&[], 0, 0);
    assert_eq!(look(&list, 0, &mut [0; 8]), Ok((Vec::new(), 0, false)));
}

#[test]
fn all_packets_of_all_lists_are_seen_and_lists_without_any_are_passed_over() {
    // SAFETY: NULL is allowed.
    assert_eq!(unsafe { Packets::new(std::ptr::null(), 0) }.err(), Some(Malformed::NoList));
    let mut list = PacketList::new();
    list.add_list();
    // SAFETY: the list lives for the call.
    assert_eq!(unsafe { Packets::new(list.as_ptr(), 0) }.err(), Some(Malformed::NoBuffers));
    list.add_packet(&[Piece::mapped(&[1])], 0, 1);
    list.add_packet(&[Piece::mapped(&[2])], 0, 1);
    list.add_list();
    list.add_list();
    list.add_packet(&[Piece::mapped(&[3])], 0, 1);
    list.add_list();
    // SAFETY: the list lives for the test, and nobody else knows it.
    let packets = unsafe { Packets::new(list.as_ptr(), 0) }.unwrap();
    let seen: Vec<u8> = packets.map(|packet| packet.bytes(&mut []).unwrap().data()[0]).collect();
    assert_eq!(seen, [1, 2, 3]);
}

#[test]
fn packets_of_a_list_share_a_buffer_and_take_of_it_what_they_need() {
    let mut list = PacketList::new();
    let apart = |bytes: &[u8]| [Piece::mapped(&bytes[..1]), Piece::mapped(&bytes[1..])];
    list.add_packet(&apart(&[1, 2, 3]), 0, 3);
    list.add_packet(&[Piece::mapped(&[4; 50])], 0, 50);
    list.add_packet(&apart(&[5; 9]), 0, 9);
    list.add_packet(&apart(&[6; 9]), 0, 9);
    // SAFETY: the list lives for the test, and nobody else knows it.
    let packets = unsafe { Packets::new(list.as_ptr(), 0) }.unwrap();
    let mut buffer = [0; 12];
    let mut room = &mut buffer[..];
    let seen: Vec<_> = packets
        .map(|packet| {
            let bytes = packet.bytes_sharing(&mut room, 4).unwrap();
            (bytes.data(), bytes.wire_length())
        })
        .collect();
    assert_eq!(seen, [(&[1, 2, 3][..], 3), (&[4; 50], 50), (&[5; 4], 9), (&[6; 4], 9)]);
    assert_eq!(room.len(), 12 - 3 - 4 - 4);
}

#[test]
fn scratch_that_cannot_be_made_is_none() {
    let mut made = 0;
    let count = |most| {
        made = 0;
        Scratch::of(3, || (made < most).then(|| made += 1)).is_some()
    };
    assert_eq!([3, 2].map(count), [true, false]);
}

#[test]
fn buffers_are_borrowed_once_and_none_is_waited_for() {
    let buffers = GatherBuffers::new(3, 16).unwrap();
    assert_eq!(buffers.count(), 3);
    set_processor(1);
    let mut own = buffers.take().unwrap();
    own.fill(1);
    let own_address = own.as_ptr();
    assert_eq!(own.index(), 1);
    let (second, third) = (buffers.take().unwrap(), buffers.take().unwrap());
    assert!(buffers.take().is_none(), "all are borrowed");
    assert_eq!((second.index(), third.index()), (2, 0));
    assert!(second.iter().chain(third.iter()).all(|byte| *byte == 0));
    drop(own);
    assert_eq!(buffers.take().unwrap().as_ptr(), own_address);
    // A buffer is given back whatever happens to its borrower.
    drop((second, third));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _borrowed = [buffers.take(), buffers.take(), buffers.take()];
        panic!("in the middle of a classification");
    }));
    assert!(panicked.is_err() && buffers.take().is_some());
    set_processor(u32::MAX);
    assert!(buffers.take().is_some());
    assert!(GatherBuffers::new(0, 16).is_none());
    assert!(GatherBuffers::new(1, usize::MAX).is_none());
}

proptest! {
    #[test]
    fn any_chain_has_the_bytes_that_were_put_in(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
        (offset, before_data) in (0_u32..320, 0_u32..64),
        length in 0_u32..320,
        room in 0_usize..320,
    ) {
        let mut list = PacketList::new();
        list.add_packet(&pieces(&bytes, &cuts), offset, length);
        let seen = look(&list, before_data, &mut vec![0; room]);
        let Some(start) = offset.checked_sub(before_data) else {
            prop_assert_eq!(seen, Err(Malformed::HeaderOutsideChain { before_data, data_offset: offset }));
            return Ok(());
        };
        let wire_length = before_data + length;
        let (start, end) = (start as usize, (start + wire_length) as usize);
        if end > bytes.len() && wire_length > 0 {
            let missing = (end - bytes.len().max(start)) as u32;
            prop_assert_eq!(seen, Err(Malformed::ChainTooShort { missing }));
            return Ok(());
        }
        let whole = if wire_length == 0 { &[][..] } else { &bytes[start..end] };
        let (data, said, is_truncated) = seen.unwrap();
        prop_assert_eq!(said, wire_length);
        prop_assert_eq!(is_truncated, data.len() < whole.len());
        prop_assert!(data.len() >= whole.len().min(room));
        prop_assert_eq!(&data[..], &whole[..data.len()]);
    }
}
