//! The TCP connections of this machine.

use std::{fmt, io, ptr};

use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, NO_ERROR};
use windows_sys::Win32::NetworkManagement::IpHelper::{GetExtendedTcpTable, TCP_TABLE_OWNER_PID_CONNECTIONS};
use windows_sys::Win32::Networking::WinSock::{AF_INET, AF_INET6};

use super::{Connection, rows};
use crate::failure::Failure;

/// How often the table may grow between the question for its length and the one for its rows.
const ATTEMPTS: usize = 8;

/// All connections that are established.
/// <https://learn.microsoft.com/windows/win32/api/iphlpapi/nf-iphlpapi-getextendedtcptable>
///
/// # Errors
/// Windows does not give one of the tables.
pub(super) fn established() -> Result<Vec<Connection>, Failure> {
    Ok([rows::v4(&table(AF_INET.into())?), rows::v6(&table(AF_INET6.into())?)].concat())
}

/// The bytes of the table of one version of IP.
fn table(family: u32) -> Result<Vec<u8>, Failure> {
    let mut length = 0;
    let mut words: Vec<u32> = Vec::new();
    for _ in 0..ATTEMPTS {
        let place = if words.is_empty() { ptr::null_mut() } else { words.as_mut_ptr().cast() };
        // SAFETY: the place has `length` bytes, aligned as the rows are; the length lives for the call.
        let error =
            unsafe { GetExtendedTcpTable(place, &raw mut length, 0, family, TCP_TABLE_OWNER_PID_CONNECTIONS, 0) };
        match error {
            NO_ERROR => return Ok(words.iter().flat_map(|word| word.to_ne_bytes()).collect()),
            ERROR_INSUFFICIENT_BUFFER => words = vec![0; (length as usize).div_ceil(size_of::<u32>())],
            _ => return Err(unreadable(io::Error::from_raw_os_error(error.cast_signed()))),
        }
    }
    Err(unreadable("there are more each time"))
}

fn unreadable(why: impl fmt::Display) -> Failure {
    Failure::State(format!("the TCP connections of this machine cannot be read: {why}"))
}
