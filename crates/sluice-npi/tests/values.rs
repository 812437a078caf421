//! The values of the contract that are more than a list: link types that are known, bits that are set.

use sluice_npi::{Flow, flags, link_type};

#[test]
fn the_link_types_with_names_are_known_and_no_others() {
    let named = link_type::NAMES.map(|(number, _)| number);
    let known: Vec<u16> = (0..=u16::MAX).filter(|&number| link_type::is_known(number)).collect();
    assert_eq!(known, named, "in order");
}

#[test]
fn a_flow_has_bits_if_it_has_all_of_them() {
    let flow = Flow { flags: flags::PORTS | flags::QUIC, ..Flow::default() };
    for (bits, expected) in [
        (flags::PORTS, true),
        (flags::QUIC, true),
        (flags::PORTS | flags::QUIC, true),
        (flags::DNS, false),
        (flags::PORTS | flags::DNS, false),
    ] {
        assert_eq!(flow.has(bits), expected, "{bits:#x}");
    }
}

#[test]
fn every_flag_is_a_bit_of_its_own() {
    let all = [
        flags::ADDRESSES,
        flags::PROTOCOL,
        flags::PORTS,
        flags::ICMP,
        flags::TCP_FLAGS,
        flags::FRAGMENT,
        flags::LATER_FRAGMENT,
        flags::TRUNCATED,
        flags::MALFORMED,
        flags::MACSEC,
        flags::MPLS,
        flags::QUIC,
        flags::DNS,
        flags::ETHER_TYPE,
        flags::NAME_MISSING,
        flags::ECH,
        flags::NAME_ASSEMBLED,
        flags::NAME_PENDING,
        flags::INNER,
        flags::TUNNEL,
        flags::TUNNEL_UNREAD,
        flags::ANSWER,
        flags::ANSWER_UNREAD,
        flags::UNDECIDED,
    ];
    for (bit, flag) in all.into_iter().enumerate() {
        assert_eq!(flag.trailing_zeros() as usize, bit);
        assert_eq!(flag.count_ones(), 1);
    }
}
