//! `sluicectl policy` without a driver, and what the tool says when it needs one.

use serde_json::json;

use crate::documentation::assert_documented;
use crate::support::*;

const OFFICE: &str = "
default = 'permit'
[sets.names]
unwanted = ['ads.example.com', 'bücher.example']
[[rule]]
id = 10
action = 'permit'
description = 'the office'
source = '192.0.2.0/24'
[[rule]]
id = 20
action = 'block'
protocol = ['tcp', 'udp']
name = '@unwanted'
[[rule]]
id = 30
action = 'block'
protocol = 'icmp'
icmp = '3/4'
[[rule]]
id = 40
action = 'block'
vlan = 7
";

#[test]
fn a_good_policy_is_summed_up() {
    let folder = Folder::new();
    let file = folder.file("office.toml", OFFICE);
    let run = sluicectl(["policy", "check", &file]);
    run.done();
    assert!(run.stdout.contains("office.toml: 4 rules, default permit; table of "), "{}", run.stdout);
    let run = sluicectl(["policy", "check", &file, "--json"]);
    run.done();
    let report = &run.json()[0];
    assert_eq!((&report["valid"], &report["rules"], &report["default"]), (&json!(true), &json!(4), &json!("permit")));
    assert_eq!(report["diagnostics"], json!([]));
    assert!(report["table_length"].as_u64().unwrap() > 0);
}

#[test]
fn a_bad_policy_is_refused_with_every_mistake() {
    let folder = Folder::new();
    let file =
        folder.file("bad.toml", "default = 'allow'\n[[rule]]\nid = 1\naction = 'block'\nport = 80\nvlan = 5000\n");
    let run = sluicectl(["policy", "check", &file]);
    run.failed(2, &["bad.toml:1:11", "bad.toml:5:1", "bad.toml:6:8", "3 errors", "allowed: \"permit\" or \"block\""]);
    assert_eq!(run.stdout, "");
    let run = sluicectl(["policy", "check", &file, "--json"]);
    run.failed(2, &[]);
    let report = &run.json()[0];
    assert_documented("policy check", report);
    assert_eq!(report["valid"], false);
    assert_eq!(report["diagnostics"].as_array().unwrap().len(), 3);
    assert_eq!(
        report["diagnostics"][2],
        json!({"severity": "error", "line": 6, "column": 8, "key": "vlan", "value": "5000",
            "allowed": "a VLAN id from 0 to 4095, a range such as \"100-199\", with \"!\" before it for all others; \
             true for any tagged packet, false for any untagged one",
            "message": "rule 1: `vlan` cannot be 5000: expected a number from 0 to 4095"})
    );
}

#[test]
fn wherever_a_policy_is_used_a_bad_one_is_refused() {
    let folder = Folder::new();
    let bad = folder.file("bad.toml", "default = 5\n");
    let capture = folder.file("a.pcap", pcap(101, &[]));
    for arguments in [
        &["policy", "load", &bad][..],
        &["policy", "show", "--compare", &bad],
        &["policy", "test", &bad, "--protocol", "tcp"],
        &["classify", "--offline", &capture, "--policy", &bad],
    ] {
        sluicectl(arguments.iter().copied()).failed(2, &["bad.toml:1:11", "\"permit\" or \"block\""]);
    }
}

#[test]
fn a_file_that_is_no_policy_is_named() {
    let folder = Folder::new();
    let missing = folder.path().join("missing.toml");
    sluicectl(["policy", "check", missing.to_str().unwrap()]).failed(2, &["cannot read", "missing.toml"]);
    let binary = folder.file("binary.toml", b"default = 'permit'\n# \xFF");
    sluicectl(["policy", "check", &binary]).failed(2, &["binary.toml", "line 2", "UTF-8"]);
    let binary = folder.file("binary.toml", b"#\n#\n\n\xFF\n");
    sluicectl(["policy", "check", &binary]).failed(2, &["expected UTF-8 text, found other bytes in line 4\n"]);
    let capture = folder.file("a.pcap", [b"\x0A\x0D\x0D\x0A".as_slice(), &[0; 20]].concat());
    sluicectl(["policy", "check", &capture]).failed(2, &["a.pcap"]);
}

