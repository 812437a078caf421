//! `sluicectl classify --offline` on whole, odd and damaged captures.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::documentation::assert_documented;
use crate::support::*;

const RAW: u32 = 101;
const ETHERNET: u32 = 1;

const POLICY: &str = "
[[rule]]
id = 10
action = 'block'
protocol = 'udp'
destination_port = 53
[[rule]]
id = 20
action = 'block'
direction = 'inbound'
";

#[test]
fn every_packet_is_an_object_with_all_keys() {
    let folder = Folder::new();
    let dns = udp([192, 0, 2, 53], 53, DNS_QUESTION);
    let mut tagged = [&[0; 12][..], &[0x81, 0x00, 0x00, 0x2A, 0x08, 0x00]].concat();
    tagged.extend(udp([192, 0, 2, 2], 80, b"x"));
    let arp = [&[0; 12][..], &[0x08, 0x06], &[0; 28]].concat();
    let untagged = [&[0; 12][..], &[0x08, 0x00], &dns].concat();
    let capture = folder.file("a.pcap", pcap(ETHERNET, &[&untagged, &tagged, &arp]));
    let policy = folder.file("p.toml", POLICY);
    let run = sluicectl(["classify", "--offline", &capture, "--policy", &policy, "--json"]);
    run.done();
    run.json().iter().for_each(|packet| assert_documented("classify", packet));
    let nothing = json!({"number": 0, "time": "1970-01-01T00:00:00Z", "direction": null, "action": "permit",
        "rule": null, "header": "outer", "ether_type": null, "vlan": null, "protocol": null, "source": null,
        "destination": null,
        "source_port": null, "destination_port": null, "icmp_type": null, "icmp_code": null, "tcp_flags": null,
        "name": null, "answer_names": null, "answer": null, "name_kind": null, "name_missing": false,
        "name_pending": false, "ech": false,
        "quic_version": null, "fragment": null, "tunnel": null, "truncated": false, "malformed": false,
        "network_offset": null, "transport_offset": null, "payload_offset": null, "payload_length": null,
        "name_offset": null, "inner": null});
    let with = |members: Value| {
        let mut record = nothing.clone();
        record.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        record
    };
    assert_eq!(
        run.json(),
        [
            with(json!({"number": 1, "action": "block", "rule": 10, "ether_type": 0x0800, "protocol": 17,
                "source": "192.0.2.1", "destination": "192.0.2.53", "source_port": 1000, "destination_port": 53,
                "name": "www.example.com", "name_kind": "dns", "network_offset": 14, "transport_offset": 34,
                "payload_offset": 42, "payload_length": 33, "name_offset": 54})),
            with(json!({"number": 2, "ether_type": 0x0800, "protocol": 17, "source": "192.0.2.1",
                "destination": "192.0.2.2", "source_port": 1000, "destination_port": 80, "vlan": 42,
                "network_offset": 18, "transport_offset": 38, "payload_offset": 46, "payload_length": 1})),
            with(json!({"number": 3, "ether_type": 0x0806})),
        ]
    );
}

/// The records of a capture of two packets.
fn two_packets(capture: &str, policy: &str) -> [Value; 2] {
    let run = sluicectl(["classify", "--offline", capture, "--policy", policy, "--json"]);
    run.done();
    let packets = run.json();
    packets.iter().for_each(|packet| assert_documented("classify", packet));
    packets.try_into().expect("two packets")
}

