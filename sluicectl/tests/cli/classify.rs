//! `sluicectl classify --offline` on whole, odd and damaged captures.

use serde_json::json;

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
    assert_eq!(
        run.json(),
        [
            json!({"number": 1, "action": "block", "rule": 10, "protocol": 17, "source": "192.0.2.1",
                "destination": "192.0.2.53", "source_port": 1000, "destination_port": 53, "vlan": null,
                "name": "www.example.com", "fragment": false, "truncated": false, "malformed": false}),
            json!({"number": 2, "action": "permit", "rule": null, "protocol": 17, "source": "192.0.2.1",
                "destination": "192.0.2.2", "source_port": 1000, "destination_port": 80, "vlan": 42,
                "name": null, "fragment": false, "truncated": false, "malformed": false}),
            json!({"number": 3, "action": "permit", "rule": null, "protocol": null, "source": null,
                "destination": null, "source_port": null, "destination_port": null, "vlan": null,
                "name": null, "fragment": false, "truncated": false, "malformed": false}),
        ]
    );
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

    let coloured = sluicectl(["classify", "--offline", &capture, "--color", "always"]);
    assert!(coloured.stdout.contains('\x1b'));
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
    assert_eq!(run.json()[0]["packets"], 10_000);
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
fn an_unknown_link_type_is_named_with_those_that_are_known() {
    let folder = Folder::new();
    let packet = udp([192, 0, 2, 2], 80, b"");
    let capture = folder.file("a.pcap", pcap(105, &[&packet]));
    sluicectl(["classify", "--offline", &capture]).failed(2, &["link type 105", "1 (ethernet)", "276 (linux_sll2)"]);

    // What came before it in the file is not lost.
    let file = [
        section(),
        interface(101, 0),
        interface(105, 0),
        enhanced_packet(0, &packet, None),
        enhanced_packet(1, &packet, None),
    ];
    let run = sluicectl(["classify", "--offline", &folder.file("a.pcapng", file.concat()), "--json"]);
    run.failed(2, &["packet 2", "link type 105"]);
    assert_eq!(run.json().len(), 1);
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