#[test]
fn a_warning_does_not_keep_a_policy_from_being_used() {
    let folder = Folder::new();
    let file =
        folder.file("p.toml", "[[rule]]\nid = 1\naction = 'block'\n[[rule]]\nid = 2\naction = 'permit'\nvlan = 1\n");
    let run = sluicectl(["policy", "check", &file]);
    assert_eq!(run.code, 0);
    assert!(run.stderr.contains("rule 2 never decides: rule 1 comes first"), "{}", run.stderr);
    assert!(run.stdout.contains("1 warning"), "{}", run.stdout);
}

#[test]
fn warnings_are_shown_by_a_check_alone_and_fail_a_strict_one() {
    let folder = Folder::new();
    let file = folder.file("p.toml", "[[rule]]\nid = 1\naction = 'block'\n[[rule]]\nid = 2\naction = 'permit'\n");
    let capture = folder.file("a.pcap", pcap(101, &[&udp([192, 0, 2, 2], 80, b"")]));
    sluicectl(["classify", "--offline", &capture, "--policy", &file]).done();
    sluicectl(["policy", "test", &file, "--protocol", "tcp"]).done();
    let run = sluicectl(["policy", "check", &file, "--strict"]);
    run.failed(2, &["rule 2 never decides"]);
    assert!(run.stdout.contains("1 warning"), "{}", run.stdout);
    let run = sluicectl(["policy", "check", &file, "--strict", "--json"]);
    run.failed(2, &[]);
    assert_eq!((&run.json()[0]["valid"], &run.json()[0]["warnings"]), (&json!(true), &json!(1)));
}

#[test]
fn many_warnings_are_counted_and_take_no_time() {
    let folder = Folder::new();
    let rule = |id: u32| format!("[[rule]]\nid = {id}\naction = 'block'\nname = 'h{id}.example'\n");
    let rules: String = (2..=10_000).map(rule).collect();
    let file = folder.file("p.toml", format!("[[rule]]\nid = 1\naction = 'block'\n{rules}"));
    let start = std::time::Instant::now();
    let run = sluicectl(["policy", "check", &file]);
    // 30 s once.
    assert!(start.elapsed().as_secs() < 8, "{:?}", start.elapsed());
    assert_eq!(run.code, 0);
    assert_eq!(run.stderr.matches("never decides").count(), 50);
    assert!(run.stderr.contains("9949 more warnings not shown"), "{}", &run.stderr[run.stderr.len() - 200..]);
    assert!(run.stdout.contains("9999 warnings"), "{}", run.stdout);
}

#[test]
fn a_policy_comes_from_the_standard_input() {
    let run = sluicectl_with_input(["policy", "check", "-"], b"default = 'block'\n");
    run.done();
    assert!(run.stdout.starts_with("standard input: 0 rules, default block"), "{}", run.stdout);
    let run = sluicectl_with_input(["policy", "check", "-"], b"default = 'blok'\n");
    run.failed(2, &["standard input:1:11", "did you mean \"block\"?"]);
}

#[test]
fn a_table_beyond_the_limit_of_the_driver_is_a_warning() {
    let folder = Folder::new();
    let file = folder.file("p.toml", "[[rule]]\nid = 1\naction = 'block'\nprotocol = 'tcp'\n");
    let run = sluicectl(["policy", "check", &file, "--limit", "100"]);
    assert_eq!(run.code, 0);
    assert!(
        run.stderr.contains("exceeds the limit of 100 bytes") && run.stderr.contains("TableLimit"),
        "{}",
        run.stderr
    );
    sluicectl(["policy", "check", &file, "--limit", "100", "--strict"]).failed(2, &["exceeds the limit"]);
    let run = sluicectl(["policy", "check", &file]);
    run.done();
    assert!(run.stdout.contains("0.0 % of the limit"), "{}", run.stdout);
    sluicectl(["policy", "check", &file, "--strict"]).done();
    let report = sluicectl(["policy", "check", &file, "--json"]).json().remove(0);
    let length = report["table_length"].as_u64().unwrap();
    for (limit, percent) in [(length, "100.0 % of the limit; 0 warnings"), (2 * length, "50.0 % of the limit; 0 w")] {
        let run = sluicectl(["policy", "check", &file, "--limit", &limit.to_string()]);
        run.done();
        assert!(run.stdout.contains(percent), "{}", run.stdout);
    }
    let run = sluicectl(["policy", "check", &file, "--limit", &(length - 1).to_string()]);
    let message = format!("the table of {length} bytes exceeds the limit of {} bytes", length - 1);
    assert!(run.stderr.contains(&message) && run.stdout.ends_with("1 warning\n"), "{}{}", run.stderr, run.stdout);
}

