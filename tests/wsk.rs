//! A driver with sockets on a Winsock Kernel that is not ours: the example `wsk` of wdk-nmr, built as a driver, beside
//! Wine's netio.sys.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_rig::{Arch, Rig};
use system_tests::{error_of, stop};

/// How long a side of a connection waits for the other.
const LIMIT: Duration = Duration::from_secs(60);

/// Where the built-in library of Wine for x64 that the rig's netio.sys replaces may lie. That for ARM64 is the rig's.
const FOLDERS: [&str; 4] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/opt/wine-stable/lib64"];

/// Wine's netio.sys, with its Winsock Kernel in it.
fn wines_netio(arch: Arch) -> Option<PathBuf> {
    let files: Vec<PathBuf> = match arch {
        Arch::X64 => FOLDERS.iter().map(|folder| Path::new(folder).join("wine/x86_64-windows/netio.sys")).collect(),
        Arch::Arm64 => vec![arch.rig().join("wine/usr/lib/aarch64-linux-gnu/wine/aarch64-windows/netio.sys")],
    };
    files.into_iter().find(|file| file.is_file())
}

/// Makes a copy of Wine's netio.sys one that a driver can import beside the rig's. docs/rig.md says why.
fn made_importable(mut image: Vec<u8>) -> Result<Vec<u8>> {
    let header = image.get(0x3C..0x40).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let entry_point = header.context("a PE file")? as usize + 0x28;
    image.get_mut(entry_point..entry_point + 4).context("a PE file")?.fill(0);
    Ok(image)
}

/// A machine with wsk.sys on it, and Wine's WSK. `None` where Wine's files are not found.
fn machine(name: &str) -> Result<Option<Rig>> {
    let arch = Arch::chosen()?;
    let Some(netio) = wines_netio(arch) else {
        eprintln!("skipped: no netio.sys of Wine for {arch}, which for x64 is looked for in {FOLDERS:?}");
        return Ok(None);
    };
    let rig = Rig::boot(name)?;
    let copy = rig.file("wskwine.sys");
    fs::write(&copy, made_importable(fs::read(netio)?)?)?;
    rig.copy_driver(&copy, "wskwine")?;
    rig.install_file(&rig.part("wsk.sys"), "wsk")?;
    Ok(Some(rig))
}

fn set_port(rig: &Rig, name: &str, port: u16) -> Result<()> {
    const KEY: &str = r"HKLM\System\CurrentControlSet\Services\wsk\Parameters";
    let arguments = ["add", KEY, "/v", name, "/t", "REG_DWORD", "/d", &port.to_string(), "/f"];
    let outcome = rig.run("reg", &arguments, rig.scaled(LIMIT))?;
    ensure!(outcome.succeeded(), "`{}` failed: {}", outcome.line, outcome.stderr);
    Ok(())
}

/// A port of this machine that nobody listens on.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Reads until the other side has sent all, or closed.
fn rest(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn a_driver_connects_sends_receives_and_closes() -> Result<()> {
    let Some(rig) = machine("wsk-ask")? else { return Ok(()) };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    set_port(&rig, "Port", listener.local_addr()?.port())?;
    for answer in ["a program of the host", "the same again"] {
        let asked = thread::scope(|scope| {
            let answering = scope.spawn(|| -> Result<_> {
                let (mut stream, _) = listener.accept()?;
                stream.set_read_timeout(Some(rig.scaled(LIMIT)))?;
                let mut question = [0; 13];
                stream.read_exact(&mut question)?;
                stream.write_all(answer.as_bytes())?;
                Ok((question, rest(&mut stream)?))
            });
            let started = rig.start("wsk");
            if started.is_err() {
                // Nobody has connected, or will: the thread is not to wait for it.
                drop(TcpStream::connect(listener.local_addr()?));
            }
            let asked = answering.join().expect("no panic");
            started.and(asked)
        })?;
        assert_eq!(asked, (*b"who is there?", Vec::new()), "and nothing behind it");
        assert_eq!(rig.printed("wsk")?.last(), Some(&format!("wsk: {answer}")));
        stop(&rig, "wsk")?;
    }
    Ok(())
}

#[test]
fn a_driver_is_told_that_nobody_listens() -> Result<()> {
    let Some(rig) = machine("wsk-refused")? else { return Ok(()) };
    set_port(&rig, "Port", free_port()?)?;
    error_of(rig.start("wsk"))?;
    // STATUS_CONNECTION_REFUSED
    assert_eq!(rig.printed("wsk")?, ["wsk: 0xC0000236"]);
    let left = rig.alive()?;
    ensure!(left.is_nothing(), "{left} are left");
    Ok(())
}

#[test]
fn a_driver_listens_and_accepts() -> Result<()> {
    let Some(rig) = machine("wsk-echo")? else { return Ok(()) };
    let port = free_port()?;
    set_port(&rig, "Listen", port)?;
    let limit = rig.scaled(LIMIT);
    let echoed = thread::scope(|scope| -> Result<_> {
        let asking = scope.spawn(move || -> Result<_> {
            let deadline = Instant::now() + limit;
            let mut stream = loop {
                match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                    Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                    stream => break stream?,
                }
            };
            stream.set_read_timeout(Some(limit))?;
            stream.write_all(b"longer than eight bytes")?;
            stream.shutdown(Shutdown::Write)?;
            rest(&mut stream)
        });
        rig.start("wsk")?;
        asking.join().expect("no panic")
    })?;
    assert_eq!(echoed, b"longer than eight bytes");
    assert_eq!(rig.printed("wsk")?, ["wsk: listens", "wsk: accepted [127, 0, 0, 1]"]);
    stop(&rig, "wsk")
}
