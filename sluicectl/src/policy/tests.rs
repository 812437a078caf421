//! What policies mean, and the diagnostics of wrong ones.

use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::Value;
use sluice_core::compile::{Conditions, Content, Fragment, Icmp, Prefix, TcpFlags};
use sluice_core::{Action, Direction, RuleAction};

use super::checked::warn_of_shadowed;
use super::diagnostic::{Diagnostic, Severity};
use super::file::{self, File};
use super::source::Source;

const SCHEMA: &str = include_str!("../../../docs/policy.schema.json");
const DOCUMENTATION: &str = include_str!("../../../docs/policy.md");

fn source(text: &str) -> Source {
    Source::new("office.toml".to_owned(), PathBuf::new(), text.to_owned())
}

/// A policy, and the diagnostics to show.
fn read(text: &str) -> (File, Vec<Diagnostic>) {
    let (file, diagnostics) = file::read(&source(text));
    (file, diagnostics.shown())
}

/// A policy without errors.
fn good(source: &str) -> File {
    let (file, diagnostics) = read(source);
    assert!(diagnostics.is_empty(), "{source}\n{diagnostics:#?}");
    file
}

/// The conditions of the only rule, of which only these lines are given.
fn conditions(lines: &str) -> Conditions {
    good(&format!("[[rule]]\nid = 1\naction = \"block\"\n{lines}")).rules[0].rule.conditions.clone()
}

fn prefix(address: &str, length: u8) -> Prefix {
    Prefix { address: address.parse().unwrap(), length }
}

#[test]
fn an_empty_file_is_the_policy_that_permits_everything() {
    let file = good("");
    assert_eq!(file.default, Action::Permit);
    assert!(file.rules.is_empty());
}

#[test]
fn rules_keep_the_order_of_the_file() {
    let file = good(
        "default = 'block'\n[[rule]]\nid = 20\naction = 'permit'\nprotocol = 'tcp'\n\
         [[rule]]\nid = 10\naction = 'block'\n",
    );
    assert_eq!(file.default, Action::Block);
    let rules: Vec<_> = file.rules.iter().map(|entry| (entry.rule.id, entry.rule.action)).collect();
    assert_eq!(rules, [(20, RuleAction::Permit), (10, RuleAction::Block)]);
}

#[test]
fn every_key_becomes_its_condition() {
    let nothing = Conditions::default;
    for (lines, expected) in [
        ("description = 'x'", nothing()),
        ("direction = 'outbound'", Conditions { direction: Some(Direction::Outbound), ..nothing() }),
        ("link_type = ['ethernet', 101]", Conditions { link_types: vec![1, 101], ..nothing() }),
        ("vlan = true", Conditions { tagged: Some(true), ..nothing() }),
        ("vlan = false", Conditions { tagged: Some(false), ..nothing() }),
        ("vlan = [7, '100-199']", Conditions { vlans: vec![7..=7, 100..=199], ..nothing() }),
        ("ether_type = ['arp', 0x86DD]", Conditions { ether_types: vec![0x0806, 0x86DD], ..nothing() }),
        ("ip_version = 6", Conditions { ip_version: Some(6), ..nothing() }),
        (
            "source = ['192.0.2.0/24', '2001:db8::1']",
            Conditions { sources: vec![prefix("192.0.2.0", 24), prefix("2001:db8::1", 128)], ..nothing() },
        ),
        ("destination = '0.0.0.0/0'", Conditions { destinations: vec![prefix("0.0.0.0", 0)], ..nothing() }),
        ("protocol = ['TCP', 17, 'icmpv6']", Conditions { protocols: vec![6, 17, 58], ..nothing() }),
        ("source_port = 0", Conditions { source_ports: vec![0..=0], ..nothing() }),
        (
            "destination_port = ['1024 - 65535', '53']",
            Conditions { destination_ports: vec![1024..=65535, 53..=53], ..nothing() },
        ),
        (
            "icmp = [8, '3/4']",
            Conditions { icmp: vec![Icmp { kind: 8, code: None }, Icmp { kind: 3, code: Some(4) }], ..nothing() },
        ),
        (
            "tcp_flags = ['syn', '!ack']",
            Conditions { tcp_flags: Some(TcpFlags { mask: 0x12, value: 0x02 }), ..nothing() },
        ),
        ("fragment = 'later'", Conditions { fragment: Some(Fragment::Later), ..nothing() }),
        ("fragment = true", Conditions { fragment: Some(Fragment::Any), ..nothing() }),
        ("malformed = true", Conditions { malformed: Some(true), ..nothing() }),
        ("name_missing = true", Conditions { name_missing: Some(true), ..nothing() }),
        ("name_pending = true", Conditions { name_pending: Some(true), ..nothing() }),
        ("tunnel = 'unread'", Conditions { tunnel: Some(Content::Unread), ..nothing() }),
        ("tunnel = false", Conditions { tunnel: Some(Content::No), ..nothing() }),
        ("answer = 'unread'", Conditions { answer: Some(Content::Unread), ..nothing() }),
        ("answer = true", Conditions { answer: Some(Content::Any), ..nothing() }),
        ("answer_name = 'Example.com'", Conditions { answer_names: vec!["example.com".into()], ..nothing() }),
        ("inner = true", Conditions { inner: true, ..nothing() }),
        ("quic = false", Conditions { quic: Some(false), ..nothing() }),
        // RFC 9000 (15) and RFC 9369 (3.1).
        ("quic = ['v1', 'v2']", Conditions { quic_versions: vec![1, 0x6B33_43CF], ..nothing() }),
        ("quic = [0, 0xFF00001D]", Conditions { quic_versions: vec![0, 0xFF00_001D], ..nothing() }),
        ("ech = false", Conditions { ech: Some(false), ..nothing() }),
        ("truncated = false", Conditions { truncated: Some(false), ..nothing() }),
    ] {
        assert_eq!(conditions(lines), expected, "{lines}");
    }
}