#[test]
fn the_packet_in_a_tunnel_is_shown_and_judged_by_rules_on_the_inner_header() {
    let folder = Folder::new();
    let question = [&[0; 12][..], &[0x08, 0x00], &udp([192, 0, 2, 53], 53, DNS_QUESTION)].concat();
    let vxlan = |first: u8| udp([198, 51, 100, 1], 4789, &[&[first, 0, 0, 0, 0, 0, 42, 0], &question[..]].concat());
    let capture = folder.file("t.pcap", pcap(RAW, &[&vxlan(8), &vxlan(0)]));
    let policy = "
[[rule]]
id = 10
action = 'block'
inner = true
name = 'example.com'
[[rule]]
id = 20
action = 'block'
tunnel = 'unread'
";
    let policy = folder.file("p.toml", policy);
    let [read, unread] = &two_packets(&capture, &policy);
    assert_eq!((&read["rule"], &read["tunnel"], &read["name"]), (&json!(10), &json!("read"), &Value::Null));
    let inner = &read["inner"];
    assert_eq!((&inner["header"], &inner["name"]), (&json!("inner"), &json!("www.example.com")));
    assert_eq!((&inner["destination"], &inner["destination_port"]), (&json!("192.0.2.53"), &json!(53)));
    assert_eq!((&unread["rule"], &unread["tunnel"], &unread["inner"]), (&json!(20), &json!("unread"), &Value::Null));
    let run = sluicectl(["policy", "test", &policy, "--capture", &capture, "--packet", "1"]);
    run.done();
    assert!(
        run.stdout.contains("inner = true: met") && run.stdout.contains("name = 'example.com': met"),
        "{}",
        run.stdout
    );
}

#[test]
fn the_names_in_answers_are_shown_and_judged() {
    let folder = Folder::new();
    // The answer to a question for www.example.com: an alias of cdn.exam.net. Whole, and with its end cut off.
    let mut answer = [DNS_QUESTION, b"\xC0\x0C\0\x05\0\x01\0\0\0\x3C\0\x0E\x03cdn\x04exam\x03net\0"].concat();
    (answer[2], answer[7]) = (0x81, 1);
    let cut = udp([192, 0, 2, 53], 53, &answer[..answer.len() - 3]);
    let capture = folder.file("a.pcap", pcap(RAW, &[&udp([192, 0, 2, 53], 53, &answer), &cut]));
    let policy = "
[[rule]]
id = 10
action = 'block'
answer_name = 'exam.net'
[[rule]]
id = 20
action = 'block'
answer = 'unread'
";
    let policy = folder.file("p.toml", policy);
    let [read, unread] = &two_packets(&capture, &policy);
    assert_eq!((&read["rule"], &read["answer"]), (&json!(10), &json!("read")));
    assert_eq!((&read["name"], &read["answer_names"]), (&json!("www.example.com"), &json!(["cdn.exam.net"])));
    assert_eq!(
        (&unread["rule"], &unread["answer"], &unread["answer_names"]),
        (&json!(20), &json!("unread"), &json!([]))
    );
    let run = sluicectl(["policy", "test", &policy, "--capture", &capture, "--packet", "1"]);
    run.done();
    assert!(run.stdout.contains("answer_name = 'exam.net': met"), "{}", run.stdout);
}

#[test]
fn icmp_tcp_flags_fragments_time_and_direction_are_in_the_json() {
    let folder = Folder::new();
    let ip = |protocol: u8, fragment: u16, payload: &[u8]| {
        let length = (20 + payload.len() as u16).to_be_bytes();
        let fragment = fragment.to_be_bytes();
        [&[0x45, 0], &length[..], &[0, 0], &fragment, &[64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2], payload]
            .concat()
    };
    let echo = ip(1, 0, &[8, 0, 0, 0, 0, 0, 0, 0]);
    let syn = ip(6, 0, &[0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0]);
    let first = ip(17, 0x2000, &[0, 1, 0, 2, 0, 16, 0, 0]);
    let later = ip(17, 1, &[0; 8]);
    let file = [
        section(),
        // In nanoseconds (option if_tsresol), from 2020-09-13 on (if_tsoffset).
        block(
            1,
            &[
                &[101, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0, 14, 0, 8, 0][..],
                &1_600_000_000_i64.to_le_bytes(),
                &[0; 4],
            ]
            .concat(),
        ),
        timed_packet(0, 1_500_000_001, &echo, Some(1)),
        timed_packet(0, 0, &syn, Some(2)),
        timed_packet(0, 0, &first, None),
        timed_packet(0, 0, &later, None),
    ];
    let run = sluicectl(["classify", "--offline", &folder.file("a.pcapng", file.concat()), "--json"]);
    run.done();
    let [echo, syn, first, later] = &run.json()[..] else { panic!("{}", run.stdout) };
    assert_eq!((&echo["icmp_type"], &echo["icmp_code"]), (&json!(8), &json!(0)));
    assert_eq!((&echo["time"], &echo["direction"]), (&json!("2020-09-13T12:26:41.500000001Z"), &json!("inbound")));
    assert_eq!((&syn["tcp_flags"], &syn["direction"]), (&json!(["syn", "ack"]), &json!("outbound")));
    assert_eq!((&first["fragment"], &later["fragment"]), (&json!("first"), &json!("later")));
    assert_eq!((&later["destination_port"], &echo["tcp_flags"]), (&json!(null), &json!(null)));
}

