//! The host of an HTTP/1 request (RFC 9112, 3.2; RFC 9110, 7.2).
//!
//! A request is known by its first line, whatever its method. An authority in the request target wins over Host. Where
//! the standard has a server refuse a request, the packet is malformed, and what the more tolerant servers take for the
//! host is given all the same.

use sluice_npi::name_kind;

use super::Parser;

/// The longest host that is given.
const MAX_HOST: usize = 255;

/// The longest word that a segment of nothing else may be the method of, cut: the longest registered one has 17
/// letters.
const MAX_CUT_METHOD: usize = 20;

/// Whether a request, or what servers skip before it, can start like this.
#[inline]
pub(super) const fn may_start_with(first: u8) -> bool {
    first == b'\n' || is_space(first) || is_token_byte(first)
}

/// Whether a stream that starts like this does not begin with a request, whatever follows.
pub(super) fn is_no_request(start: &[u8]) -> bool {
    is_other_text(skip_empty_lines(start).0)
}

/// Most text is something else than a request, and its first word says so.
fn is_other_text(head: &[u8]) -> bool {
    let (_, behind) = split(head, |byte| !is_token_byte(byte));
    behind.first().is_some_and(|byte| !is_space(*byte))
}

/// The characters of methods and field names (RFC 9110, 5.6.2).
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// What tolerant servers divide a request line by (RFC 9112, 3).
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0B | 0x0C | b'\r')
}

fn trim_spaces(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_space(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_space(*last)
    {
        bytes = rest;
    }
    bytes
}

/// What comes before the first byte that `is_end`, and the rest from there on.
fn split(bytes: &[u8], is_end: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| is_end(*byte)).unwrap_or(bytes.len());
    bytes.split_at_checked(end).unwrap_or((bytes, &[]))
}

/// Takes the next line off `lines`, without its end. One that goes on behind the end of the segment does not count:
/// half a host is another host.
///
/// The iterators of slices split with an index, whose panic stays in the driver.
fn next_line<'packet>(lines: &mut &'packet [u8]) -> Option<&'packet [u8]> {
    let (line, rest) = lines.split_at_checked(lines.iter().position(|byte| *byte == b'\n')?)?;
    let (_, rest) = rest.split_first()?;
    *lines = rest;
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

/// Skips the empty lines that servers ignore before a request (RFC 9112, 2.2), and the spaces that some of them do.
/// Answers whether there are spaces.
fn skip_empty_lines(mut stream: &[u8]) -> (&[u8], bool) {
    let mut is_indented = false;
    while let [first, rest @ ..] = stream
        && (*first == b'\n' || is_space(*first))
    {
        is_indented |= !matches!(first, b'\r' | b'\n');
        stream = rest;
    }
    (stream, is_indented)
}

/// A request line: method, target, version.
struct RequestLine<'packet> {
    method: &'packet [u8],
    target: &'packet [u8],
    /// It divides into three words by one space each.
    is_strict: bool,
}

impl<'packet> RequestLine<'packet> {
    /// `None` if the line is not one of a request.
    fn read(line: &'packet [u8]) -> Option<Self> {
        let (method, rest) = split(line, is_space);
        if !is_token(method) {
            return None;
        }
        let words = trim_spaces(rest);
        let (target, version) = match words.iter().rposition(|byte| is_space(*byte)) {
            Some(space) => words.split_at_checked(space)?,
            None => (&[][..], words),
        };
        let version = trim_spaces(version);
        if version.first_chunk::<5>().is_some_and(|name| name.eq_ignore_ascii_case(b"HTTP/")) {
            let is_strict = line.len()
                == method.len().wrapping_add(target.len()).wrapping_add(version.len()).wrapping_add(2)
                && !target.is_empty()
                && !target.iter().any(|byte| is_space(*byte));
            return Some(Self { method, target: trim_spaces(target), is_strict });
        }
        // HTTP/0.9 has GET alone, and no version.
        let target = words;
        let is_old = method == b"GET" && !target.iter().any(|byte| is_space(*byte));
        (is_old && (target.starts_with(b"/") || absolute_authority(target).is_some())).then_some(Self {
            method,
            target,
            is_strict: true,
        })
    }