#[test]
fn host_names_are_compared_in_ascii_and_lower_case() {
    let names = conditions("name = ['WWW.Example.COM.', 'Bücher.example', '_dmarc.example.com']").names;
    assert_eq!(names, ["www.example.com", "xn--bcher-kva.example", "_dmarc.example.com"]);
}

#[test]
fn a_set_stands_for_its_values() {
    let file = good(
        "[sets.addresses]\noffice = ['192.0.2.0/24', '2001:db8::/32']\n[sets.ports]\nweb = [80, '8000-8999']\n\
         [sets.names]\nbad = 'ads.example'\n[[rule]]\nid = 1\naction = 'block'\nsource = ['@office', '10.0.0.0/8']\n\
         destination_port = '@web'\nname = ['@bad', 'x.example']\n",
    );
    let conditions = &file.rules[0].rule.conditions;
    assert_eq!(conditions.sources, [prefix("192.0.2.0", 24), prefix("2001:db8::", 32), prefix("10.0.0.0", 8)]);
    assert_eq!(conditions.destination_ports, [80..=80, 8000..=8999]);
    assert_eq!(conditions.names, ["ads.example", "x.example"]);
}

/// What a program sees of a diagnostic.
fn record(diagnostic: &Diagnostic, text: &str) -> Value {
    serde_json::to_value(diagnostic.record(&source(text))).unwrap()
}

#[test]
fn every_error_names_line_key_value_and_what_is_allowed() {
    // Line 4 of the file; the key, the value as written, a part of the reason, a part of what is allowed.
    for (line, key, value, why, allowed) in [
        ("direction = 'in'", "direction", "'in'", "unknown direction", "inbound"),
        ("direction = 5", "direction", "5", "expected a string, found an integer", "inbound"),
        ("link_type = 'wifi'", "link_type", "'wifi'", "unknown link type", "1 or \"ethernet\""),
        ("link_type = 105", "link_type", "105", "not supported", "276"),
        ("vlan = 4096", "vlan", "4096", "expected a number from 0 to 4095", "true for any tagged"),
        ("vlan = 'ten'", "vlan", "'ten'", "expected a number, or two", "0 to 4095"),
        ("ether_type = 0x05FF", "ether_type", "0x05FF", "expected a number from 1536 to 65535", "arp"),
        ("ip_version = 5", "ip_version", "5", "unknown version", "4 or 6"),
        ("source = '192.0.2.256'", "source", "'192.0.2.256'", "expected an IP address", "2001:db8::/32"),
        (
            "source = '192.0.2.0/33'",
            "source",
            "'192.0.2.0/33'",
            "expected a prefix length from 0 to 32",
            "192.0.2.0/24",
        ),
        (
            "source = '2001:db8::/129'",
            "source",
            "'2001:db8::/129'",
            "expected a prefix length from 0 to 128",
            "2001:db8::/32",
        ),
        (
            "source = '192.0.2.0/+8'",
            "source",
            "'192.0.2.0/+8'",
            "expected a prefix length from 0 to 32",
            "192.0.2.0/24",
        ),
        ("source = '192.0.2.1/24'", "source", "'192.0.2.1/24'", "192.0.2.0/24", "prefix"),
        ("destination = ['::', '2001:db8::1/64']", "destination", "'2001:db8::1/64'", "2001:db8::/64", "prefix"),
        ("source = '@home'", "source", "'@home'", "no set of this kind", "[sets.addresses]"),
        ("source = []", "source", "[]", "empty", "prefix"),
        ("source = {}", "source", "{}", "found a table", "prefix"),
        ("protocol = 256", "protocol", "256", "expected a number from 0 to 255", "tcp"),
        ("protocol = -1", "protocol", "-1", "expected a number from 0 to 255", "tcp"),
        ("protocol = ['tcp', 'tpc']", "protocol", "'tpc'", "unknown protocol", "tcp"),
        ("protocol = 6.0", "protocol", "6.0", "expected a string or an integer, found a float", "tcp"),
        ("source_port = 65536", "source_port", "65536", "expected a number from 0 to 65535", "8000-8999"),
        (
            "source_port = 99999999999999999999999",
            "source_port",
            "99999999999999999999999",
            "expected a number from 0",
            "65535",
        ),
        ("source_port = '9-8'", "source_port", "'9-8'", "\"8-9\"", "8000-8999"),
        ("source_port = '-5'", "source_port", "'-5'", "expected a number, or two", "8000-8999"),
        ("destination_port = 'htpps'", "destination_port", "'htpps'", "did you mean \"https\"?", "8000-8999"),
        ("icmp = '3/4/5'", "icmp", "'3/4/5'", "expected a type, or type and code", "3/4"),
        ("tcp_flags = ['syn', '!syn']", "tcp_flags", "['syn', '!syn']", "both set and not", "fin, syn"),
        ("tcp_flags = 'sin'", "tcp_flags", "'sin'", "unknown TCP flag", "fin, syn"),
        ("name = '*.example.com'", "name", "'*.example.com'", "did you mean \"example.com\"?", "names below it"),
        ("name = 'a..b'", "name", "'a..b'", "expected a host name", "example.com"),
        ("name = 'a b'", "name", "'a b'", "' ' is not allowed", "example.com"),
        ("name = ''", "name", "''", "expected a host name", "example.com"),
        ("fragment = 'second'", "fragment", "'second'", "unknown kind", "later"),
        ("malformed = 'yes'", "malformed", "'yes'", "expected a boolean, found a string", "true or false"),
        ("truncated = 1", "truncated", "1", "expected a boolean, found an integer", "true or false"),
        ("description = 1", "description", "1", "expected a string, found an integer", "a string"),
        ("port = 80", "port", "80", "no key `port`", "destination_port"),
    ] {
        let source = format!("[[rule]]\nid = 7\naction = 'block'\n{line}\n");
        let (_, diagnostics) = read(&source);
        assert_eq!(diagnostics.len(), 1, "{line}: {diagnostics:#?}");
        let record = record(&diagnostics[0], &source);
        assert_eq!(record["severity"], "error", "{line}");
        assert_eq!(record["line"], 4, "{line}");
        assert_eq!(record["key"], key, "{line}");
        assert_eq!(record["value"], value, "{line}");
        let message = record["message"].as_str().unwrap();
        assert!(message.starts_with("rule 7"), "{line}: {message}");
        assert!(message.contains(why), "{line}: {message}");
        assert!(record["allowed"].as_str().unwrap().contains(allowed), "{line}: {record}");
    }
}