#[test]
fn a_name_in_two_segments_is_shown_and_judged_where_it_is_complete() {
    let folder = Folder::new();
    let request = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n";
    let segment = |number: u8, tcp_flags: u8, payload: &[u8]| {
        let start = [0x45, 0, 0, 40 + payload.len() as u8, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        let tcp = [0xC0, 0, 0, 80, 0, 0, 0, number, 0, 0, 0, 0, 0x50, tcp_flags, 0, 0, 0, 0, 0, 0];
        [&start[..], &tcp, payload].concat()
    };
    let packets = [segment(8, 2, &[]), segment(9, 0x18, &request[..25]), segment(34, 0x18, &request[25..])];
    let capture = folder.file("a.pcap", pcap(RAW, &[&packets[0], &packets[1], &packets[2]]));
    let policy = folder.file("p.toml", "[[rule]]\nid = 3\naction = \"block\"\nname = \"example.com\"\n");
    let run = sluicectl(["classify", "--offline", &capture, "--policy", &policy, "--json"]);
    run.done();
    let [_, first, second] = &run.json()[..] else { panic!("{}", run.stdout) };
    assert_eq!((&first["action"], &first["name_pending"]), (&json!("permit"), &json!(true)));
    assert_eq!(first["name_missing"], json!(false));
    assert_eq!((&second["action"], &second["rule"]), (&json!("block"), &json!(3)));
    assert_eq!((&second["name"], &second["name_kind"]), (&json!("www.example.com"), &json!("http")));
    assert_eq!((&second["name_offset"], &second["name_missing"]), (&json!(null), &json!(false)));
}

#[test]
fn the_table_shows_the_same_without_colours_in_a_pipe() {
    let folder = Folder::new();
    let capture =
        folder.file("a.pcap", pcap(RAW, &[&udp([192, 0, 2, 53], 53, DNS_QUESTION), &udp([192, 0, 2, 2], 80, b"")]));
    let policy = folder.file("p.toml", POLICY);
    let run = sluicectl(["classify", "--offline", &capture, "--policy", &policy]);
    run.done();
    assert!(!run.stdout.contains('\x1b'), "{:?}", run.stdout);
    let lines: Vec<Vec<&str>> = run.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["No.", "Action", "Rule", "Protocol", "Source", "Destination", "VLAN", "Name", "Remarks"]);
    assert_eq!(lines[1], ["1", "block", "10", "udp", "192.0.2.1:1000", "192.0.2.53:53", "-", "www.example.com"]);
    assert_eq!(lines[2], ["2", "permit", "default", "udp", "192.0.2.1:1000", "192.0.2.2:80", "-", "-"]);
    assert!(run.stdout.contains("2 packets: 1 permitted, 1 blocked"), "{}", run.stdout);

    // Asked for by name, colours are shown even where NO_COLOR asks for none.
    let mut coloured = command(["classify", "--offline", &capture, "--color", "always"]);
    let coloured = coloured.env("NO_COLOR", "1").output().unwrap();
    assert!(String::from_utf8(coloured.stdout).unwrap().contains("\x1b[32mpermit"));
}