    /// Whether a segment that ends inside of its first line may have begun a request line. The line is no
    /// [other text](is_other_text) and begins with no space: behind its first word there is a space, or the end.
    fn may_be_cut(line: &[u8]) -> bool {
        let (method, rest) = split(line, is_space);
        let is_usual = method.iter().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_'));
        if rest.is_empty() {
            return is_usual && (1..=MAX_CUT_METHOD).contains(&method.len());
        }
        let (target, version) = split(trim_spaces(rest), is_space);
        let version = trim_spaces(version);
        let may_be_version = b"HTTP/".starts_with(version) || version.starts_with(b"HTTP/");
        let may_be_target = match target.first() {
            None => is_usual,
            Some(b'/' | b'*') => true,
            // The start of an authority or of a scheme.
            Some(_) => is_usual || absolute_authority(target).is_some(),
        };
        may_be_version && may_be_target
    }

    /// The authority that the target names, and whether the target is of a form that the method has (RFC 9112, 3.2).
    fn authority(&self) -> (Option<&'packet [u8]>, bool) {
        match self.target {
            target if self.method == b"CONNECT" => (Some(target), true),
            [b'/', ..] | [b'*'] => (None, true),
            target => {
                let authority = absolute_authority(target);
                (authority, authority.is_some())
            }
        }
    }
}

/// The authority of a target in absolute form (RFC 3986, 3).
fn absolute_authority(target: &[u8]) -> Option<&[u8]> {
    let is_scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let (scheme, rest) = split(target, |byte| !is_scheme_byte(byte));
    let rest = rest.strip_prefix(b"://")?;
    let (authority, _) = split(rest, |byte| matches!(byte, b'/' | b'?' | b'#'));
    (!scheme.is_empty()).then_some(authority)
}

/// A host, out of an authority or the value of a Host field.
struct Host<'packet> {
    name: &'packet [u8],
    /// There is only a host and a port, and neither has a character that it cannot have.
    is_canonical: bool,
    /// There are percent-encoded characters, which one server decodes and another does not.
    is_encoded: bool,
}

impl<'packet> Host<'packet> {
    /// `None` if the host is empty, or longer than any.
    fn read(authority: &'packet [u8]) -> Option<Self> {
        let (has_user, host) = match authority.iter().rposition(|byte| *byte == b'@') {
            Some(at) => (true, authority.get(at.wrapping_add(1)..)?),
            None => (false, authority),
        };
        // An IPv6 address keeps its brackets.
        let end = match host.first() {
            Some(b'[') => host.iter().position(|byte| *byte == b']').map(|end| end.wrapping_add(1)),
            _ => host.iter().position(|byte| *byte == b':'),
        };
        let (name, port) = host.split_at_checked(end.unwrap_or(host.len()))?;
        let is_port = match port {
            [] => true,
            [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        let is_host_byte = |byte: &u8| {
            byte.is_ascii_graphic()
                && !matches!(
                    byte,
                    b'"' | b'#' | b',' | b'/' | b'<' | b'>' | b'?' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
                )
        };
        (1..=MAX_HOST).contains(&name.len()).then(|| Self {
            name,
            is_canonical: !has_user && is_port && name.iter().all(is_host_byte),
            is_encoded: name.contains(&b'%'),
        })
    }
}

/// What the fields of a head say.
#[derive(Default)]
struct Fields<'packet> {
    host: Option<&'packet [u8]>,
    /// The length of the body, if it is given.
    content_length: Option<usize>,
    has_transfer_encoding: bool,
    is_malformed: bool,
    /// The empty line at the end is there.
    is_complete: bool,
}

impl<'packet> Fields<'packet> {
    /// Reads the lines of a head up to the empty one, and takes them off `lines`.
    fn read(lines: &mut &'packet [u8]) -> Self {
        let mut fields = Self::default();
        while let Some(line) = next_line(lines) {
            if line.is_empty() {
                fields.is_complete = true;
                break;
            }
            fields.line(line);
        }
        fields
    }