#[test]
fn what_is_missing_duplicate_or_unknown_is_an_error() {
    for (source, line, why) in [
        ("[[rule]]\naction = 'block'", 1, "the 1st rule has no `id`"),
        ("[[rule]]\nid = 3", 1, "rule 3 has no `action`"),
        ("[[rule]]\nid = 0\naction = 'block'", 2, "expected a number from 1 to 4294967295"),
        ("[[rule]]\nid = 3\naction = 'drop'", 3, "unknown action"),
        (
            "[[rule]]\nid = 3\naction = 'block'\n[[rule]]\nid = 3\naction = 'block'\nprotocol = 6",
            5,
            "two rules have the id 3",
        ),
        ("default = 'deny'", 1, "unknown action"),
        ("defualt = 'block'", 1, "a policy has no key `defualt`"),
        ("rule = 5", 1, "`rule`: expected a list"),
        ("rule = [5]", 1, "`rule`: expected a table"),
        ("[sets.protocols]\nx = 6", 1, "[sets] has no key `protocols`"),
        ("sets = 5", 1, "`sets`: expected a table"),
        ("[sets]\nports = [80]", 2, "`ports`: expected a table"),
        ("[[rule]\nid = 1", 1, "not valid TOML"),
        ("[[rule]]\nid = 1\nid = 2\naction = 'block'", 3, "not valid TOML"),
        ("x = \"\\q\"", 1, "not valid TOML"),
    ] {
        let (_, diagnostics) = read(source);
        let records: Vec<_> = diagnostics.iter().map(|diagnostic| record(diagnostic, source)).collect();
        let found = records.iter().any(|record| {
            record["severity"] == "error" && record["line"] == line && record["message"].as_str().unwrap().contains(why)
        });
        assert!(found, "{source}\n{records:#?}");
    }
}

#[test]
fn a_rule_without_an_id_is_called_by_its_number() {
    for (number, ordinal) in [
        (1, "1st"),
        (2, "2nd"),
        (3, "3rd"),
        (4, "4th"),
        (10, "10th"),
        (11, "11th"),
        (12, "12th"),
        (13, "13th"),
        (21, "21st"),
        (22, "22nd"),
        (23, "23rd"),
        (101, "101st"),
        (111, "111th"),
        (112, "112th"),
        (123, "123rd"),
    ] {
        let before: String = (1..number).map(|id| format!("[[rule]]\nid = {id}\naction = 'block'\n")).collect();
        let (_, diagnostics) = read(&format!("{before}[[rule]]\naction = 'block'"));
        assert_eq!(diagnostics[0].message, format!("the {ordinal} rule has no `id`"));
    }
}

#[test]
fn a_missing_key_is_answered_with_what_it_may_be() {
    let (_, diagnostics) = read("[[rule]]\n");
    let allowed: Vec<_> = diagnostics.iter().map(|found| (found.key.as_deref(), found.allowed.as_deref())).collect();
    let id = "an integer from 1 to 4294967295, different for every rule";
    let action = "\"permit\" or \"block\"; \"count\" or \"log\", after which the next rule is tried";
    assert_eq!(allowed, [(Some("id"), Some(id)), (Some("action"), Some(action))]);
}