#[test]
fn utf16_is_named() {
    let folder = Folder::new();
    let text = "default = 'block'\r\n";
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for bytes in
        [[&[0xFF, 0xFE], &little[..]].concat(), [&[0xFE, 0xFF], &big[..]].concat(), little.clone(), big.clone()]
    {
        sluicectl(["policy", "check", &folder.file("p.toml", bytes)]).failed(2, &["UTF-16", "-Encoding utf8"]);
    }
    // A byte order mark of UTF-8 is no mistake.
    sluicectl(["policy", "check", &folder.file("p.toml", format!("\u{FEFF}{text}"))]).done();
}

#[test]
fn lists_come_from_files_beside_the_policy() {
    let folder = Folder::new();
    let ads = "! Title: ads\n||ads.example.com^\n||x.example^$third-party\n0.0.0.0 tracker.example\nexample.com##.ad\n";
    folder.file("ads.txt", ads);
    folder.file("drop.txt.gz", gzip(b"; drop\n192.0.2.0/24 ; SBL1\n198.51.100.4-198.51.100.7\nnot an address\n"));
    let policy = folder.file(
        "p.toml",
        "[sets.names]\nads = ['@file:ads.txt', 'more.example']\n[[rule]]\nid = 1\naction = 'block'\nname = '@ads'\n\
         [[rule]]\nid = 2\naction = 'block'\nsource = ['@file:drop.txt.gz', '!192.0.2.7']\n",
    );
    let run = sluicectl(["policy", "check", &policy]);
    run.done();
    for part in [
        "ads.txt: 2 names; left out: 1 cosmetic rules, 1 rules with options",
        "drop.txt.gz: 2 prefixes; left out: 1 lines that are not addresses",
    ] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    let run = sluicectl(["policy", "check", &policy, "--json"]);
    assert_documented("policy check", &run.json()[0]);
    assert_eq!(
        run.json()[0]["lists"][0],
        json!({"path": "ads.txt", "taken": 2, "left_out": {"cosmetic rules": 1, "rules with options": 1},
            "widened": {}})
    );
    for (packet, rule) in [
        (&["--protocol", "udp", "--name", "www.tracker.example"][..], json!(1)),
        (&["--protocol", "udp", "--name", "more.example"], json!(1)),
        (&["--protocol", "udp", "--name", "x.example"], json!(null)),
        (&["--protocol", "tcp", "--source", "198.51.100.5"], json!(2)),
        (&["--protocol", "tcp", "--source", "192.0.2.7"], json!(null)),
    ] {
        let run = sluicectl(["policy", "test", &policy, "--json"].into_iter().chain(packet.iter().copied()));
        run.done();
        assert_eq!(run.json()[0]["rule"], rule, "{packet:?}");
    }
    // A file is read once for each kind of items, however many rules name it.
    folder.file("both.txt", "192.0.2.9\nads.example\n");
    let rule = |id: u32, action: &str, key: &str| {
        format!("[[rule]]\nid = {id}\naction = '{action}'\n{key} = '@file:both.txt'\n")
    };
    let rules =
        [rule(1, "count", "name"), rule(2, "log", "source"), rule(3, "count", "source"), rule(4, "block", "name")];
    let policy = folder.file("both.toml", rules.concat());
    let packet = ["--protocol", "udp", "--source", "192.0.2.9", "--name", "www.ads.example"];
    let run = sluicectl(["policy", "test", &policy, "--json"].into_iter().chain(packet));
    run.done();
    assert_eq!((run.json()[0]["observed"].as_array().unwrap().len(), &run.json()[0]["rule"]), (3, &json!(4)));
    let run = sluicectl(["policy", "check", &policy, "--json"]);
    assert_eq!(run.json()[0]["lists"].as_array().unwrap().len(), 2, "{}", run.stdout);
    folder.file("empty.txt", "# nothing\n");
    for (name, part) in [("missing.txt", "missing.txt"), ("empty.txt", "the file has no names")] {
        let rule = format!("[[rule]]\nid = 1\naction = 'block'\nname = '@file:{name}'\n");
        sluicectl(["policy", "check", &folder.file("bad.toml", rule)]).failed(2, &["bad.toml:4:8", part]);
    }
}

