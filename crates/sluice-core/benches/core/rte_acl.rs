//! librte_acl, in a C program, on the same rules and headers.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::classbench;

/// What the C program says.
pub(crate) struct Measured {
    /// Nanoseconds for a lookup, one packet a call.
    pub(crate) one: f64,
    /// The same for 32 packets a call.
    pub(crate) in_32s: f64,
    pub(crate) bytes: f64,
    /// What building the tables took.
    pub(crate) milliseconds: f64,
    /// The sum of the numbers of all rules that decided.
    pub(crate) sum: u64,
}

/// Compiles the C program. `None` where that does not work.
pub(crate) fn build() -> Option<PathBuf> {
    let built = compile();
    if built.is_none() {
        println!("librte_acl is not installed: it is left out");
    }
    built
}

fn compile() -> Option<PathBuf> {
    let flags = |kind: &str| {
        let output = Command::new("pkg-config").args([kind, "libdpdk"]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.split_whitespace().map(String::from).collect::<Vec<_>>())
    };
    let program = std::env::temp_dir().join(format!("sluice-rte-acl-{}", std::process::id()));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/core/rte_acl.c");
    let compiled = Command::new("cc")
        .args(["-O2", "-march=corei7"])
        .arg(source)
        .args(flags("--cflags")?)
        .arg("-o")
        .arg(&program)
        .args(flags("--libs")?)
        .status();
    compiled.is_ok_and(|status| status.success()).then_some(program)
}

/// Runs the C program on a set.
pub(crate) fn run(program: &Path, set: &classbench::Set) -> Option<Measured> {
    let folder = std::env::temp_dir();
    let (rules, trace) = (folder.join("sluice-bench.rules"), folder.join("sluice-bench.trace"));
    let text: String = set
        .lines
        .iter()
        .map(|l| {
            let (protocol, mask) = l.protocol.map_or((0, 0), |protocol| (protocol, 255));
            let (s, d, sp, dp) = (l.source, l.destination, l.source_ports, l.destination_ports);
            format!("{} {} {} {} {} {} {} {} {protocol} {mask}\n", s.0, s.1, d.0, d.1, sp.0, sp.1, dp.0, dp.1)
        })
        .collect();
    std::fs::write(&rules, text).ok()?;
    let text: String = set.trace.iter().map(|h| format!("{} {} {} {} {}\n", h.0, h.1, h.2, h.3, h.4)).collect();
    std::fs::write(&trace, text).ok()?;
    let output = Command::new(program).arg(&rules).arg(&trace).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let numbers: Vec<f64> = text.split_whitespace().map_while(|number| number.parse().ok()).collect();
    let [one, in_32s, bytes, milliseconds, sum] = numbers.try_into().ok()?;
    Some(Measured { one, in_32s, bytes, milliseconds, sum: sum as u64 })
}
