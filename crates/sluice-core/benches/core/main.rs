//! Speed and size, against the peers, in one run:
//! `cargo bench -p sluice-core [-- parse|classify|instructions|compile|cross|reload|path|observe|names]`; a size behind
//! `classify`, `instructions`, `compile` or `cross`, such as `10k`, measures the sets of that size alone.
//!
//! What counts are ratios, so the candidates take turns, round by round; benchmark frameworks measure one after the
//! other. Ratios are those of the fastest rounds, in which nothing else ran. On a quiet machine the medians, which are
//! given in brackets, are hardly larger; on a busy one they say how busy it was.
//!
//! SLUICE_CAPTURES and SLUICE_CLASSBENCH name the data; without them there is less to measure. librte_acl takes part
//! where `pkg-config libdpdk` and `cc` work.
//!
//! What is printed is for `cargo xtask bench`, which makes tables of it (xtask/src/figures.rs).
#![allow(missing_docs, reason = "a program")]

mod classify;
#[path = "../../tests/common/mod.rs"]
mod common;
mod compile;
mod cross;
mod instructions;
mod names;
mod observe;
mod parse;
mod path;
mod published;
mod reload;
mod rte_acl;
mod shapes;

use std::time::{Duration, Instant};

const ROUNDS: usize = 61;

/// Nanoseconds for one item.
#[derive(Clone, Copy)]
struct Time {
    fastest: f64,
    median: f64,
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} ns | median {:.1}", self.fastest, self.median)
    }
}

/// The quotient of two times or sizes.
struct Ratio<'a> {
    ratio: f64,
    to: &'a str,
    target: Option<f64>,
}

impl std::fmt::Display for Ratio<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} | to {}", self.ratio, self.to)?;
        self.target.map_or(Ok(()), |target| write!(f, " | target {target}"))
    }
}

/// Says what was measured.
fn figure(table: &str, row: &str, column: &str, figure: impl std::fmt::Display) {
    println!("figure | {table} | {row} | {column} | {figure}");
}

/// The geometric mean.
fn mean(list: &[f64]) -> f64 {
    (list.iter().map(|ratio| ratio.ln()).sum::<f64>() / list.len() as f64).exp()
}

/// The time of each candidate for one item. A candidate works through all `items`.
fn measure<const N: usize>(items: usize, mut candidates: [&mut dyn FnMut(); N]) -> [Time; N] {
    let mut times = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for (candidate, times) in candidates.iter_mut().zip(&mut times) {
            let start = Instant::now();
            candidate();
            times.push(start.elapsed().as_nanos() as f64 / items as f64);
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        Time { fastest: times[0], median: times[times.len() / 2] }
    })
}

/// What this thread has worked until now. For what takes so long that on a busy machine others always interrupt it.
#[cfg(target_os = "linux")]
fn processor_time() -> Duration {
    const THREAD: i32 = 3;
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
    }
    let mut time = [0; 2];
    // SAFETY: on 64-bit hosts the time is two numbers of 64 bits: seconds and nanoseconds.
    let failed = unsafe { clock_gettime(THREAD, &raw mut time) };
    assert_eq!(failed, 0, "every Linux has this clock");
    Duration::from_secs(time[0] as u64) + Duration::from_nanos(time[1] as u64)
}

/// What this thread has worked until now, or waited.
#[cfg(not(target_os = "linux"))]
fn processor_time() -> Duration {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    START.elapsed()
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let (only, size) = (arguments.next(), arguments.next());
    if only.as_deref() == Some(instructions::LOOK_UP) {
        let [size, name, calls] = [size, arguments.next(), arguments.next()].map(Option::unwrap_or_default);
        return instructions::look_up(&size, &name, &calls);
    }
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    if wanted("parse") {
        parse::bench();
    }
    if wanted("classify") {
        classify::bench(size.as_deref());
    }
    if wanted("instructions") {
        instructions::bench(size.as_deref());
    }
    if wanted("compile") {
        compile::bench(size.as_deref());
    }
    if wanted("cross") {
        cross::bench(size.as_deref());
    }
    if wanted("reload") {
        reload::bench();
    }
    if wanted("path") {
        path::bench();
    }
    if wanted("observe") {
        observe::bench();
    }
    if wanted("names") {
        names::bench();
    }
}

/// A TCP/IPv4 frame of 64 bytes with random addresses and ports.
fn tcp_frame(rng: &mut fastrand::Rng) -> [u8; 64] {
    let mut frame = [0; 64];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14..18].copy_from_slice(&[0x45, 0, 0, 50]);
    frame[22..24].copy_from_slice(&[64, 6]);
    for byte in frame[26..38].iter_mut() {
        *byte = rng.u8(..);
    }
    frame[46] = 0x50;
    frame[47] = 0x10;
    frame
}