#[test]
fn rules_with_too_many_combinations_are_named_at_once() {
    let folder = Folder::new();
    let list = |count: u32| {
        let lines = (0..count).map(|number| format!("{}\n", std::net::Ipv4Addr::from_bits(0x0A00_0000 + 2 * number)));
        lines.collect::<String>()
    };
    folder.file("many.txt", list(150_000));
    let ports = (0..10).map(|port| format!("{}", port * 2)).collect::<Vec<_>>().join(", ");
    let policy = folder.file(
        "p.toml",
        format!("[[rule]]\nid = 7\naction = 'block'\nsource = '@file:many.txt'\ndestination_port = [{ports}]\n"),
    );
    let start = std::time::Instant::now();
    let run = sluicectl(["policy", "check", &policy]);
    run.failed(
        2,
        &["p.toml:2:6", "rule 7: its lists have 1500000 combinations", "at most 1048576", "rules of their own"],
    );
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

#[test]
fn policy_test_says_which_rule_decides_and_why() {
    let folder = Folder::new();
    let file = folder.file("office.toml", OFFICE);
    let test = |arguments: &[&str]| {
        let run = sluicectl(["policy", "test", &file, "--json"].into_iter().chain(arguments.iter().copied()));
        run.done();
        run.json().remove(0)
    };
    let name = ["--name", "www.bücher.example"];

    let office = test(&[&["--protocol", "tcp", "--source", "192.0.2.7"][..], &name].concat());
    assert_eq!((&office["action"], &office["rule"]), (&json!("permit"), &json!(10)));
    assert_eq!(office["description"], "the office");
    assert_eq!(office["conditions"], json!([{"key": "source", "value": "'192.0.2.0/24'"}]));
    assert_eq!(office["passed_over"], json!([]));

    // By TLS and by DNS, over IPv4 and IPv6.
    for packet in [["--protocol", "tcp", "--source", "198.51.100.7"], ["--protocol", "udp", "--source", "2001:db8::1"]]
    {
        let unwanted = test(&[&packet[..], &name].concat());
        assert_eq!((&unwanted["action"], &unwanted["rule"]), (&json!("block"), &json!(20)), "{packet:?}");
        assert_eq!(unwanted["name"], "www.xn--bcher-kva.example");
        assert_eq!(unwanted["malformed"], false);
        assert_eq!(unwanted["passed_over"], json!([{"rule": 10, "key": "source", "value": "'192.0.2.0/24'"}]));
    }

    let unreachable = test(&["--icmp", "3/4", "--destination", "198.51.100.7"]);
    assert_eq!((&unreachable["protocol"], &unreachable["rule"]), (&json!(1), &json!(30)));
    let echo = test(&["--protocol", "ipv6-icmp", "--icmp", "128"]);
    assert_eq!((&echo["source"], &echo["rule"]), (&json!("::"), &json!(null)));
    assert_eq!(echo["passed_over"].as_array().unwrap().len(), 4);
    let tagged = test(&["--protocol", "gre", "--vlan", "7"]);
    assert_eq!((&tagged["vlan"], &tagged["protocol"], &tagged["rule"]), (&json!(7), &json!(47), &json!(40)));
    for protocol in ["tcp", "udp", "udplite", "sctp", "dccp"] {
        let ports = test(&["--protocol", protocol, "--source-port", "1", "--destination-port", "65535"]);
        assert_eq!((&ports["source_port"], &ports["destination_port"]), (&json!(1), &json!(65535)), "{protocol}");
        assert_eq!((&ports["malformed"], &ports["truncated"]), (&json!(false), &json!(false)), "{protocol}");
    }
}

#[test]
fn all_that_conditions_see_can_be_described() {
    let folder = Folder::new();
    let rules = [
        "tcp_flags = ['syn', '!ack']",
        "fragment = 'later'\nip_version = 6",
        "fragment = 'later'",
        "fragment = 'first'\ndestination_port = 53",
        "malformed = true\ndestination_port = 80",
        "malformed = true",
        "truncated = true",
        "ether_type = 'arp'\nvlan = 7",
        "ether_type = 'arp'",
        "name = 'h.example'\ndestination_port = 80",
        "direction = 'inbound'",
    ];
    let rules = rules.iter().zip(1..).map(|(lines, id)| format!("[[rule]]\nid = {id}\naction = 'block'\n{lines}\n"));
    let file = folder.file("p.toml", rules.collect::<String>());
    for (packet, rule) in [
        ("--protocol tcp --tcp-flags syn", 1),
        ("--protocol tcp --tcp-flags SYN,ack", 0),
        ("--protocol udp --fragment later --source ::1", 2),
        ("--protocol udp --fragment later", 3),
        ("--protocol udp --fragment first --destination-port 53", 4),
        ("--protocol udp --fragment first --destination-port 53 --source ::1", 4),
        ("--protocol tcp --malformed --destination-port 80", 5),
        ("--protocol udp --malformed --destination-port 80 --source ::1", 5),
        ("--protocol icmp --malformed", 6),
        ("--protocol gre --malformed --destination ::1", 6),
        ("--protocol tcp --truncated", 7),
        ("--protocol icmp --truncated", 7),
        ("--ether-type arp --vlan 7", 8),
        ("--ether-type 0x0806", 9),
        ("--ether-type lldp", 0),
        ("--protocol tcp --name www.h.example --name-kind http", 10),
        ("--protocol tcp --direction inbound", 11),
        ("--protocol tcp", 0),
    ] {
        let run = sluicectl(["policy", "test", &file, "--json"].into_iter().chain(packet.split(' ')));
        run.done();
        assert_eq!(run.json()[0]["rule"].as_u64().unwrap_or(0), rule, "{packet}: {}", run.stdout);
        assert_documented("policy test", &run.json()[0]);
    }
    for (packet, why) in [
        ("--protocol udp --tcp-flags syn", "TCP flags need the protocol tcp"),
        ("--protocol tcp --tcp-flags sny", "expected flags of fin, syn"),
        ("--protocol udp --name x.example --name-kind http", "a name needs the protocol"),
        ("--ether-type 5", "0x0600"),
        ("--ether-type arp --protocol tcp", "cannot be used with"),
    ] {
        sluicectl(["policy", "test", &file].into_iter().chain(packet.split(' '))).failed(2, &[why]);
    }
}

#[test]
fn one_rule_can_be_asked_about_and_many_are_not_listed() {
    let folder = Folder::new();
    let rule = |id: u32| format!("[[rule]]\nid = {id}\naction = 'block'\nprotocol = 'tcp'\ndestination_port = {id}\n");
    let file = folder.file("p.toml", (1..=2000).map(rule).collect::<String>());
    let run = sluicectl(["policy", "test", &file, "--protocol", "tcp", "--rule", "1500"]);
    run.done();
    assert!(run.stdout.lines().count() < 30, "{}", run.stdout);
    assert!(run.stdout.contains("1980 more rules do not match either"), "{}", run.stdout);
    let asked = "  rule 1500:\n    protocol = 'tcp': met\n    destination_port = 1500: not met\n";
    assert!(run.stdout.ends_with(asked), "{}", run.stdout);
    let run = sluicectl(["policy", "test", &file, "--protocol", "tcp", "--rule", "1500", "--json"]);
    let record = &run.json()[0];
    assert_eq!((record["passed_over"].as_array().unwrap().len(), &record["passed_over_count"]), (20, &json!(2000)));
    assert_eq!(record["asked"]["conditions"][1]["met"], false);
    assert_documented("policy test", record);
    sluicectl(["policy", "test", &file, "--protocol", "tcp", "--rule", "2001"]).failed(2, &["has no rule 2001"]);
}

#[test]
fn verdicts_are_compared_with_expected_ones() {
    let folder = Folder::new();
    let policy = folder.file("office.toml", OFFICE);
    let good = "[[packet]]\nprotocol = 'tcp'\nsource = '192.0.2.7'\nexpect = 'permit'\nrule = 10\n\
                [[packet]]\nprotocol = 'udp'\nname = 'x.ads.example.com'\nexpect = 'block'\n\
                [[packet]]\nicmp = '3/4'\nexpect = 'block'\nrule = 30\n\
                [[packet]]\nether_type = 'arp'\nvlan = 8\ndirection = 'inbound'\nexpect = 'permit'\nrule = 0\n";
    let file = folder.file("good.toml", good);
    let run = sluicectl(["policy", "test", &policy, "--expect", &file]);
    run.done();
    assert!(run.stdout.ends_with("good.toml: 4 verdicts as expected\n"), "{}", run.stdout);

    let wrong = format!("{good}[[packet]]\ndescription = 'the lab'\nprotocol = 'tcp'\nexpect = 'block'\nrule = 20\n");
    let file = folder.file("wrong.toml", wrong);
    let run = sluicectl(["policy", "test", &policy, "--expect", &file]);
    run.failed(1, &["wrong.toml: 1 of 5 verdicts differs"]);
    let line = "wrong.toml:20: packet 5 (the lab): expected block by rule 20, found permit by default";
    assert!(run.stdout.contains(line), "{}", run.stdout);
    let run = sluicectl(["policy", "test", &policy, "--expect", &file, "--json"]);
    run.failed(1, &[]);
    assert_eq!(
        run.json()[4],
        json!({"number": 5, "line": 20, "description": "the lab", "expected": {"action": "block", "rule": 20},
            "action": "permit", "rule": null, "as_expected": false})
    );
    assert_documented("policy test", &run.json()[4]);

    // Neither the action nor the rule is enough.
    let both = "[[packet]]\nprotocol = 47\nvlan = 4095\nsource = '192.0.2.7'\nexpect = 'block'\nrule = 10\n\
                [[packet]]\nprotocol = 'tcp'\nsource = '192.0.2.7'\nexpect = 'permit'\nrule = 20\n\
                [[packet]]\nprotocol = 'tcp'\nexpect = 'block'\n";
    let run = sluicectl(["policy", "test", &policy, "--expect", &folder.file("both.toml", both)]);
    run.failed(1, &["both.toml: 3 of 3 verdicts differ"]);
    for line in [
        "both.toml:1: packet 1: expected block by rule 10, found permit by rule 10\n",
        "both.toml:7: packet 2: expected permit by rule 20, found permit by rule 10\n",
        "both.toml:12: packet 3: expected block, found permit by default\n",
    ] {
        assert!(run.stdout.contains(line), "{line}: {}", run.stdout);
    }

    for (text, why) in [
        ("[[packet]]\nprotocol = 'tcp'\n", "bad.toml:1:1: missing field `expect`"),
        ("[[packet]]\nexpect = 'block'\nprotocl = 'tcp'\n", "bad.toml:3:1: unknown field `protocl`"),
        ("[[packet]]\nexpect = 'drop'\n", "bad.toml:2:10: unknown variant `drop`"),
        ("[[packet]]\nexpect = 'block'\nprotocol = 'tpc'\n", "bad.toml:1:1: tpc: expected a number from 0 to 255"),
        ("[[packet]]\nexpect = 'block'\nprotocol = 'gre'\nsource_port = 1\n", "has no ports"),
        ("[[packet]]\nexpect = 'block'\nprotocol = 'tcp'\nvlan = 4096\n", "bad.toml:1:1: 4096: expected a VLAN id"),
        ("[[packet]]\nexpect = 'block'\nether_type = 'arp'\nprotocol = 6\n", "neither protocol nor addresses"),
        ("[[packet]]\nexpect = 'block'\nether_type = 'arp'\nsource = '::1'\n", "neither protocol nor addresses"),
        ("[[packet]]\nexpect = 'block'\nprotocol = 'tcp'\ntcp_flags = ['sny']\n", "expected flags of fin, syn"),
        ("x", "bad.toml:1:2"),
    ] {
        let file = folder.file("bad.toml", text);
        sluicectl(["policy", "test", &policy, "--expect", &file]).failed(2, &[why]);
    }
}

#[test]
fn rules_that_count_or_log_decide_nothing() {
    let folder = Folder::new();
    let policy = folder.file(
        "p.toml",
        "[[rule]]\nid = 1\naction = 'count'\nname = ['example', 'www.example']\n\
         [[rule]]\nid = 2\naction = 'log'\nprotocol = 'udp'\n\
         [[rule]]\nid = 3\naction = 'log'\nprotocol = 'tcp'\n\
         [[rule]]\nid = 4\naction = 'block'\nprotocol = 'udp'\n\
         [[rule]]\nid = 5\naction = 'count'\nprotocol = 'udp'\n",
    );
    let packet = ["--protocol", "udp", "--name", "a.www.example"];
    let run = sluicectl(["policy", "test", &policy, "--json"].into_iter().chain(packet));
    run.done();
    let json = &run.json()[0];
    assert_documented("policy test", json);
    assert_eq!((&json["action"], &json["rule"]), (&json!("block"), &json!(4)));
    let observed = json!([{"rule": 1, "action": "count"}, {"rule": 2, "action": "log"}]);
    assert_eq!(json["observed"], observed);
    let passed_over = json["passed_over"].as_array().unwrap();
    assert_eq!((passed_over.len(), &passed_over[0]["rule"], &json["passed_over_count"]), (1, &json!(3), &json!(1)));
    let run = sluicectl(["policy", "test", &policy].into_iter().chain(packet));
    for line in ["rule 1 counts it", "rule 2 logs it", "rule 3 does not match"] {
        assert!(run.stdout.contains(line), "{}", run.stdout);
    }

    let run = sluicectl(["policy", "check", &policy, "--strict"]);
    run.failed(2, &["rule 5 never counts: rule 4 comes first"]);
    assert!(!run.stderr.contains("rule 4 never"), "{}", run.stderr);

    let capture = folder.file("a.pcap", pcap(101, &[&udp([192, 0, 2, 2], 53, DNS_QUESTION), &[0x45]]));
    let run = sluicectl(["classify", "--offline", &capture, "--policy", &policy, "--summary", "--json"]);
    run.done();
    assert_eq!(run.json()[0]["rules"], json!({"0": 1, "2": 1, "4": 1}), "{}", run.stdout);
}

#[test]
fn policy_test_explains_to_people() {
    let folder = Folder::new();
    let file = folder.file("office.toml", OFFICE);
    let run = sluicectl(["policy", "test", &file, "--protocol", "udp", "--name", "x.ads.example.com"]);
    run.done();
    assert_eq!(
        run.stdout,
        "packet 1: block by rule 20\n  protocol = ['tcp', 'udp']: met\n  name = '@unwanted': met\n  \
         rule 10 does not match: source = '192.0.2.0/24' is not met\n"
    );
    let run = sluicectl(["policy", "test", &file, "--protocol", "tcp"]);
    assert!(run.stdout.starts_with("packet 1: permit by default: no rule matches\n"), "{}", run.stdout);
}

/// Green and red are 32 and 31, bold is 1 (ECMA-48, 8.3.117).
#[test]
fn what_is_permitted_is_green_and_what_is_blocked_is_red() {
    let folder = Folder::new();
    let policy = folder.file("p.toml", "[[rule]]\nid = 5\naction = 'block'\nprotocol = 'udp'\n");
    for (protocol, colored) in [("tcp", "\x1b[1m\x1b[32mpermit\x1b[0m"), ("udp", "\x1b[1m\x1b[31mblock\x1b[0m")] {
        let mut command = command(["policy", "test", &policy, "--protocol", protocol]);
        let output = command.env("CLICOLOR_FORCE", "1").env_remove("NO_COLOR").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(colored), "{text:?}");
    }
}

