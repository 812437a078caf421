//! Files of names and of addresses, in the formats in which lists are passed around. `docs/policy.md` describes them.
//!
//! Each line is read by itself, whatever format the lines before it have. What a line says that a list cannot hold is
//! left out, and counted by reason.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use sluice_core::compile::Prefix;

use super::address;
use super::host_name::host_name;
use super::source::is_utf16;

/// The first two bytes of a gzip file (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1F, 0x8B];

/// The longest list that is read, decompressed, in bytes.
const LONGEST: u64 = 1 << 30;

/// Why a line, or a part of one, is left out.
type Reason = &'static str;

/// A format of files: what a line without its comment adds to a list.
pub(super) struct Format<T> {
    /// What the items are.
    pub(super) noun: &'static str,
    line: fn(&str, &mut List<T>),
}

impl<T> Clone for Format<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Format<T> {}

pub(super) const NAMES: Format<String> = Format { noun: "name", line: name_line };

pub(super) const ADDRESSES: Format<Prefix> = Format { noun: "prefix", line: address_line };

/// What a file has.
#[derive(Debug)]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
    /// How many lines were left out, by reason.
    pub(super) left_out: BTreeMap<Reason, usize>,
    /// How many items stand for more than was written, by reason.
    pub(super) widened: BTreeMap<Reason, usize>,
}

impl<T> List<T> {
    fn leave_out(&mut self, reason: Reason) {
        *self.left_out.entry(reason).or_default() += 1;
    }

    fn widen(&mut self, reason: Reason) {
        *self.widened.entry(reason).or_default() += 1;
    }
}

/// Reads a file, which may be compressed with gzip.
pub(super) fn read<T>(path: &Path, format: Format<T>) -> Result<List<T>, String> {
    let unreadable = |error: io::Error| format!("cannot read {}: {error}", path.display());
    let too_long = || format!("{} is longer than {LONGEST} bytes", path.display());
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = all_of(file, LONGEST).map_err(unreadable)?.ok_or_else(too_long)?;
    if bytes.starts_with(&GZIP) {
        bytes = all_of(MultiGzDecoder::new(&bytes[..]), LONGEST).map_err(unreadable)?.ok_or_else(too_long)?;
    }
    if is_utf16(&bytes) {
        return Err(format!("{}: expected UTF-8 text, found UTF-16", path.display()));
    }
    Ok(parse(&bytes, format))
}

/// What can be read, unless that is more than `longest` bytes.
fn all_of(source: impl Read, longest: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    source.take(longest + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= longest).then_some(bytes))
}

fn parse<T>(bytes: &[u8], format: Format<T>) -> List<T> {
    let mut list = List { items: Vec::new(), left_out: BTreeMap::new(), widened: BTreeMap::new() };
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    for line in bytes.split(|byte| *byte == b'\n') {
        match std::str::from_utf8(line) {
            Ok(line) => (format.line)(line.trim(), &mut list),
            Err(_) => list.leave_out("lines that are not UTF-8"),
        }
    }
    list
}

/// The part of a line before a comment.
fn before_comment(line: &str) -> &str {
    let comment = line
        .char_indices()
        .zip(line.chars().skip(1))
        .find_map(|((at, char), next)| (char.is_whitespace() && matches!(next, '#' | ';')).then_some(at));
    comment.map_or(line, |at| &line[..at]).trim_end()
}

fn name_line(line: &str, list: &mut List<String>) {
    // Adblock lists have comments that start with "!", and a title in brackets.
    let is_comment = line.starts_with(['#', '!', ';']) && !line.starts_with("##.") && !line.starts_with("###");
    if line.is_empty() || is_comment || line.starts_with('[') && line.ends_with(']') || line.starts_with("//") {
        return;
    }
    if line.starts_with("@@") {
        return list.leave_out("exceptions");
    }
    if ["##", "#@#", "#?#", "#$#", "#%#"].into_iter().any(|mark| line.contains(mark)) {
        return list.leave_out("cosmetic rules");
    }
    if line.starts_with('/') && line.ends_with('/') {
        return list.leave_out("regular expressions");
    }
    if let Some(rule) = line.strip_prefix("||") {
        return adblock_rule(rule, list);
    }
    let line = before_comment(line);
    if let Some(rest) = ["address=/", "server=/", "local=/"].into_iter().find_map(|option| line.strip_prefix(option)) {
        // dnsmasq
        return one_name(rest.split('/').next().unwrap_or_default(), list);
    }
    if let Some(rest) = line.strip_prefix("local-zone:") {
        // Unbound
        return one_name(rest.split('"').nth(1).unwrap_or_default(), list);
    }
    let mut words = line.split_ascii_whitespace();
    let (Some(first), second) = (words.next(), words.next()) else { return };
    match second {
        None => one_name(first, list),
        Some(second) => match first.parse::<IpAddr>() {
            Ok(address) => hosts_line(address, [second].into_iter().chain(words), list),
            Err(_) => zone_line(first, [second].into_iter().chain(words), list),
        },
    }
}