#[test]
fn long_values_are_shown_in_part() {
    let value = |text: &str| {
        let (_, diagnostics) = read(&format!("default = {text}"));
        diagnostics[0].value.clone().unwrap()
    };
    // Sixty characters with the quote; the bytes are more.
    let shown = format!("'{}", "ä".repeat(59));
    assert_eq!(value(&format!("{shown}'")), shown);
    assert_eq!(value(&format!("'{}'", "ä".repeat(100))), shown);
    assert_eq!(value("'drop'"), "'drop'");
    assert_eq!(value("[1,\n2]"), "[1,");
}

#[test]
fn flags_that_are_demanded_twice_are_one_and_opposites_an_error() {
    let flags = |mask, value| Conditions { tcp_flags: Some(TcpFlags { mask, value }), ..Conditions::default() };
    // Bits 0 to 7: fin, syn, rst, psh, ack, urg, ece, cwr (RFC 9293, 3.1).
    assert_eq!(conditions("tcp_flags = ['syn', 'syn', '!ack', '!ack']"), flags(0x12, 0x02));
    assert_eq!(conditions("tcp_flags = ['!fin', '!syn', 'cwr', 'urg']"), flags(0xA3, 0xA0));
    assert_eq!(conditions("tcp_flags = '!rst'"), flags(0x04, 0));
    for line in ["tcp_flags = ['!ack', 'syn', 'ack']", "tcp_flags = ['fin', '!psh', '!fin']"] {
        let (_, diagnostics) = read(&format!("[[rule]]\nid = 1\naction = 'block'\n{line}"));
        let message = "rule 1: `tcp_flags` demands that a flag be both set and not set";
        assert_eq!(diagnostics.iter().map(|found| &*found.message).collect::<Vec<_>>(), [message], "{line}");
    }
}

#[test]
fn many_sets_are_not_all_listed() {
    let policy = |count: u32| {
        let sets: String = (10..10 + count).map(|number| format!("s{number} = {number}\n")).collect();
        format!("[sets.ports]\n{sets}[[rule]]\nid = 1\naction = 'block'\nsource_port = '@nothing-like-these'")
    };
    let message = |count| {
        let (_, diagnostics) = read(&policy(count));
        diagnostics.into_iter().find(|found| found.severity == Severity::Error).unwrap().message
    };
    let listed = "the sets of this kind are @s10, @s11, @s12, @s13, @s14, @s15, @s16, @s17, @s18, @s19";
    assert!(message(10).ends_with(listed), "{}", message(10));
    assert!(message(11).ends_with(&format!("{listed} and others")), "{}", message(11));
}

