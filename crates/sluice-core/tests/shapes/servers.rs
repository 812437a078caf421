//! What real servers take for the name: whatever that is, it is found or said to be missing.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use fastrand::Rng;
use sluice_npi::{Flow, flags};

use crate::common::packets::{client_hello, extension, over_tcp, record, server_name};
use crate::{NAME, OTHER, random_case, request, shapes, split_into_records};

/// A server that runs until it is dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

/// An address that was free a moment ago.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address")
}

/// A folder for what a server needs.
pub(crate) fn folder(server: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shapes").join(server);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Makes a certificate for each of the two names in `folder`. `None` if openssl is not installed.
pub(crate) fn certificates(folder: &Path) -> Option<()> {
    for name in [NAME, OTHER] {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
        command.args(["-subj", &format!("/CN={name}"), "-keyout"]).arg(folder.join(format!("{name}.key")));
        command.arg("-out").arg(folder.join(format!("{name}.pem")));
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("openssl is not installed: not asked");
            return None;
        }
    }
    Some(())
}

impl Server {
    /// Starts a server and waits for its answer. `None` if it is not installed.
    fn start(command: &mut Command, address: SocketAddr) -> Option<Self> {
        let process = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let server = Self { process, address };
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < end, "the server does not answer");
            thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    fn openssl() -> Option<Self> {
        let folder = folder("openssl");
        certificates(&folder)?;
        let address = free_address();
        let mut command = Command::new("openssl");
        command.current_dir(&folder).args(["s_server", "-quiet", "-no_ticket", "-accept", &address.to_string()]);
        for (name, certificate, key) in [(OTHER, "-cert", "-key"), (NAME, "-cert2", "-key2")] {
            command.args([certificate, &format!("{name}.pem"), key, &format!("{name}.key")]);
        }
        // TLS 1.2 shows the certificate in the clear.
        Self::start(command.args(["-servername", NAME, "-tls1_2"]), address)
    }

    /// nginx with a server for each of the two names, and one for all others, which answer with the name of theirs:
    /// with TLS, if `has_tls`.
    fn nginx(kind: &str, has_tls: bool) -> Option<Self> {
        let folder = folder(kind);
        if has_tls {
            certificates(&folder)?;
        }
        let address = free_address();
        let server = |name: &str| {
            let (is_default, host) = if name == OTHER { (" default_server", OTHER) } else { ("", name) };
            let tls = if has_tls {
                format!("ssl_certificate {name}.pem; ssl_certificate_key {name}.key; ssl_protocols TLSv1.2;")
            } else {
                String::new()
            };
            let ssl = if has_tls { " ssl" } else { "" };
            format!(
                "server {{ listen {address}{ssl}{is_default}; server_name {host}; {tls} return 200 '[{host}]'; }}\n"
            )
        };
        let configuration = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr crit;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; client_header_timeout 5s; client_body_temp_path b; proxy_temp_path p;\n\
             fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;\n{}{} }}\n",
            server(OTHER),
            server(NAME),
        );
        fs::write(folder.join("nginx.conf"), configuration).expect("a configuration");
        let start = |program| {
            let mut command = Command::new(program);
            command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(&folder);
            Self::start(&mut command, address)
        };
        // Not in the path of everybody.
        let server = start("nginx").or_else(|| start("/usr/sbin/nginx"));
        if server.is_none() {
            eprintln!("nginx is not installed: not asked");
        }
        server
    }

    fn connect(&self) -> TcpStream {
        let connection = TcpStream::connect(self.address).expect("the server answers");
        connection.set_read_timeout(Some(Duration::from_secs(30))).expect("a time limit");
        connection
    }

    /// The name whose certificate the server answers with; `None` if it refuses the hello.
    fn certificate_for(&self, stream: &[u8]) -> Option<&'static str> {
        let mut connection = self.connect();
        connection.write_all(stream).ok()?;
        let mut answer: Vec<u8> = Vec::new();
        let mut part = [0; 4096];
        loop {
            for name in [NAME, OTHER] {
                if answer.windows(name.len()).any(|bytes| bytes == name.as_bytes()) {
                    return Some(name);
                }
            }
            match connection.read(&mut part) {
                Ok(length @ 1..) => answer.extend(&part[..length]),
                _ => return None,
            }
        }
    }

    /// The names of the servers that answer the requests in `stream` with success.
    fn answers_to(&self, stream: &[u8]) -> io::Result<Vec<&'static str>> {
        let mut connection = self.connect();
        connection.write_all(stream)?;
        connection.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let is_by = |name: &&str| answer.contains(&format!("[{name}]"));
        Ok([NAME, OTHER].into_iter().filter(is_by).collect())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Asserts that what a server took is the name that was found, unless the packet says that one is missing.