/// A rule of an adblock list after `||`: only those for a whole domain say what a name does.
fn adblock_rule(rule: &str, list: &mut List<String>) {
    let (pattern, options) = rule.split_once('$').map_or((rule, None), |(pattern, options)| (pattern, Some(options)));
    if options.is_some_and(|options| !options.split(',').all(|one| matches!(one, "important" | "all" | "document"))) {
        return list.leave_out("rules with options");
    }
    let Some(name) = pattern.strip_suffix('^').or_else(|| pattern.strip_suffix("^|")) else {
        return list.leave_out("rules for paths or parts of names");
    };
    if name.contains(['/', '^', '?', '=']) {
        return list.leave_out("rules for paths or parts of names");
    }
    one_name(name, list);
}

/// A line of a hosts file: an address and its names.
fn hosts_line<'a>(address: IpAddr, names: impl Iterator<Item = &'a str>, list: &mut List<String>) {
    let is_sink = address.is_unspecified() || address.is_loopback();
    for name in names {
        if !is_sink {
            list.leave_out("hosts with an address of their own");
        } else if is_own_name(name) {
            list.leave_out("names of the machine itself");
        } else {
            one_name(name, list);
        }
    }
}

/// The names that a hosts file gives the machine itself, and those of groups of machines.
fn is_own_name(name: &str) -> bool {
    matches!(name, "localhost" | "localhost.localdomain" | "local" | "broadcasthost" | "0.0.0.0")
        || name.starts_with("ip6-")
}

/// A line of a zone file with a response policy: a name, and what an answer for it is replaced by.
fn zone_line<'a>(owner: &str, words: impl Iterator<Item = &'a str>, list: &mut List<String>) {
    let mut rest = words.skip_while(|word| word.eq_ignore_ascii_case("IN") || word.bytes().all(|b| b.is_ascii_digit()));
    let kind = rest.next().unwrap_or_default().to_ascii_uppercase();
    let target = rest.next().unwrap_or_default();
    if owner.starts_with('$') || owner == "@" || matches!(kind.as_str(), "SOA" | "NS") {
        return;
    }
    let trigger = owner.rsplit('.').find(|label| !label.is_empty()).unwrap_or_default();
    if ["rpz-ip", "rpz-nsip", "rpz-nsdname", "rpz-client-ip"].contains(&trigger) {
        return list.leave_out("triggers other than names");
    }
    match kind.as_str() {
        "CNAME" if target == "." || target == "*." || target == "rpz-drop." => one_name(owner, list),
        "CNAME" if target == "rpz-passthru." => list.leave_out("exceptions"),
        "A" | "AAAA" if target.parse::<IpAddr>().is_ok_and(|to| to.is_unspecified() || to.is_loopback()) => {
            one_name(owner, list);
        }
        "CNAME" | "A" | "AAAA" => list.leave_out("answers that are replaced"),
        _ => list.leave_out("lines that are not names"),
    }
}

/// A name, or a pattern for the names below it.
fn one_name(text: &str, list: &mut List<String>) {
    let parent = text.strip_prefix("*.");
    let name = parent.or_else(|| text.strip_prefix('.')).unwrap_or(text);
    match host_name(name) {
        Ok(_) if name.parse::<IpAddr>().is_ok() => list.leave_out("addresses"),
        Ok(name) => {
            if parent.is_some() {
                list.widen("wildcards, which include the name itself");
            }
            list.items.push(name);
        }
        Err(_) if name.parse::<IpAddr>().is_ok() => list.leave_out("addresses"),
        Err(_) if name.contains("://") => list.leave_out("URLs"),
        Err(_) if name.contains('*') => list.leave_out("wildcards within a name"),
        Err(_) => list.leave_out("lines that are not names"),
    }
}