#[test]
fn all_errors_are_reported_at_once_in_the_order_of_the_file() {
    let source = "default = 1\n[[rule]]\nid = 1\naction = 2\nvlan = 5000\nsource = ['x', '10.0.0.0/8', 'y']\n\
                  [[rule]]\nfoo = 1\n";
    let (_, diagnostics) = read(source);
    let lines: Vec<_> =
        diagnostics.iter().map(|diagnostic| record(diagnostic, source)["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [1, 4, 5, 6, 6, 7, 7, 8]);
}

#[test]
fn columns_count_characters() {
    let source = "description = 1\n[[rule]]\nid = 1\naction = 'block'\nname = ['bücher.example', 'ä b']";
    let (_, diagnostics) = read(source);
    let record = record(diagnostics.last().unwrap(), source);
    assert_eq!((&record["line"], &record["column"]), (&5.into(), &27.into()));
}

#[test]
fn an_unknown_set_is_answered_with_the_known_ones() {
    let source = "[sets.ports]\nweb = 80\n[[rule]]\nid = 1\naction = 'block'\nsource_port = ['@web', '@wbe']";
    let (_, diagnostics) = read(source);
    assert_eq!(diagnostics.len(), 1);
    assert!(diagnostics[0].message.contains("did you mean \"@web\"?"), "{}", diagnostics[0].message);
}

fn warnings(text: &str) -> Vec<String> {
    let (file, mut diagnostics) = file::read(&source(text));
    warn_of_shadowed(&file, &mut diagnostics);
    let diagnostics = diagnostics.shown();
    assert!(diagnostics.iter().all(|diagnostic| diagnostic.severity == Severity::Warning), "{diagnostics:#?}");
    diagnostics.into_iter().map(|diagnostic| diagnostic.message).collect()
}

#[test]
fn conditions_that_exclude_each_other_are_a_warning() {
    for (lines, keys) in [
        ("source = '192.0.2.1'\ndestination = '2001:db8::1'", "`source` and `destination`"),
        ("source = '192.0.2.1'\nip_version = 6", "`ip_version` and `source`"),
        ("protocol = 'icmp'\nsource_port = 1", "`protocol` and `source_port`"),
        ("protocol = 'udp'\ntcp_flags = 'syn'", "`protocol` and `tcp_flags`"),
        ("protocol = ['tcp', 'udp']\nicmp = 8", "`protocol` and `icmp`"),
        ("destination_port = 53\nicmp = 8", "`destination_port` and `icmp`"),
        ("tcp_flags = 'syn'\nicmp = 8", "`icmp` and `tcp_flags`"),
        ("fragment = 'later'\ndestination_port = 53", "`destination_port` and `fragment`"),
        ("fragment = 'later'\nname = 'x.example'", "`name` and `fragment`"),
        ("fragment = 'later'\ntcp_flags = 'syn'", "`tcp_flags` and `fragment`"),
        ("protocol = 'sctp'\nname = 'x.example'", "`protocol` and `name`"),
        ("ether_type = 'arp'\nsource = '192.0.2.1'", "`ether_type` and `source`"),
        ("ether_type = 'arp'\nprotocol = 'tcp'", "`ether_type` and `protocol`"),
        ("ether_type = 'ipv6'\nip_version = 4", "`ether_type` and `ip_version`"),
        ("link_type = 'ipv6'\nsource = '192.0.2.1'", "`link_type` and `source`"),
        ("link_type = 'raw'\nvlan = 7", "`link_type` and `vlan`"),
        ("link_type = ['raw', 'null']\nether_type = 'arp'", "`link_type` and `ether_type`"),
        ("ip_version = 4\nprotocol = 'ipv6-icmp'\nicmp = 128", "`ip_version` and `protocol` and `icmp`"),
        ("source = '2001:db8::/32'\nprotocol = 'icmp'\nicmp = 8", "`source` and `protocol` and `icmp`"),
        ("ip_version = 6\nprotocol = 'icmp'\nicmp = 8", "`ip_version` and `protocol` and `icmp`"),
        ("protocol = 'sctp'\nanswer_name = 'x.example'", "`protocol` and `answer_name`"),
        ("protocol = 'sctp'\nanswer = 'unread'", "`protocol` and `answer`"),
        ("fragment = 'later'\nanswer = true", "`answer` and `fragment`"),
        ("protocol = 'tcp'\nquic = true", "`protocol` and `quic`"),
        ("protocol = 'tcp'\nquic = 'v1'", "`protocol` and `quic`"),
        ("fragment = 'later'\nquic = 'v2'", "`quic` and `fragment`"),
        ("fragment = 'later'\nicmp = 8", "`icmp` and `fragment`"),
        ("fragment = 'later'\nsource_port = 53", "`source_port` and `fragment`"),
        ("protocol = 'gre'\ndestination_port = 53", "`protocol` and `destination_port`"),
        ("protocol = 'udp'\nicmp = 8", "`protocol` and `icmp`"),
        ("link_type = 'raw'\nvlan = true", "`link_type` and `vlan`"),
        ("link_type = 'ipv4'\nip_version = 6", "`link_type` and `ip_version`"),
        ("link_type = 'ipv6'\nip_version = 4", "`link_type` and `ip_version`"),
        ("ether_type = 'ipv4'\nip_version = 6", "`ether_type` and `ip_version`"),
        ("ether_type = 'lldp'\ndestination = '::1'", "`ether_type` and `destination`"),
        ("ether_type = 'arp'\nfragment = 'first'", "`ether_type` and `fragment`"),
        ("ether_type = 'arp'\nfragment = true", "`ether_type` and `fragment`"),
    ] {
        let found = warnings(&format!("[[rule]]\nid = 1\naction = 'block'\n{lines}"));
        let expected = format!("rule 1 matches no packet: {keys} exclude each other");
        assert_eq!(found, [expected], "{lines}");
    }
    for lines in [
        "source = ['192.0.2.1', '::1']\ndestination = '2001:db8::1'\nip_version = 6",
        "protocol = ['icmp', 'udp']\nsource_port = 1",
        "protocol = 'ipv6-icmp'\nicmp = 128",
        "ether_type = ['arp', 'ipv4']\nprotocol = 'tcp'\nvlan = true",
        "ether_type = 'pppoe-session'\nsource = '192.0.2.1'",
        "ether_type = 0x9999\nip_version = 6",
        "link_type = 'linux_sll'\nether_type = 'ipv6'\nsource = '::/0'\nname = 'x.example'\nfragment = 'first'",
        "fragment = true\nprotocol = 'tcp'\ntcp_flags = 'syn'\ndestination_port = 1",
        "malformed = true\nether_type = 'ipv4'",
        "vlan = false\nlink_type = 'raw'",
        "vlan = false\nether_type = 'arp'\nlink_type = 'ethernet'",
        "ip_version = 6\nprotocol = 'icmp'",
        "protocol = 'icmp'\nicmp = 8\nip_version = 4\nlink_type = 'ipv4'\nfragment = 'first'",
        "protocol = 'icmp'\nanswer = false\nquic = false",
        "fragment = 'later'\nanswer = 'no'\nquic = false",
        "fragment = 'first'\ndestination_port = 53\nsource_port = 53\nname = 'x.example'",
        "fragment = false\ndestination_port = 53\nanswer = 'unread'\nanswer_name = 'x.example'",
        "protocol = 'udp'\nquic = ['v1', 'v2']\nip_version = 6\nlink_type = 'ipv6'",
        "protocol = ['udp', 'tcp']\ntcp_flags = 'syn'\nname = 'x.example'",
        "fragment = 'later'\nip_version = 6\nether_type = 'ipv6'\nprotocol = 'tcp'",
        "inner = true\nether_type = 'arp'\nsource = '192.0.2.1'",
    ] {
        assert_eq!(warnings(&format!("[[rule]]\nid = 1\naction = 'block'\n{lines}")), [""; 0], "{lines}");
    }
}

#[test]
fn mapped_addresses_are_a_warning() {
    let found = warnings("[[rule]]\nid = 1\naction = 'block'\nsource = ['::ffff:192.0.2.0/120', '2001:db8::/32']");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("did you mean \"192.0.2.0/24\"?"), "{}", found[0]);
}

#[test]
fn ranges_services_types_and_numbers_can_be_written_by_name() {
    for (lines, expected) in [
        ("source = '192.0.2.0 - 192.0.2.255'", "source = '192.0.2.0/24'"),
        ("destination_port = ['https', 'dns', '8000-8999']", "destination_port = [443, 53, '8000-8999']"),
        ("protocol = ['6', 'udp']", "protocol = [6, 17]"),
        ("protocol = 'icmp'\nicmp = ['echo-request', 'destination-unreachable/4']", "protocol = 1\nicmp = [8, '3/4']"),
        ("protocol = 'icmpv6'\nicmp = ['echo-request', 'packet-too-big']", "protocol = 58\nicmp = [128, 2]"),
    ] {
        assert_eq!(conditions(lines), conditions(expected), "{lines}");
    }
    for (lines, why) in [
        ("icmp = 'echo-request'", "depends on the protocol"),
        ("protocol = ['icmp', 'icmpv6']\nicmp = 'redirect'", "depends on the protocol"),
        ("protocol = 'icmp'\nicmp = 'packet-too-big'", "ICMP has no such type"),
        ("protocol = 'icmpv6'\nicmp = 'timestamp-request'", "ICMPv6 has no such type"),
        ("protocol = 'icmp'\nicmp = 'ehco-request'", "did you mean \"echo-request\"?"),
        ("source = '192.0.2.9-192.0.2.1'", "did you mean \"192.0.2.1-192.0.2.9\"?"),
        ("source = '192.0.2.9-::1'", "one version of IP"),
        ("protocol = '256'", "expected a number from 0 to 255"),
    ] {
        let (_, diagnostics) = read(&format!("[[rule]]\nid = 1\naction = 'block'\n{lines}"));
        assert!(diagnostics[0].message.contains(why), "{lines}: {}", diagnostics[0].message);
    }
}

#[test]
fn values_can_be_excluded() {
    for (lines, expected) in [
        ("source = ['10.0.0.0/8', '!10.128.0.0/9']", "source = '10.0.0.0/9'"),
        ("source = '!0.0.0.0/1'", "source = ['128.0.0.0/1', '::/0']"),
        ("destination_port = '!445'", "destination_port = ['0-444', '446-65535']"),
        ("destination_port = ['1-10', '! 3-4', '!https']", "destination_port = ['1-2', '5-10']"),
        ("vlan = '!7'", "vlan = ['0-6', '8-4095']"),
        ("protocol = ['tcp', 'udp', '!tcp']", "protocol = 'udp'"),
    ] {
        assert_eq!(conditions(lines), conditions(expected), "{lines}");
    }
    assert_eq!(conditions("protocol = '!tcp'").protocols.len(), 255);
    for (lines, why) in [
        ("source = ['10.0.0.0/8', '!0.0.0.0/0']", "all that it includes is excluded"),
        ("name = '!x.example'", "names cannot be excluded"),
        ("icmp = '!8'", "expected a type"),
    ] {
        let (_, diagnostics) = read(&format!("[[rule]]\nid = 1\naction = 'block'\n{lines}"));
        assert!(diagnostics[0].message.contains(why), "{lines}: {}", diagnostics[0].message);
    }
}

#[test]
fn a_rule_has_names_of_one_kind() {
    let text = "[[rule]]\nid = 7\naction = 'block'\nname = 'a.example'\nanswer_name = 'b.example'";
    let (_, diagnostics) = read(text);
    assert_eq!(diagnostics[0].message, "rule 7 has both `name` and `answer_name`");
    assert_eq!(diagnostics[0].allowed.as_deref(), Some("one of the two; each can have a rule of its own"));
}

#[test]
fn sets_can_have_other_sets() {
    let file = good(
        "[sets.addresses]\nall = ['@office', '@home', '!@lab']\noffice = '192.0.2.0/24'\nhome = '198.51.100.0/24'\n\
         lab = '192.0.2.0/25'\n[[rule]]\nid = 1\naction = 'block'\nsource = '@all'\n",
    );
    let sources = &file.rules[0].rule.conditions.sources;
    assert_eq!(sources[..], [prefix("192.0.2.128", 25), prefix("198.51.100.0", 24)]);
    let (_, diagnostics) = read("[sets.names]\na = '@b'\nb = '@c'\nc = ['x.example', '@a']\n");
    let errors: Vec<_> = diagnostics.iter().filter(|found| found.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].message.contains("set c: `c` cannot be '@a': the set names itself"), "{}", errors[0].message);
}

