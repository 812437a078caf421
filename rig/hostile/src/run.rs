//! The ways in which requests are sent.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use sluice_control::code;

use crate::counts::RequestCounts;
use crate::device::{Answer, Device};
use crate::request::{CODES, Random, damage, largest, right};

/// Larger than every fixed part of a message.
const LARGEST_INPUT: usize = 96;
const THREADS: u64 = 4;
const ROOMS: [usize; 9] = [0, 1, 4, 15, 16, 20, 52, 64, 4096];
/// Room for every table that the demo's policies make.
const TABLE_ROOM: usize = 1 << 16;
/// Room for the answer to the largest batch.
const LARGEST_ANSWER: usize = 1 << 20;
/// The fixed part of a PolicyAnswer, in front of the table.
const POLICY_ANSWER: usize = 16;

/// Every code with every input size up to a limit, all zeros and with a right beginning, and with several output sizes.
///
/// Codes without input must refuse every input; the others every input that is not a whole request.
pub(crate) fn sizes(name: &str) -> Result<String, String> {
    let device = open(name)?;
    let mut counts = RequestCounts::default();
    let mut random = Random::new(1);
    for (code_name, code) in CODES {
        let whole = right(code, &[0], &mut random);
        for length in 0..=LARGEST_INPUT {
            let mut started = whole.clone();
            started.resize(length, 0);
            for input in [&vec![0; length], &started] {
                for room in ROOMS {
                    let answer = device.control(code, input, room)?;
                    counts.add(code_name, answer.error());
                    let wrong = length != whole.len() || (length > 0 && *input != whole);
                    if wrong && matches!(answer, Answer::Done(_)) {
                        return Err(format!("{code_name}: an input of {length} bytes was taken for a request"));
                    }
                }
            }
        }
    }
    Ok(counts.to_string())
}

/// The file that ends arbitrary requests.
const END: &str = "end";
/// After how many requests of a thread it is looked for.
const END_POLL: u64 = 32;

/// Arbitrary requests for that many seconds, or until there is a file [`END`].
pub(crate) fn random(name: &str, seconds: u64, seed: u64) -> Result<String, String> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let table = table(name)?;
    in_threads(THREADS, |thread| storm(name, &table, deadline, seed + thread))
        .map_err(|broken| format!("{broken} (seed {seed})"))
}

/// Programs that are killed, one after the other, while their threads are inside requests; then the device has to
/// answer.
pub(crate) fn deaths(name: &str, count: u32) -> Result<String, String> {
    let mut random = Random::new(u64::from(count));
    let program = env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    for _ in 0..count {
        let mut victim = Command::new(&program)
            .args(["victim", name])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start a victim: {error}"))?;
        let mut line = String::new();
        let output = victim.stdout.take().ok_or("the victim has no output")?;
        let read = BufReader::new(output).read_line(&mut line);
        thread::sleep(Duration::from_millis(random.below(40) as u64));
        let killed = victim.kill().and_then(|()| victim.wait());
        killed.map_err(|error| format!("cannot kill a victim: {error}"))?;
        if read.is_err() || line.trim() != SENDING {
            return Err(format!("a victim did not send: {line}"));
        }
    }
    answers(&open(name)?)?;
    Ok(format!("killed: {count}"))
}

/// What a victim says when it has sent its first requests.
const SENDING: &str = "sending";

/// Sends the largest requests from several threads until somebody kills this program.
pub(crate) fn victim(name: &str) -> Result<String, String> {
    let started = AtomicU64::new(0);
    in_threads(THREADS, |thread| {
        let mut random = Random::new(thread);
        let device = open(name)?;
        let requests = largest(&mut random);
        loop {
            for (code, request) in &requests {
                device.control(*code, request, LARGEST_ANSWER)?;
            }
            // All threads have been inside once, and are again.
            if started.fetch_add(1, Ordering::Relaxed) + 1 == THREADS {
                println!("{SENDING}");
            }
        }
    })
}

/// Accepts a connection, and keeps it until there is a file [`END`].
pub(crate) fn host(address: &str) -> Result<String, String> {
    let accepted = TcpListener::bind(address).and_then(|listener| listener.accept());
    let (_connection, remote) = accepted.map_err(|error| format!("nobody connects to {address}: {error}"))?;
    while !Path::new(END).exists() {
        thread::sleep(Duration::from_millis(20));
    }
    Ok(format!("connected: {remote}"))
}

/// Opens `count` handles of the device, and uses each from a thread of its own before any is closed.
pub(crate) fn handles(name: &str, count: usize) -> Result<String, String> {
    let devices: Vec<Device> = (0..count).map(|_| open(name)).collect::<Result<_, _>>()?;
    thread::scope(|scope| {
        let threads: Vec<_> = devices.iter().map(|device| scope.spawn(|| answers(device))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread has panicked".to_string())?)
    })?;
    Ok(format!("open at once: {}", devices.len()))
}

/// The device still does what it is for.
fn answers(device: &Device) -> Result<(), String> {
    for code in [code::SLUICE_STATUS, code::PROBE_STATUS] {
        if let Answer::Done(_) = device.control(code, &[], TABLE_ROOM)? {
            return Ok(());
        }
    }
    Err("the device has stopped answering".to_string())
}

/// Runs the same on several threads, which are numbered, and adds up.
fn in_threads(count: u64, send: impl Fn(u64) -> Result<RequestCounts, String> + Sync) -> Result<String, String> {
    let send = &send;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || send(number))).collect();
        let mut counts = RequestCounts::default();
        for thread in threads {
            counts.merge(thread.join().map_err(|_| "a thread has panicked".to_string())??);
        }
        Ok(counts.to_string())
    })
}

fn open(name: &str) -> Result<Device, String> {
    Device::open(name).map_err(|error| format!("cannot open {name}: {error}"))
}

/// The table of the policy in force; empty without a policy, or if the device has none.
fn table(name: &str) -> Result<Vec<u8>, String> {
    match open(name)?.control(code::SLUICE_POLICY_READ, &[], TABLE_ROOM)? {
        Answer::Done(bytes) => Ok(bytes.get(POLICY_ANSWER..).unwrap_or_default().to_vec()),
        Answer::Refused(_) => Ok(Vec::new()),
    }
}

fn storm(name: &str, table: &[u8], deadline: Instant, seed: u64) -> Result<RequestCounts, String> {
    let mut random = Random::new(seed);
    let mut counts = RequestCounts::default();
    let mut device = open(name)?;
    for sent in 0_u64.. {
        if Instant::now() >= deadline || sent % END_POLL == 0 && Path::new(END).exists() {
            break;
        }
        let (code_name, code) = CODES[random.below(CODES.len())];
        let mut request = right(code, table, &mut random);
        if random.below(4) > 0 {
            damage(&mut request, &mut random);
        }
        let room = [0, 16, 64, 1024, TABLE_ROOM][random.below(5)];
        counts.add(code_name, device.control(code, &request, room)?.error());
        if random.below(50) == 0 {
            device = open(name)?;
        }
    }
    Ok(counts)
}