    fn line(&mut self, line: &'packet [u8]) {
        // A carriage return elsewhere than at the end, and a fold (RFC 9112, 2.2 and 5.2).
        self.is_malformed |= line.contains(&b'\r') || matches!(line, [b' ' | b'\t', ..]);
        let (name, value) = split(line, |byte| byte == b':');
        let Some(value) = value.strip_prefix(b":") else {
            self.is_malformed = true;
            return;
        };
        // No space may come between name and colon (RFC 9112, 5.1).
        self.is_malformed |= !is_token(name);
        let (name, value) = (trim_spaces(name), trim_spaces(value));
        if name.eq_ignore_ascii_case(b"host") {
            // Two of them are an attempt to have one read here and the other elsewhere (RFC 9112, 3.2).
            self.is_malformed |= self.host.is_some();
            self.host = self.host.or(Some(value));
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = number(value, 10);
            self.is_malformed |= length.is_none() || self.content_length.is_some_and(|other| length != Some(other));
            self.content_length = length;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.has_transfer_encoding = true;
        }
    }

    /// What lies behind the body, if that ends here.
    fn behind_body(&self, rest: &'packet [u8]) -> Option<&'packet [u8]> {
        match self.content_length {
            _ if self.has_transfer_encoding => behind_chunks(rest),
            Some(length) => rest.get(length..),
            None => Some(rest),
        }
    }
}

/// What lies behind a body in chunks (RFC 9112, 7.1), if that ends here.
fn behind_chunks(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (size, _) = split(next_line(&mut rest)?, |byte| byte == b';');
        let size = number(trim_spaces(size), 16)?;
        if size == 0 {
            // The trailer, up to an empty line.
            while !next_line(&mut rest)?.is_empty() {}
            return Some(rest);
        }
        rest = rest.get(size..)?;
        next_line(&mut rest)?;
    }
}

/// A number that is nothing but digits, and fits.
fn number(digits: &[u8], radix: u32) -> Option<usize> {
    let mut number = None;
    for digit in digits {
        let digit = char::from(*digit).to_digit(radix)?;
        number = Some(number.unwrap_or(0_usize).checked_mul(radix as usize)?.checked_add(digit as usize)?);
    }
    number
}

impl<'packet> Parser<'packet, '_> {
    /// Reads the host of the request that a stream begins with, and answers whether it begins with one.
    pub(super) fn http(&mut self, stream: &'packet [u8]) -> bool {
        let (head, is_indented) = skip_empty_lines(stream);
        if is_other_text(head) {
            return false;
        }
        let mut lines = head;
        let Some(line) = next_line(&mut lines) else {
            let may_be_cut = RequestLine::may_be_cut(head);
            if may_be_cut {
                self.name_behind_end();
            }
            return may_be_cut;
        };
        let Some(request) = RequestLine::read(line) else {
            return false;
        };
        let fields = Fields::read(&mut lines);
        let (authority, is_form) = request.authority();
        let target_host = authority.and_then(Host::read);
        let host = fields.host.and_then(Host::read);
        let differ = target_host.as_ref().zip(host.as_ref()).is_some_and(|(a, b)| !a.name.eq_ignore_ascii_case(b.name));
        let is_contradictory = fields.has_transfer_encoding && fields.content_length.is_some();
        let is_host = |host: &Option<Host<'_>>| host.as_ref().is_none_or(|host| host.is_canonical);
        if is_indented
            || !request.is_strict
            || !is_form
            || fields.is_malformed
            || is_contradictory
            || differ
            || !is_host(&target_host)
            || !is_host(&host)
        {
            self.malformed();
        }
        match target_host.or(host) {
            Some(host) => {
                self.text_name(name_kind::HTTP, stream, host.name);
                if host.is_encoded {
                    self.name_missing();
                }
            }
            None if fields.is_complete => self.name_missing(),
            None => self.name_behind_end(),
        }
        // A second request has a host of its own.
        let is_followed =
            fields.is_complete && fields.behind_body(lines).is_some_and(|rest| !skip_empty_lines(rest).0.is_empty());
        if is_followed {
            self.name_missing();
        }
        true
    }
}