#[test]
fn conditions_of_a_rule_on_inner_packets_are_judged_inside() {
    let folder = Folder::new();
    let policy = folder.file(
        "p.toml",
        "[[rule]]\nid = 1\naction = 'block'\ninner = true\nprotocol = 'udp'\ndestination_port = 54\n\
         [[rule]]\nid = 2\naction = 'block'\nprotocol = 'udp'\n",
    );
    let inner = udp([192, 0, 2, 2], 53, b"");
    // IPv4 in IPv4 is protocol 4 (RFC 2003, 3.1).
    let header = [0x45, 0, 0, 20 + inner.len() as u8, 0, 0, 0, 0, 64, 4, 0, 0, 198, 51, 100, 1, 198, 51, 100, 2];
    let capture = folder.file("a.pcap", pcap(101, &[&[&header[..], &inner].concat()]));
    let run = sluicectl(["policy", "test", &policy, "--capture", &capture, "--packet", "1", "--rule", "1", "--json"]);
    run.done();
    let record = &run.json()[0];
    let judged = |key: &str, value: &str, met: bool| json!({"key": key, "value": value, "met": met});
    assert_eq!(
        record["asked"]["conditions"],
        json!([
            judged("inner", "true", true),
            judged("protocol", "'udp'", true),
            judged("destination_port", "54", false)
        ])
    );
    assert_eq!(record["passed_over"][0], json!({"rule": 1, "key": "destination_port", "value": "54"}));
    let outside = sluicectl(["policy", "test", &policy, "--protocol", "tcp", "--rule", "1", "--json"]).json().remove(0);
    assert_eq!(outside["asked"]["conditions"][0], judged("inner", "true", false));
    assert_eq!(record["passed_over"][1], json!({"rule": 2, "key": "protocol", "value": "'udp'"}));
}