#[test]
fn words_of_other_firewalls_and_slips_are_answered_with_what_was_meant() {
    for (text, meant) in [
        ("[[rule]]\nid = 1\naction = 'drop'", "block"),
        ("[[rule]]\nid = 1\naction = 'allow'", "permit"),
        ("[[rule]]\nid = 1\naction = 'blok'", "block"),
        ("[[rule]]\nid = 1\naction = 'block'\ndirection = 'in'", "inbound"),
        ("[[rule]]\nid = 1\naction = 'block'\ndestinaton = '::1'", "destination"),
        ("[[rule]]\nid = 1\naction = 'block'\nprotocol = 'tpc'", "tcp"),
        ("[[rule]]\nid = 1\naction = 'block'\nfragment = 'frist'", "first"),
        ("[[rule]]\nid = 1\naction = 'block'\ntcp_flags = '!sny'", "syn"),
        ("[[rule]]\nid = 1\naction = 'block'\nlink_type = 'ethernt'", "ethernet"),
        ("defualt = 'block'", "default"),
    ] {
        let (_, diagnostics) = read(text);
        assert!(diagnostics[0].message.ends_with(&format!("did you mean \"{meant}\"?")), "{}", diagnostics[0].message);
    }
}

#[test]
fn a_value_that_a_hint_suggests_is_allowed() {
    for line in [
        "name = '*.example.com'",
        "name = '.example.com'",
        "source = '192.0.2.1/24'",
        "source = '2001:db8::1/32'",
        "source = '192.0.2.9-192.0.2.1'",
        "destination_port = '90-80'",
        "destination_port = 'htttp'",
        "protocol = 'tcpp'",
        "ether_type = 'apr'",
        "direction = 'inbuond'",
    ] {
        let (_, diagnostics) = read(&format!("[[rule]]\nid = 1\naction = 'block'\n{line}"));
        let meant = diagnostics[0].message.split("did you mean \"").nth(1);
        let meant = meant.unwrap_or_else(|| panic!("{}", diagnostics[0].message)).split('"').next().unwrap();
        let (key, _) = line.split_once(" = ").unwrap();
        conditions(&format!("{key} = '{meant}'"));
    }
    for name in [".", "*", "*."] {
        let (_, diagnostics) = read(&format!("[[rule]]\nid = 1\naction = 'block'\nname = '{name}'"));
        assert!(diagnostics[0].message.contains("every name is below the root"), "{}", diagnostics[0].message);
    }
    // There is nothing to suggest for these.
    for line in ["name = '.'", "name = '*'", "name = '*.'", "name = '*.a b'", "name = '..'"] {
        let (_, diagnostics) = read(&format!("[[rule]]\nid = 1\naction = 'block'\n{line}"));
        assert!(!diagnostics[0].message.contains("did you mean"), "{line}: {}", diagnostics[0].message);
    }
}

