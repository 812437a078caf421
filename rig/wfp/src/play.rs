//! Sends the packets of a capture, again and again, from several threads, and notes which passed.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{io, thread};

use crate::capture::{self, Link};
use crate::packet::{Kind, send};

/// Which way the packets go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
    Forward,
}

/// What is to be played.
pub(crate) struct Play {
    /// The packets.
    pub(crate) capture: PathBuf,
    /// Where those are written that passed in every round, on every thread.
    pub(crate) passed: PathBuf,
    /// A file that ends it when it is there.
    pub(crate) stop: PathBuf,
    pub(crate) direction: Direction,
    /// Whether the packets are said to stay on this machine.
    pub(crate) loopback: bool,
    pub(crate) threads: usize,
    /// How often, on each thread; 0 until it is stopped.
    pub(crate) rounds: usize,
    /// The most packets in one list.
    pub(crate) per_list: usize,
    /// Whether every other MDL is not mapped.
    pub(crate) unmapped: bool,
}

/// How often something happened to a packet.
#[derive(Default)]
struct Outcome {
    passed: AtomicU64,
    blocked: AtomicU64,
    /// Of those, without an error for the sender.
    absorbed: AtomicU64,
    /// How many callouts were asked about it.
    asked: AtomicU64,
}

const DISPATCH_LEVEL: u8 = 2;

#[link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    fn KeAcquireSpinLockRaiseToDpc(lock: *mut usize) -> u8;
    fn KeReleaseSpinLock(lock: *mut usize, irql: u8);
    fn KeGetCurrentIrql() -> u8;
}

/// Does `work` at DISPATCH_LEVEL.
fn at_dispatch_level<R>(work: impl FnOnce() -> R) -> R {
    let mut lock = 0;
    // SAFETY: a spin lock of this thread, released below.
    let irql = unsafe { KeAcquireSpinLockRaiseToDpc(&raw mut lock) };
    let result = work();
    // SAFETY: at any level.
    let level = unsafe { KeGetCurrentIrql() };
    assert_eq!(level, DISPATCH_LEVEL, "the level has changed");
    // SAFETY: acquired above, at this level.
    unsafe { KeReleaseSpinLock(&raw mut lock, irql) };
    result
}

/// Plays, and says what became of each packet: how often it passed, was blocked, vanished without an error, and how
/// many callouts were asked about it.
///
/// # Errors
/// A file cannot be read or written.
pub(crate) fn play(play: &Play) -> io::Result<String> {
    let (link, packets) = capture::read(&play.capture)?;
    if link == Link::Ethernet && play.direction == Direction::Forward {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "frames are received or sent, and not forwarded"));
    }
    let kinds: Vec<Option<Kind>> = packets.iter().map(|packet| Kind::of(link, packet)).collect();
    let outcomes: Vec<Outcome> = packets.iter().map(|_| Outcome::default()).collect();
    let rounds = AtomicU64::new(0);
    thread::scope(|scope| {
        for number in 0..play.threads.max(1) {
            let (packets, kinds, outcomes, rounds) = (&packets, &kinds, &outcomes, &rounds);
            scope.spawn(move || {
                let mut round = 0;
                while (play.rounds == 0 || round < play.rounds) && !play.stop.exists() {
                    send_all(play, packets, kinds, outcomes, round.wrapping_add(number));
                    round += 1;
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let value = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let passed = packets.iter().zip(&outcomes).filter(|(_, outcome)| value(&outcome.blocked) == 0);
    capture::write(&play.passed, link, passed.map(|(packet, _)| packet.as_slice()))?;
    let mut answer = format!("rounds={}\n", value(&rounds));
    for (index, outcome) in outcomes.iter().enumerate() {
        let Outcome { passed, blocked, absorbed, asked } = outcome;
        let [passed, blocked, absorbed, asked] = [passed, blocked, absorbed, asked].map(value);
        let _ = writeln!(answer, "packet.{index}={passed} {blocked} {absorbed} {asked}");
    }
    Ok(answer)
}

/// Sends each packet once: packets of one kind that follow each other in one list, lists at PASSIVE_LEVEL and at
/// DISPATCH_LEVEL in turns.
fn send_all(play: &Play, packets: &[Vec<u8>], kinds: &[Option<Kind>], outcomes: &[Outcome], seed: usize) {
    let mut first = 0;
    while first < packets.len() {
        let kind = kinds[first];
        let alike = kinds[first..].iter().take(play.per_list.max(1)).take_while(|other| **other == kind).count();
        let last = first + alike;
        if let Some(kind) = kind {
            let list: Vec<&[u8]> = packets[first..last].iter().map(Vec::as_slice).collect();
            let work = || send(&list, kind, play, seed);
            let verdict = if seed.wrapping_add(first).is_multiple_of(2) { work() } else { at_dispatch_level(work) };
            for outcome in &outcomes[first..last] {
                let counter = if verdict.passes { &outcome.passed } else { &outcome.blocked };
                counter.fetch_add(1, Ordering::Relaxed);
                outcome.absorbed.fetch_add((!verdict.passes && verdict.absorbed).into(), Ordering::Relaxed);
                outcome.asked.fetch_add(verdict.asked as u64, Ordering::Relaxed);
            }
        }
        first = last;
    }
}