#[test]
fn rules_passed_over_are_listed_for_one_packet_alone() {
    let folder = Folder::new();
    let policy = folder.file("p.toml", "[[rule]]\nid = 5\naction = 'block'\ndestination_port = 53\n");
    let capture = folder.file("a.pcap", pcap(101, &[&udp([192, 0, 2, 2], 80, b""), &udp([192, 0, 2, 2], 80, b"")]));
    let run = sluicectl(["policy", "test", &policy, "--capture", &capture]);
    assert_eq!(
        run.stdout,
        "packet 1: permit by default: no rule matches\npacket 2: permit by default: no rule matches\n"
    );
    let run = sluicectl(["policy", "test", &policy, "--capture", &capture, "--packet", "2"]);
    let expected = "packet 2: permit by default: no rule matches\n  \
                    rule 5 does not match: destination_port = 53 is not met\n";
    assert_eq!(run.stdout, expected);
    let policy = folder.file("all.toml", "[[rule]]\nid = 5\naction = 'permit'\ndescription = 'all'\n");
    let run = sluicectl(["policy", "test", &policy, "--protocol", "tcp", "--rule", "5"]);
    let expected = "packet 1: permit by rule 5 (all)\n  no conditions: matches every packet\n  \
                    rule 5: matches every packet\n";
    assert_eq!(run.stdout, expected);
}

