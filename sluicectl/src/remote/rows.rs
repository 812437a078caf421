//! The rows of the tables that Windows gives.

#![cfg_attr(not(windows), allow(dead_code, reason = "only Windows has them"))]

use std::net::{IpAddr, SocketAddr};

use super::Connection;

/// MIB_TCP_STATE_ESTAB
const ESTABLISHED: u32 = 5;
/// A table begins with the number of its rows.
const HEADER: usize = 4;

/// The established connections of a MIB_TCPTABLE_OWNER_PID: state, local address and port, remote address and port,
/// process, 32 bits each.
/// <https://learn.microsoft.com/windows/win32/api/tcpmib/ns-tcpmib-mib_tcprow_owner_pid>
pub(super) fn v4(table: &[u8]) -> Vec<Connection> {
    let connection = |row: &[u8; 24]| {
        let address = |at: usize| -> Option<IpAddr> { Some((*row.get(at..)?.first_chunk::<4>()?).into()) };
        read(row, 0, (address(4)?, 8), (address(12)?, 16))
    };
    rows(table).iter().filter_map(connection).collect()
}

/// The established connections of a MIB_TCP6TABLE_OWNER_PID: local address, scope and port, remote address, scope and
/// port, state, process.
/// <https://learn.microsoft.com/windows/win32/api/tcpmib/ns-tcpmib-mib_tcp6row_owner_pid>
pub(super) fn v6(table: &[u8]) -> Vec<Connection> {
    let connection = |row: &[u8; 56]| {
        let address = |at: usize| -> Option<IpAddr> { Some((*row.get(at..)?.first_chunk::<16>()?).into()) };
        read(row, 48, (address(0)?, 20), (address(24)?, 44))
    };
    rows(table).iter().filter_map(connection).collect()
}

/// As many rows as the table says, and has.
fn rows<const LENGTH: usize>(table: &[u8]) -> &[[u8; LENGTH]] {
    let Some((count, rest)) = table.split_first_chunk::<HEADER>() else { return &[] };
    let (rows, _) = rest.as_chunks();
    rows.get(..u32::from_ne_bytes(*count) as usize).unwrap_or(rows)
}

/// A row whose state is at `state`, with addresses and where their ports are.
fn read(row: &[u8], state: usize, local: (IpAddr, usize), remote: (IpAddr, usize)) -> Option<Connection> {
    let state = u32::from_ne_bytes(*row.get(state..)?.first_chunk()?);
    // Ports are in the byte order of the network, in the first two of four bytes.
    let port = |at: usize| Some(u16::from_be_bytes(*row.get(at..)?.first_chunk()?));
    let end = |(address, at)| Some(SocketAddr::new(address, port(at)?));
    (state == ESTABLISHED).then_some(Connection { local: end(local)?, remote: end(remote)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(port: u16) -> [u8; 4] {
        let [high, low] = port.to_be_bytes();
        [high, low, 0, 0]
    }

    fn connection(local: &str, remote: &str) -> Connection {
        Connection { local: local.parse().unwrap(), remote: remote.parse().unwrap() }
    }

    #[test]
    fn established_connections_are_read() {
        let row = |state: u32| {
            [state.to_ne_bytes(), [192, 0, 2, 1], port(22), [203, 0, 113, 5], port(50122), [9, 0, 0, 0]].concat()
        };
        let table = |count: u32| [count.to_ne_bytes().to_vec(), row(2), row(ESTABLISHED)].concat();
        let expected = connection("192.0.2.1:22", "203.0.113.5:50122");
        assert_eq!(v4(&table(2)), [expected]);
        assert_eq!(v4(&table(1)), [], "the second row is none");
        assert_eq!(v4(&table(9)), [expected], "more are said to be there than are");
        assert_eq!((v4(&[]), v4(&table(2)[..20])), (vec![], vec![]));
    }

    #[test]
    fn those_of_ipv6_are_read() {
        let address = |last| [[0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0].as_slice(), &[0; 7], &[last]].concat();
        let [local, remote] = [address(1), address(5)];
        let state = ESTABLISHED.to_ne_bytes();
        let row =
            [&local[..], &[0; 4], &port(5986), &remote, &[7, 0, 0, 0], &port(50124), &state, &[9, 0, 0, 0]].concat();
        let table = [1_u32.to_ne_bytes().as_slice(), &row].concat();
        assert_eq!(v6(&table), [connection("[2001:db8::1]:5986", "[2001:db8::5]:50124")]);
    }
}