fn address_line(line: &str, list: &mut List<Prefix>) {
    if line.is_empty() || line.starts_with(['#', ';', '!']) || line.starts_with("//") {
        return;
    }
    let line = before_comment(line);
    // A line of ipset, and the description before a range in lists for file sharing.
    let line = line.strip_prefix("add ").and_then(|rest| rest.split_ascii_whitespace().nth(1)).unwrap_or(line);
    let described = line.rsplit_once(':').map(|(_, range)| range).filter(|range| address::parse(range).is_ok());
    let parsed = address::parse(line).or_else(|why| described.map_or(Err(why), address::parse));
    match (parsed, address::with_host_bits(line)) {
        (Ok(prefixes), _) => list.items.extend(prefixes),
        (Err(_), Ok((prefix, _))) => {
            list.widen("prefixes with bits beyond their length");
            list.items.push(prefix);
        }
        (Err(_), Err(_)) if host_name(line).is_ok() => list.leave_out("names"),
        (Err(_), Err(_)) => list.leave_out("lines that are not addresses"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> (Vec<String>, BTreeMap<Reason, usize>) {
        let List { items, left_out, .. } = parse(text.as_bytes(), NAMES);
        (items, left_out)
    }

    #[test]
    fn one_name_a_line() {
        let text = "\u{FEFF}# a list\r\nads.example.com\r\n\r\n  Bücher.example  # a \
         shop\n*.tracker.example\n.below.example.\n\
                    a b c d\nhttp://x.example/\n192.0.2.1\nad*.example\n_dmarc.example\n";
        let List { items, left_out, widened } = parse(text.as_bytes(), NAMES);
        let expected =
            ["ads.example.com", "xn--bcher-kva.example", "tracker.example", "below.example", "_dmarc.example"];
        assert_eq!(items, expected);
        let expected = [("URLs", 1), ("addresses", 1), ("lines that are not names", 1), ("wildcards within a name", 1)];
        assert_eq!(left_out, BTreeMap::from(expected));
        assert_eq!(widened.values().sum::<usize>(), 1);
    }

    #[test]
    fn hosts_files() {
        let text = "127.0.0.1 localhost\n::1 ip6-localhost ip6-loopback\n0.0.0.0 ads.example.com tracker.example # \
         two\n\
                    127.0.0.1\tmetrics.example\n192.0.2.7 printer.example\n0.0.0.0 0.0.0.0\n";
        let (items, left_out) = names(text);
        assert_eq!(items, ["ads.example.com", "tracker.example", "metrics.example"]);
        let expected = [("hosts with an address of their own", 1), ("names of the machine itself", 4)];
        assert_eq!(left_out, BTreeMap::from(expected));
    }

    #[test]
    fn response_policy_zones() {
        let text = "$TTL 300\n@ SOA localhost. root.localhost. 1 2 3 4 5\n@ NS localhost.\nbad.example CNAME .\n\
                    *.bad.example IN CNAME .\nnodata.example 60 IN CNAME *.\nsink.example A 0.0.0.0\n\
                    good.example CNAME rpz-passthru.\n24.0.2.0.192.rpz-ip CNAME .\nother.example CNAME \
                    www.example.com.\n";
        let (items, left_out) = names(text);
        assert_eq!(items, ["bad.example", "bad.example", "nodata.example", "sink.example"]);
        let expected = [("answers that are replaced", 1), ("exceptions", 1), ("triggers other than names", 1)];
        assert_eq!(left_out, BTreeMap::from(expected));
    }

    #[test]
    fn adblock_rules_for_whole_domains() {
        let text = "[Adblock Plus 2.0]\n! Title: \
         x\n||ads.example.com^\n||tracker.example^$important\n||x.example^$third-party\n\
                    ||y.example/banner^\n@@||good.example^\nexample.com##.ad\n##.banner\n/ads[0-9]/\n||part.exam\n";
        let (items, left_out) = names(text);
        assert_eq!(items, ["ads.example.com", "tracker.example"]);
        let expected = [
            ("cosmetic rules", 2),
            ("exceptions", 1),
            ("regular expressions", 1),
            ("rules for paths or parts of names", 2),
            ("rules with options", 1),
        ];
        assert_eq!(left_out, BTreeMap::from(expected));
    }

    #[test]
    fn resolvers_have_formats_of_their_own() {
        let text = "address=/ads.example.com/0.0.0.0\nserver=/x.example/\nlocal-zone: \"y.example.\" always_nxdomain\n";
        assert_eq!(names(text).0, ["ads.example.com", "x.example", "y.example"]);
    }

    #[test]
    fn addresses_prefixes_and_ranges() {
        let text = "# drop\n192.0.2.0/24 ; SBL1\n198.51.100.7\n2001:db8::/32\n203.0.113.4-203.0.113.7\n\
                    Some Company: Inc:203.0.113.8-203.0.113.9\nadd block 192.0.2.128/25 comment \"x\"\n10.1.2.3/8\n\
                    ads.example.com\n10.0.0.0/33\n";
        let List { items, left_out, widened } = parse(text.as_bytes(), ADDRESSES);
        let items: Vec<_> = items.iter().map(ToString::to_string).collect();
        assert_eq!(
            items,
            [
                "192.0.2.0/24",
                "198.51.100.7/32",
                "2001:db8::/32",
                "203.0.113.4/30",
                "203.0.113.8/31",
                "192.0.2.128/25",
                "10.0.0.0/8"
            ]
        );
        assert_eq!(left_out, BTreeMap::from([("lines that are not addresses", 1), ("names", 1)]));
        assert_eq!(widened, BTreeMap::from([("prefixes with bits beyond their length", 1)]));
    }

    /// What a file of one line has: its name, or why it is left out, or neither.
    fn one(line: &str) -> String {
        let (names, left_out) = names(line);
        names.into_iter().chain(left_out.into_keys().map(str::to_owned)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_titles_and_empty_lines_say_nothing() {
        for line in ["", "# x", "#x.example", "!x", "; x", "//x.example", "[Adblock Plus]", "# a ## b", "   "] {
            assert_eq!(one(line), "", "{line}");
        }
        for (line, expected) in [
            ("x.example #y", "x.example"),
            ("x.example ; y", "x.example"),
            ("x.example\t# y", "x.example"),
            // What has no space before it is no comment.
            ("x.example#y", "lines that are not names"),
            ("x.example;y", "lines that are not names"),
            ("[x.example", "lines that are not names"),
            ("x.example]", "lines that are not names"),
            ("/x.example", "lines that are not names"),
            ("x.example/", "lines that are not names"),
            ("/x.example/", "regular expressions"),
            ("##.x", "cosmetic rules"),
            ("###x", "cosmetic rules"),
            ("x.example#@#y", "cosmetic rules"),
            ("x.example#?#y", "cosmetic rules"),
            ("@@x.example", "exceptions"),
            ("192.0.2.1", "addresses"),
            ("2001:db8::1", "addresses"),
            ("*.192.0.2.1", "addresses"),
            ("https://x.example", "URLs"),
            ("a*.example", "wildcards within a name"),
            ("a_b.example", "a_b.example"),
        ] {
            assert_eq!(one(line), expected, "{line}");
        }
    }

    #[test]
    fn adblock_rules_are_for_whole_domains_alone() {
        let partial = "rules for paths or parts of names";
        for (line, expected) in [
            ("||x.example^", "x.example"),
            ("||x.example^|", "x.example"),
            ("||x.example^$important", "x.example"),
            ("||x.example^$all,document", "x.example"),
            ("||x.example^$important,third-party", "rules with options"),
            ("||x.example^$script", "rules with options"),
            ("||x.example", partial),
            ("||x.example|", partial),
            ("||x.example/y^", partial),
            ("||x.example^y^", partial),
            ("||x.example?y^", partial),
            ("||x.example=y^", partial),
        ] {
            assert_eq!(one(line), expected, "{line}");
        }
    }

    #[test]
    fn hosts_are_names_where_their_address_leads_nowhere() {
        let own = "names of the machine itself";
        for (line, expected) in [
            ("0.0.0.0 x.example", "x.example"),
            ("127.0.0.1 x.example", "x.example"),
            ("127.8.9.1 x.example", "x.example"),
            (":: x.example", "x.example"),
            ("::1\tx.example y.example", "x.example y.example"),
            ("192.0.2.1 x.example", "hosts with an address of their own"),
            ("fe80::1 localhost", "hosts with an address of their own"),
            ("127.0.0.1 localhost", own),
            ("127.0.0.1 localhost.localdomain", own),
            ("127.0.0.1 local", own),
            ("255.255.255.255 broadcasthost", "hosts with an address of their own"),
            ("127.0.0.1 broadcasthost", own),
            ("0.0.0.0 0.0.0.0", own),
            ("::1 ip6-loopback", own),
            ("0.0.0.0 local.example", "local.example"),
        ] {
            assert_eq!(one(line), expected, "{line}");
        }
    }

    /// The records and actions of draft-vixie-dnsop-dns-rpz.
    #[test]
    fn zones_are_names_where_their_answer_leads_nowhere() {
        for (line, expected) in [
            ("x.example CNAME .", "x.example"),
            ("x.example CNAME *.", "x.example"),
            ("x.example cname rpz-drop.", "x.example"),
            ("x.example 300 IN CNAME .", "x.example"),
            ("x.example IN 300 CNAME .", "x.example"),
            ("x.example in A 127.0.0.1", "x.example"),
            ("x.example A 0.0.0.0", "x.example"),
            ("x.example AAAA ::", "x.example"),
            ("x.example AAAA ::1", "x.example"),
            ("x.example CNAME rpz-passthru.", "exceptions"),
            ("x.example CNAME y.example.", "answers that are replaced"),
            ("x.example A 192.0.2.1", "answers that are replaced"),
            ("x.example AAAA 2001:db8::1", "answers that are replaced"),
            ("x.example A y", "answers that are replaced"),
            ("x.example TXT .", "lines that are not names"),
            ("x.example IN", "lines that are not names"),
            ("x.example SOA a b", ""),
            ("x.example NS a", ""),
            ("@ A 127.0.0.1", ""),
            ("$ORIGIN x.example", ""),
            ("32.1.2.0.192.rpz-ip CNAME .", "triggers other than names"),
            ("32.1.2.0.192.rpz-nsip. CNAME .", "triggers other than names"),
            ("ns.x.example.rpz-nsdname CNAME .", "triggers other than names"),
            ("32.1.2.0.192.rpz-client-ip CNAME .", "triggers other than names"),
            ("rpz-ip.example CNAME .", "rpz-ip.example"),
        ] {
            assert_eq!(one(line), expected, "{line}");
        }
    }

    #[test]
    fn lines_of_addresses_say_what_they_say() {
        for (line, expected) in [
            ("", ""),
            ("# 192.0.2.1", ""),
            ("; 192.0.2.1", ""),
            ("! 192.0.2.1", ""),
            ("//192.0.2.1", ""),
            ("192.0.2.1 # x", "192.0.2.1/32"),
            ("192.0.2.1;x", "lines that are not addresses"),
            ("192.0.2.77/24", "192.0.2.0/24 prefixes with bits beyond their length"),
            ("x:2001:db8::1", "lines that are not addresses"),
            ("x: y:192.0.2.1", "192.0.2.1/32"),
            ("add a 192.0.2.1", "192.0.2.1/32"),
            ("x.example", "names"),
            ("x y", "lines that are not addresses"),
        ] {
            let List { items, left_out, widened } = parse(line.as_bytes(), ADDRESSES);
            let reasons = left_out.into_iter().chain(widened).map(|(reason, count)| {
                assert_eq!(count, 1, "{line}");
                reason.to_owned()
            });
            let found: Vec<_> = items.iter().map(ToString::to_string).chain(reasons).collect();
            assert_eq!(found.join(" "), expected, "{line}");
        }
    }

    #[test]
    fn what_is_left_out_or_widened_is_counted() {
        let List { items, left_out, widened } = parse(b"@@a\n*.x.example\n@@b\n*.y.example\n\xFF\n@@c\n\xFF", NAMES);
        assert_eq!(items, ["x.example", "y.example"]);
        assert_eq!(left_out, BTreeMap::from([("exceptions", 3), ("lines that are not UTF-8", 2)]));
        assert_eq!(widened, BTreeMap::from([("wildcards, which include the name itself", 2)]));
    }

    #[test]
    fn any_bytes_are_read_to_their_end() {
        let text = b"\xFF\xFE\x00\nx.example\n\x80\n||\n@@\n\"\n$\n=\n/\n*\n.\n";
        assert_eq!(parse(&text[3..], NAMES).items, ["x.example"]);
        parse(text, ADDRESSES);
    }

    #[test]
    fn a_source_of_as_many_bytes_as_are_allowed_is_read() {
        let read = |length: usize| all_of(&b"x.example"[..length], 8).expect("memory can be read");
        assert_eq!(read(7), Some(b"x.examp".to_vec()));
        assert_eq!(read(8), Some(b"x.exampl".to_vec()));
        assert_eq!(read(9), None);
    }
}