#[test]
fn policy_test_takes_packets_from_a_capture() {
    let folder = Folder::new();
    let policy = folder.file("p.toml", "[[rule]]\nid = 5\naction = 'block'\ndestination_port = 53\n");
    let packets = [udp([192, 0, 2, 2], 80, b""), udp([192, 0, 2, 53], 53, DNS_QUESTION)];
    let capture = folder.file("a.pcap", pcap(101, &[&packets[0], &packets[1]]));
    let run = sluicectl(["policy", "test", &policy, "--capture", &capture]);
    run.done();
    assert!(run.stdout.contains("packet 1: permit by default") && run.stdout.contains("packet 2: block by rule 5"));
    let run = sluicectl(["policy", "test", &policy, "--capture", &capture, "--packet", "2", "--json"]);
    run.done();
    assert_eq!(run.json().len(), 1);
    assert_eq!(run.json()[0]["number"], 2);
    sluicectl(["policy", "test", &policy, "--capture", &capture, "--packet", "3"]).failed(2, &["no packet 3"]);
}

#[test]
fn a_packet_that_cannot_be_described_is_refused() {
    let folder = Folder::new();
    let file = folder.file("p.toml", "");
    for (arguments, why) in [
        (&["--destination-port", "53"][..], "--protocol is missing"),
        (&["--protocol", "icmp", "--destination-port", "53"], "has no ports"),
        (&["--protocol", "gre", "--name", "x.example"], "udp (DNS) or tcp (TLS, HTTP)"),
        (&["--protocol", "tcp", "--icmp", "8"], "an ICMP type needs"),
        (&["--protocol", "tcp", "--source", "::1", "--destination", "192.0.2.1"], "different versions of IP"),
        (&["--protocol", "tcp", "--name", "a b"], "the name a b"),
        (&["--protocol", "tpc"], "expected a number from 0 to 255"),
        (&["--protocol", "tcp", "--source", "localhost"], "--source"),
        (&["--protocol", "tcp", "--destination-port", "70000"], "70000"),
        (&["--icmp", "3-4"], "3/4"),
        (&["--packet", "1"], "--capture"),
        (&["--capture", "x", "--protocol", "tcp"], "cannot be used with"),
    ] {
        let run = sluicectl(["policy", "test", &file].into_iter().chain(arguments.iter().copied()));
        run.failed(2, &[why]);
    }
}

