//! `sluicectl verify` where there is nothing to verify: it says so before it touches the machine. The system tests show
//! what it does with drivers.

use crate::support::*;

fn verify(folder: &Folder, arguments: &[&str]) -> Run {
    let capture = folder.file("a.pcap", pcap(101, &[&udp([192, 0, 2, 53], 53, DNS_QUESTION)]));
    let policy = folder.file("p.toml", "default = 'block'");
    let files = ["verify", "--capture", &capture, "--policy", &policy];
    sluicectl(files.into_iter().chain(arguments.iter().copied()))
}

#[test]
#[cfg(not(windows))]
fn other_systems_have_no_drivers() {
    let run = verify(&Folder::new(), &["--existing"]);
    run.failed(1, &["run on Windows"]);
    assert_eq!(run.stdout, "");
}

#[test]
fn a_driver_that_is_not_there_is_named() {
    let folder = Folder::new();
    let drivers = folder.path().join("nowhere");
    verify(&folder, &["--drivers", drivers.to_str().unwrap()]).failed(2, &["nowhere", "sluice.sys"]);
}

#[test]
fn a_capture_without_packets_verifies_nothing() {
    let folder = Folder::new();
    let capture = folder.file("empty.pcap", pcap(101, &[]));
    let policy = folder.file("p.toml", "default = 'block'");
    let run = sluicectl(["verify", "--existing", "--capture", &capture, "--policy", &policy]);
    run.failed(2, &["has no packets", "empty.pcap"]);
}

#[test]
fn the_drivers_have_to_be_given_exactly_once() {
    let folder = Folder::new();
    verify(&folder, &[]).failed(2, &["--drivers", "--existing"]);
    verify(&folder, &["--drivers", ".", "--existing"]).failed(2, &["cannot be used with"]);
}

#[test]
fn at_least_one_round_is_needed() {
    verify(&Folder::new(), &["--existing", "--rounds", "0"]).failed(2, &["--rounds"]);
}