fn assert_seen(taken: &str, flow: &Flow, name: &str, stream: &[u8]) {
    let says = flow.flags & (flags::NAME_MISSING | flags::MALFORMED) != 0;
    assert!(says || name.eq_ignore_ascii_case(taken), "{name:?} for {taken} in {}", stream.escape_ascii());
}

/// What a server of TLS 1.2 needs besides the name: curves, point formats, signature algorithms.
pub(crate) fn acceptable_hello(rng: &mut Rng) -> Vec<u8> {
    let mut all = vec![
        extension(10, &[0, 2, 0, 23]),
        extension(11, &[1, 0]),
        extension(13, &[0, 4, 4, 3, 8, 4]),
        server_name(random_case(rng, NAME).as_bytes()),
    ];
    for _ in 0..*rng.choice(&[0, 1, 5, 20, 65, 120]).unwrap() {
        let length = *rng.choice(&[0, 1, 2, 30]).unwrap();
        all.push(extension(rng.u16(0x1000..0xFA00), &vec![0; length]));
    }
    if rng.u8(0..12) == 0 {
        all.push(server_name(OTHER.as_bytes()));
    }
    rng.shuffle(&mut all);
    let mut hello = client_hello(&all.concat());
    // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    hello[78..80].copy_from_slice(&[0xC0, 0x2B]);
    hello
}

/// Asks a server of TLS for the certificates of so many hellos.
fn ask_for_certificates(kind: &str, usual: u64, server: &Server) {
    let mut accepted = 0;
    shapes(kind, usual, |rng| {
        let hello = acceptable_hello(rng);
        let mut stream = Vec::new();
        for _ in 0..*rng.choice(&[0, 0, 1, 3]).unwrap() {
            stream.extend(rng.choice(&[record(22, &[]), record(20, &[1]), record(21, &[1, 90])]).unwrap());
        }
        stream.extend(split_into_records(rng, &hello));
        if let Some(taken) = server.certificate_for(&stream) {
            accepted += 1;
            let (flow, name) = over_tcp((49152, 443), &stream);
            assert_seen(taken, &flow, &name, &stream);
        }
    });
    println!("{kind}: {accepted} accepted");
    assert!(accepted > 0, "the server accepts none");
}

#[test]
fn whatever_openssl_takes_for_the_name_is_found_or_said_to_be_missing() {
    if let Some(server) = Server::openssl() {
        ask_for_certificates("OpenSSL", 10_000, &server);
    }
}

#[test]
fn whatever_nginx_takes_for_the_server_name_is_found_or_said_to_be_missing() {
    if let Some(server) = Server::nginx("nginx-tls", true) {
        ask_for_certificates("nginx TLS", 10_000, &server);
    }
}

#[test]
fn whatever_nginx_takes_for_the_host_is_found_or_said_to_be_missing() {
    let Some(server) = Server::nginx("nginx", false) else {
        return;
    };
    let mut accepted = 0;
    shapes("nginx", 10_000, |rng| {
        let (stream, _) = request(rng);
        for taken in server.answers_to(&stream).expect("an answer") {
            accepted += 1;
            let (flow, name) = over_tcp((49152, 80), &stream);
            assert_seen(taken, &flow, &name, &stream);
        }
    });
    println!("nginx: {accepted} accepted");
    assert!(accepted > 0, "the server accepts none");
}