#[test]
fn packets_behind_the_first_batch_keep_their_numbers_and_columns() {
    let folder = Folder::new();
    let packet = udp([192, 0, 2, 2], 80, &[0; 100]);
    let packets = vec![&packet[..]; 10_000];
    let capture = folder.file("a.pcap", pcap(RAW, &packets));
    let run = sluicectl(["classify", "--offline", &capture, "--json"]);
    run.done();
    let numbers: Vec<_> = run.json().iter().map(|record| record["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=10_000).collect::<Vec<_>>());

    let run = sluicectl(["classify", "--offline", &capture]);
    let column = |line: &str| line.find("192.0.2.1:1000").unwrap();
    let columns: Vec<_> = run.stdout.lines().filter(|line| line.contains("192.0.2.1:1000")).map(column).collect();
    assert_eq!(columns.len(), 10_000);
    assert!(columns.is_sorted());
    assert_eq!(run.stdout.matches("Protocol").count(), 1, "one header");

    let run = sluicectl(["classify", "--offline", &capture, "--summary", "--json"]);
    assert_eq!((&run.json()[0]["packets"], &run.json()[0]["rules"]), (&json!(10_000), &json!({"0": 10_000})));
    assert_documented("classify", &run.json()[0]);
    let run = sluicectl(["classify", "--offline", &capture, "--summary"]);
    assert!(run.stdout.lines().any(|line| line.split_whitespace().eq(["default", "10000"])), "{}", run.stdout);
}

#[test]
fn all_kinds_of_pcap_headers_are_read() {
    let folder = Folder::new();
    let packet = udp([192, 0, 2, 2], 80, b"");
    let little = pcap(RAW, &[&packet]);
    let mut nanoseconds = little.clone();
    nanoseconds[..4].copy_from_slice(&0xA1B2_3C4D_u32.to_le_bytes());
    let mut big = Vec::new();
    // The same file in the other byte order: magic, version, four words, then the record's four words.
    big.extend(0xA1B2_C3D4_u32.to_be_bytes());
    big.extend([0, 2, 0, 4]);
    for word in [0, 0, 65535, RAW, 0, 0, packet.len() as u32, packet.len() as u32] {
        big.extend(word.to_be_bytes());
    }
    big.extend(&packet);
    // A frame check sequence of 4 bytes is announced in the upper bits of the link type.
    let with_fcs = pcap(RAW | 0x1400_0000, &[&packet]);
    for (name, file) in [("little", little), ("nanoseconds", nanoseconds), ("big", big), ("fcs", with_fcs)] {
        let run = sluicectl(["classify", "--offline", &folder.file(name, file), "--json"]);
        run.done();
        assert_eq!(run.json()[0]["destination_port"], 80, "{name}");
    }
}

#[test]
fn pcapng_sections_interfaces_and_directions_are_kept_apart() {
    let folder = Folder::new();
    let packet = udp([192, 0, 2, 2], 80, b"");
    let frame = [&[0; 12][..], &[0x08, 0x00], &packet].concat();
    let simple = block(3, &[&(packet.len() as u32).to_le_bytes()[..], &packet].concat());
    let old_packet = {
        let length = (packet.len() as u32).to_le_bytes();
        block(2, &[&[1, 0, 0, 0][..], &[0; 8], &length, &length, &packet].concat())
    };
    let file = [
        section(),
        interface(1, 0),
        interface(101, 0),
        // It may be of any type, as no packet comes from it.
        interface(147, 0),
        block(0x0BAD_CAFE, b"what nobody knows"),
        enhanced_packet(0, &frame, None),
        enhanced_packet(1, &packet, Some(1)),
        enhanced_packet(1, &packet, Some(2)),
        old_packet,
        section(),
        interface(228, 0),
        simple,
    ]
    .concat();
    let capture = folder.file("a.pcapng", file);
    let policy = folder.file("p.toml", POLICY);
    let run = sluicectl(["classify", "--offline", &capture, "--policy", &policy, "--json"]);
    run.done();
    let rules: Vec<_> = run.json().iter().map(|record| (record["number"].clone(), record["rule"].clone())).collect();
    let expected = [(1, None), (2, Some(20)), (3, None), (4, None), (5, None)].map(|(n, rule)| (json!(n), json!(rule)));
    assert_eq!(rules, expected);
    assert!(run.json().iter().all(|record| record["destination_port"] == 80));

    let run = sluicectl(["classify", "--offline", &capture, "--policy", &policy, "--json", "--direction", "inbound"]);
    assert!(run.json().iter().all(|record| record["rule"] == 20));
}

#[test]
fn a_simple_packet_ends_at_the_snap_length() {
    let folder = Folder::new();
    let packet = udp([192, 0, 2, 2], 80, &[7; 100]);
    // 30 bytes were captured, and padded to 32.
    let body = [&(packet.len() as u32).to_le_bytes()[..], &packet[..30], &[0xFF; 2]].concat();
    let capture = folder.file("a.pcapng", [section(), interface(101, 30), block(3, &body)].concat());
    let run = sluicectl(["classify", "--offline", &capture, "--json"]);
    run.done();
    assert_eq!(run.json()[0]["destination_port"], 80);
}

#[test]
fn a_capture_comes_from_the_standard_input() {
    let file = pcap(RAW, &[&udp([192, 0, 2, 2], 80, b"")]);
    let run = sluicectl_with_input(["classify", "--offline", "-", "--json"], &file);
    run.done();
    assert_eq!(run.json().len(), 1);
}

#[test]
fn an_empty_capture_is_no_error() {
    let folder = Folder::new();
    for (name, file) in [("a.pcap", pcap(RAW, &[])), ("a.pcapng", section())] {
        let run = sluicectl(["classify", "--offline", &folder.file(name, file), "--json"]);
        run.done();
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn more_captured_than_there_was_is_taken_as_it_is() {
    let folder = Folder::new();
    let packet = udp([192, 0, 2, 2], 80, b"");
    let file = [pcap_header(RAW), pcap_record(packet.len() as u32, 1, &packet)].concat();
    let run = sluicectl(["classify", "--offline", &folder.file("a.pcap", file), "--json"]);
    run.done();
    assert_eq!(run.json()[0]["destination_port"], 80);
}

#[test]
fn a_file_that_is_not_a_capture_is_named() {
    let folder = Folder::new();
    let missing = folder.path().join("missing.pcap");
    sluicectl(["classify", "--offline", missing.to_str().unwrap()]).failed(2, &["missing.pcap", "cannot read"]);
    sluicectl(["classify", "--offline", folder.path().to_str().unwrap()]).failed(2, &["cannot read"]);
    for (name, contents) in [
        ("empty", &b""[..]),
        ("short", b"\xD4\xC3\xB2\xA1"),
        ("text", b"this is a text that is longer than the header of a capture"),
        ("zeros", &[0; 100]),
    ] {
        let run = sluicectl(["classify", "--offline", &folder.file(name, contents)]);
        run.failed(2, &[name, "expected a pcap or pcapng file"]);
    }
}

#[test]
fn packets_of_an_unknown_link_type_are_left_out_and_counted() {
    let folder = Folder::new();
    let packet = udp([192, 0, 2, 2], 80, b"");
    let capture = folder.file("a.pcap", pcap(105, &[&packet]));
    sluicectl(["classify", "--offline", &capture]).failed(2, &["link type 105", "1 (ethernet)", "276 (linux_sll2)"]);

    let file = [
        section(),
        interface(101, 0),
        interface(105, 0),
        enhanced_packet(0, &packet, None),
        enhanced_packet(1, &packet, None),
        enhanced_packet(1, &packet, None),
        enhanced_packet(0, &packet, None),
    ];
    let capture = folder.file("a.pcapng", file.concat());
    let run = sluicectl(["classify", "--offline", &capture, "--json"]);
    assert_eq!(run.code, 0);
    assert!(run.stderr.contains("warning") && run.stderr.contains("2 packets of link type 105"), "{}", run.stderr);
    let numbers: Vec<_> = run.json().iter().map(|record| record["number"].clone()).collect();
    assert_eq!(numbers, [1, 4]);
    let run = sluicectl(["classify", "--offline", &capture, "--summary", "--json"]);
    assert_eq!((&run.json()[0]["packets"], &run.json()[0]["left_out"]), (&json!(2), &json!({"105": 2})));
}

#[test]
fn raw_ip_is_read_by_the_numbers_of_other_systems_too() {
    let folder = Folder::new();
    let policy = folder.file("p.toml", "[[rule]]\nid = 1\naction = 'block'\nlink_type = 'raw'\n");
    for number in [12, 14, 101] {
        let capture = folder.file("a.pcap", pcap(number, &[&udp([192, 0, 2, 2], 80, b"")]));
        let run = sluicectl(["classify", "--offline", &capture, "--policy", &policy, "--json"]);
        run.done();
        assert_eq!((&run.json()[0]["rule"], &run.json()[0]["destination_port"]), (&json!(1), &json!(80)), "{number}");
    }
}

#[test]
fn packet_blocks_are_read_in_both_byte_orders() {
    let folder = Folder::new();
    let packet = udp([192, 0, 2, 2], 80, b"x");
    let length = packet.len() as u32;
    let mut padded = packet.clone();
    padded.resize(packet.len().next_multiple_of(4), 0);
    let block = |kind: u32, body: &[u8]| {
        let length = (body.len() as u32 + 12).to_be_bytes();
        [&kind.to_be_bytes(), &length, body, &length].concat()
    };
    let file = [
        block(0x0A0D_0D0A, &[&[0x1A, 0x2B, 0x3C, 0x4D, 0, 1, 0, 0][..], &[0xFF; 8]].concat()),
        block(1, &[0, 0, 0, 0, 0, 0, 0, 0]),
        block(1, &[0, 101, 0, 0, 0, 0, 0, 0]),
        // Interface 1, 5 packets dropped before it.
        block(2, &[&[0, 1, 0, 5][..], &[0; 8], &length.to_be_bytes(), &length.to_be_bytes(), &padded].concat()),
        block(6, &[&[0, 0, 0, 1][..], &[0; 8], &length.to_be_bytes(), &length.to_be_bytes(), &padded].concat()),
        block(3, &[&length.to_be_bytes()[..], &padded].concat()),
    ];
    let run = sluicectl(["classify", "--offline", &folder.file("a.pcapng", file.concat()), "--json"]);
    run.done();
    let ports: Vec<_> = run.json().iter().map(|record| record["destination_port"].clone()).collect();
    assert_eq!(ports, [json!(80), json!(80), json!(null)], "the last one is read as Ethernet");
}

#[test]
fn compressed_captures_are_read() {
    let folder = Folder::new();
    let packet = udp([192, 0, 2, 2], 80, &[7; 1000]);
    for file in [
        pcap(RAW, &vec![&packet[..]; 3000]),
        [section(), interface(101, 0), enhanced_packet(0, &packet, None)].concat(),
    ] {
        let compressed = gzip(&file);
        let plain = sluicectl(["classify", "--offline", &folder.file("a.pcap", &file), "--json"]);
        let run = sluicectl(["classify", "--offline", &folder.file("a.pcap.gz", &compressed), "--json"]);
        run.done();
        assert_eq!(run.stdout, plain.stdout);
        assert_eq!(sluicectl_with_input(["classify", "--offline", "-", "--json"], &compressed).stdout, plain.stdout);
    }
    let cut = gzip(&pcap(RAW, &[&packet]));
    let cut = folder.file("cut.gz", &cut[..cut.len() - 9]);
    sluicectl(["classify", "--offline", &cut]).failed(2, &["cut.gz"]);
}

#[test]
fn packets_of_a_live_capture_are_shown_as_they_come() {
    let packet = udp([192, 0, 2, 2], 80, b"");
    let record = pcap_record(packet.len() as u32, packet.len() as u32, &packet);
    let ng_start = [section(), interface(101, 0)].concat();
    for (start, record) in [(pcap_header(RAW), record), (ng_start, enhanced_packet(0, &packet, None))] {
        let mut child = command(["classify", "--offline", "-", "--json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        input.write_all(&start[..10]).unwrap();
        input.write_all(&start[10..]).unwrap();
        for number in 1..=3 {
            input.write_all(&record).unwrap();
            // The end of the input is not near: this would wait forever for a packet that is held back.
            let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            assert_eq!(line["number"], number);
        }
        drop(input);
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn what_comes_before_the_damage_is_classified() {
    let folder = Folder::new();
    let packet = udp([192, 0, 2, 2], 80, b"");
    let whole = pcap(RAW, &[&packet, &packet]);
    let cut = whole[..whole.len() - 1].to_vec();
    let cut_in_header = whole[..24 + 16 + packet.len() + 7].to_vec();
    let huge = [whole[..24 + 16 + packet.len()].to_vec(), pcap_record(u32::MAX, u32::MAX, &packet)].concat();
    let ng = [section(), interface(101, 0), enhanced_packet(0, &packet, None)].concat();
    let bad_block = [&ng[..], &block(6, &[0xFF; 8])].concat();
    let bad_interface = [&ng[..], &enhanced_packet(7, &packet, None)].concat();
    let bad_length = [&ng[..], &[6, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]].concat();
    for (name, file) in [
        ("cut", cut),
        ("cut in header", cut_in_header),
        ("huge", huge),
        ("bad block", bad_block),
        ("bad interface", bad_interface),
        ("bad length", bad_length),
        ("cut pcapng", ng.iter().chain(&ng[..30]).copied().collect()),
    ] {
        let run = sluicectl(["classify", "--offline", &folder.file(name, file), "--json"]);
        run.failed(2, &["is damaged after packet 1"]);
        assert_eq!(run.json().len(), 1, "{name}");
    }
}

#[test]
fn any_single_wrong_byte_ends_in_an_answer() {
    let packet = udp([192, 0, 2, 53], 53, DNS_QUESTION);
    let ng = [section(), interface(101, 0), enhanced_packet(0, &packet, Some(1)), enhanced_packet(0, &packet, None)];
    for file in [pcap(RAW, &[&packet, &packet]), ng.concat()] {
        // Every third byte, as a process for each takes time.
        for place in (0..file.len()).step_by(3) {
            let mut damaged = file.clone();
            damaged[place] ^= 0xFF;
            let run = sluicectl_with_input(["classify", "--offline", "-", "--json"], &damaged);
            assert!(run.code == 0 || run.code == 2 && !run.stderr.is_empty(), "byte {place}: {}", run.stderr);
            run.json();
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::new();
    let packet = udp([192, 0, 2, 2], 80, &[0; 100]);
    let capture = folder.file("a.pcap", pcap(RAW, &vec![&packet[..]; 20_000]));
    let mut child = command(["classify", "--offline", &capture, "--json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn the_captures_of_the_test_folder_end_in_an_answer() {
    let Some(folder) = std::env::var_os("SLUICE_CAPTURES") else {
        eprintln!("SLUICE_CAPTURES names no folder: nothing to do");
        return;
    };
    let mut captures = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng") {
            let run = sluicectl(["classify", "--offline", path.to_str().unwrap(), "--json"]);
            assert!(run.code == 0 || run.code == 2 && !run.stderr.is_empty(), "{}: {}", path.display(), run.stderr);
            run.json();
            captures += 1;
        }
    }
    assert!(captures > 0, "SLUICE_CAPTURES has no captures");
}