#[test]
#[cfg(not(windows))]
fn without_windows_the_drivers_are_a_matter_of_state() {
    let folder = Folder::new();
    let policy = folder.file("p.toml", "");
    let capture = folder.file("a.pcap", pcap(101, &[]));
    for arguments in [
        &["status"][..],
        &["status", "--json", "--watch"],
        &["stats"],
        &["stats", "--device", "probe2", "--json"],
        &["policy", "load", &policy, "--persist"],
        &["policy", "show"],
        &["policy", "clear"],
        &["policy", "load", "--from-dry-run"],
        &["policy", "dry-run", "start", &policy],
        &["policy", "dry-run", "stop"],
        &["policy", "dry-run", "status"],
        &["classify", &capture],
    ] {
        sluicectl(arguments.iter().copied()).failed(1, &["error: cannot open the device", "classify --offline"]);
    }
}

#[test]
fn wrong_arguments_are_a_matter_of_input() {
    for arguments in [
        &["frobnicate"][..],
        &["classify"],
        &["classify", "x", "--policy", "p.toml"],
        &["classify", "x", "--offline", "--device", "probe"],
        &["classify", "x", "--direction", "up"],
        &["status", "--watch", "0"],
        &["completions", "cmd"],
    ] {
        let run = sluicectl(arguments.iter().copied());
        run.failed(2, &["error:"]);
    }
}