#[test]
fn at_most_fifty_errors_are_shown_and_the_rest_counted_in_time_that_grows_with_their_number() {
    let names: Vec<_> = (0..150_000).map(|number| format!("'*.host-{number}.example'")).collect();
    for separator in [", ", ",\n"] {
        let text = format!("[sets.names]\nbad = [{}]\n", names.join(separator));
        let source = source(&text);
        let (_, diagnostics) = file::read(&source);
        assert_eq!(diagnostics.errors(), 150_000);
        let shown = diagnostics.shown();
        let errors: Vec<_> = shown.iter().filter(|found| found.severity == Severity::Error).collect();
        assert_eq!(errors.len(), 50);
        assert!(errors[49].message.contains("host-49.example"), "{}", errors[49].message);
        assert!(errors.iter().all(|error| error.render(&source).len() < 20_000));
    }
}

#[test]
fn a_set_that_no_rule_uses_is_a_warning() {
    assert_eq!(warnings("[sets.names]\nx = 'x.example'"), ["no rule uses the set @x"]);
}

#[test]
fn a_rule_that_an_earlier_one_covers_is_a_warning() {
    let source = "[[rule]]\nid = 10\naction = 'permit'\nsource = '10.0.0.0/8'\n[[rule]]\nid = 20\naction = 'block'\n\
                  source = '10.1.0.0/16'\nprotocol = 'tcp'\n[[rule]]\nid = 30\naction = 'block'\n";
    let found = warnings(source);
    assert_eq!(found, ["rule 20 never decides: rule 10 comes first and matches all of its packets"]);
}

