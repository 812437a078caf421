//! The Host of an HTTP/1 request (RFC 9112, 3.2; RFC 9110, 7.2).

use sluice_npi::{flags, name_kind};

use super::Parser;

/// How many bytes of a request are looked at. Browsers put Host first or second.
const MAX_BYTES: usize = 2048;

/// The longest host that is given.
const MAX_HOST: usize = 255;

const METHODS: [&[u8]; 9] =
    [b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"PATCH ", b"TRACE "];

#[inline]
pub(super) fn may_start_with(first: u8) -> bool {
    first.is_ascii_uppercase()
}

/// Whether the stream starts with the first letters of a method that is in use.
#[inline]
pub(super) fn may_be_request(stream: &[u8]) -> bool {
    matches!(
        stream,
        [b'G', b'E', b'T', b' ', ..]
            | [b'P', b'O', b'S', b'T', ..]
            | [b'H', b'E', b'A', b'D', ..]
            | [b'P', b'U', b'T', b' ', ..]
            | [b'D', b'E', b'L', b'E', ..]
            | [b'O', b'P', b'T', b'I', ..]
            | [b'C', b'O', b'N', b'N', ..]
            | [b'P', b'A', b'T', b'C', ..]
            | [b'T', b'R', b'A', b'C', ..]
    )
}

/// Takes the next line off `lines`. One that goes on behind the end is none: half a host is another host.
///
/// The iterators of slices split with an index, whose panic stays in the driver.
fn next_line<'packet>(lines: &mut &'packet [u8]) -> Option<&'packet [u8]> {
    let (line, rest) = lines.split_at_checked(lines.iter().position(|byte| *byte == b'\n')?)?;
    let (_, rest) = rest.split_first()?;
    *lines = rest;
    Some(line)
}

/// The value of a Host field, if `line` is one.
fn host_field(line: &[u8]) -> Option<&[u8]> {
    let (name, value) = line.split_first_chunk::<5>()?;
    name.eq_ignore_ascii_case(b"host:").then(|| value.trim_ascii())
}

/// A host without its port. An IPv6 address keeps its brackets.
fn without_port(host: &[u8]) -> &[u8] {
    let end = if host.first() == Some(&b'[') {
        host.iter().position(|byte| *byte == b']').map(|end| end.wrapping_add(1))
    } else {
        host.iter().position(|byte| *byte == b':')
    };
    end.and_then(|end| host.get(..end)).unwrap_or(host)
}

impl<'packet> Parser<'packet, '_> {
    pub(super) fn http(&mut self, stream: &'packet [u8]) {
        if !METHODS.iter().any(|method| stream.starts_with(method)) {
            return;
        }
        let cut = stream.len() <= MAX_BYTES;
        let head = stream.get(..MAX_BYTES).unwrap_or(stream);
        let mut lines = head;
        // The request line is no field.
        if next_line(&mut lines).is_none() {
            return;
        }
        let mut host = None;
        while let Some(line) = next_line(&mut lines) {
            if line.trim_ascii().is_empty() {
                return self.host(stream, host);
            }
            if let Some(value) = host_field(line) {
                if host.is_some() {
                    // Two of them are an attempt to have one read here and the other elsewhere (RFC 9112, 3.2).
                    self.set(flags::MALFORMED);
                } else {
                    host = Some(value);
                }
            }
        }
        if cut && host.is_none() {
            self.short_stream();
        }
        self.host(stream, host);
    }

    fn host(&mut self, stream: &'packet [u8], host: Option<&'packet [u8]>) {
        if let Some(host) = host.map(without_port).filter(|host| (1..=MAX_HOST).contains(&host.len())) {
            self.text_name(name_kind::HTTP, stream, host);
        }
    }
}