#[test]
fn a_rendered_error_points_at_its_place() {
    let text = "[[rule]]\nid = 1\naction = 'block'\nvlan = 5000\n";
    let (_, diagnostics) = read(text);
    let text = anstream::adapter::strip_str(&diagnostics[0].render(&source(text))).to_string();
    for part in ["error: rule 1: `vlan` cannot be 5000", "office.toml:4:8", "vlan = 5000", "^^^^", "allowed: a VLAN id"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn a_line_that_is_too_long_is_named_and_not_shown() {
    let rendered = |length: usize| {
        let start = "vlan = 5000 #";
        let line = format!("{start}{}", "x".repeat(length - start.len()));
        let text = format!("[[rule]]\nid = 1\naction = 'block'\n{line}\n");
        let (_, diagnostics) = read(&text);
        anstream::adapter::strip_str(&diagnostics[0].render(&source(&text))).to_string()
    };
    for (length, is_shown) in [(1999, true), (2000, true), (2001, false), (3000, false)] {
        let text = rendered(length);
        assert!(text.contains("office.toml:4:8"), "{length}: {text}");
        assert_eq!(text.contains("vlan = 5000 #"), is_shown, "{length}: {text}");
    }
}

#[test]
fn an_error_at_the_end_of_the_file_has_a_place() {
    let text = "default = ";
    let (_, diagnostics) = read(text);
    let record = record(&diagnostics[0], text);
    assert_eq!((&record["line"], &record["column"]), (&1.into(), &11.into()));
    let rendered = anstream::adapter::strip_str(&diagnostics[0].render(&source(text))).to_string();
    assert!(rendered.contains("office.toml:1:11") && rendered.contains("default = "), "{rendered}");
}

#[test]
fn both_places_of_a_warning_are_shown() {
    let text = "[[rule]]\nid = 10\naction = 'permit'\n[[rule]]\nid = 20\naction = 'block'\n";
    let (file, mut diagnostics) = file::read(&source(text));
    warn_of_shadowed(&file, &mut diagnostics);
    let shown = diagnostics.shown();
    assert_eq!((shown[0].key.as_deref(), shown[0].value.as_deref()), (Some("id"), Some("20")));
    let rendered = anstream::adapter::strip_str(&shown[0].render(&source(text))).to_string();
    for part in ["warning: rule 20 never decides", "5 | id = 20", "2 | id = 10", "-- the rule that comes first"] {
        assert!(rendered.contains(part), "{part}\n{rendered}");
    }
}

#[test]
fn what_a_list_has_is_said_in_words() {
    let list = |noun, taken, left_out: &[(&'static str, usize)], widened: &[(&'static str, usize)]| {
        let (left_out, widened) = (left_out.iter().copied().collect(), widened.iter().copied().collect());
        file::ListRecord { path: "a.txt".to_owned(), noun, taken, left_out, widened }.text()
    };
    assert_eq!(list("name", 1, &[], &[]), "a.txt: 1 name");
    assert_eq!(list("prefix", 0, &[], &[]), "a.txt: 0 prefixes");
    assert_eq!(list("name", 2, &[("URLs", 3), ("names", 1)], &[]), "a.txt: 2 names; left out: 3 URLs, 1 names");
    let both = list("prefix", 3, &[("URLs", 1)], &[("wide", 2)]);
    assert_eq!(both, "a.txt: 3 prefixes; among them 2 wide; left out: 1 URLs");
}

#[test]
fn the_example_of_the_documentation_is_a_policy() {
    let example = DOCUMENTATION.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let file = good(example);
    let ids: Vec<_> = file.rules.iter().map(|entry| entry.rule.id).collect();
    assert_eq!(ids, [1, 2, 3, 10, 20, 30]);
    assert_eq!(file.rules[4].rule.conditions.names, ["ads.example.com", "xn--bcher-kva.example"]);
    assert_eq!(warnings(example), [""; 0]);
}

#[test]
fn schema_and_documentation_have_the_keys_that_are_understood() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let keys = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
    let expected = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    assert_eq!(keys(&schema["properties"]), expected(&super::file::POLICY_KEYS));
    assert_eq!(keys(&schema["properties"]["sets"]["properties"]), expected(&super::file::SET_KEYS));
    assert_eq!(keys(&schema["$defs"]["rule"]["properties"]), expected(&super::file::RULE_KEYS));
    for key in super::file::RULE_KEYS {
        assert!(DOCUMENTATION.contains(&format!("`{key}`")), "docs/policy.md does not have the key {key}");
    }
}

#[test]
fn the_schema_lists_the_names_that_are_understood() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let rule = &schema["$defs"]["rule"]["properties"];
    for (key, value) in [
        ("protocol", "/oneOf/0/anyOf/1/enum"),
        ("ether_type", "/oneOf/0/oneOf/1/enum"),
        ("link_type", "/oneOf/0/enum"),
        ("tcp_flags", "/oneOf/0/enum"),
    ] {
        for value in rule[key].pointer(value).unwrap().as_array().unwrap() {
            conditions(&format!("{key} = {value}"));
        }
    }
    let listed = |key: &str, pointer: &str| rule[key].pointer(pointer).unwrap().as_array().unwrap().clone();
    let actions: Vec<_> = rule["action"]["enum"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(actions, RuleAction::NAMES.map(|(_, name)| name));
    for (_, name) in sluice_core::protocol::NAMES {
        assert!(listed("protocol", "/oneOf/0/anyOf/1/enum").contains(&name.into()), "{name}");
    }
    for (_, name) in sluice_core::ether_type::NAMES {
        assert!(listed("ether_type", "/oneOf/0/oneOf/1/enum").contains(&name.into()), "{name}");
    }
    for (_, name) in sluice_npi::link_type::NAMES {
        assert!(listed("link_type", "/oneOf/0/enum").contains(&name.into()), "{name}");
    }
}

#[test]
fn masks_keep_the_bits_of_the_prefix() {
    for (address, length, expected) in [
        ("255.255.255.255", 0, "0.0.0.0"),
        ("255.255.255.255", 9, "255.128.0.0"),
        ("192.0.2.1", 32, "192.0.2.1"),
        ("ffff::ffff", 0, "::"),
        ("2001:db8:ffff::1", 33, "2001:db8:8000::"),
        ("2001:db8::1", 128, "2001:db8::1"),
    ] {
        let masked = super::address::mask(address.parse().unwrap(), length);
        assert_eq!(masked, expected.parse::<IpAddr>().unwrap(), "{address}/{length}");
    }
}
