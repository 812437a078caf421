//! The network of a machine: packets that are sent through the filters of fwpkclnt.sys (see rig/wfp).

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::Rig;

/// How long sending packets once, or an answer after the end, may take.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
/// The file that ends what is played.
const STOP: &str = "wfp.stop";
/// The file that is there while something is played.
const PLAYING: &str = "wfp.playing";

/// A machine whose drivers can see packets.
#[derive(Clone, Copy)]
pub struct Network<'a>(&'a Rig);

/// What is to be sent, and how.
#[derive(Clone, Copy, Debug)]
pub struct Play<'a> {
    /// A capture in `C:\rig`, of packets that begin with their IP header or of Ethernet frames.
    pub capture: &'a str,
    /// `in`, `out` or `forward`.
    pub direction: &'a str,
    /// Whether the packets are said to stay on this machine.
    pub loopback: bool,
    /// How many threads send all of it.
    pub threads: usize,
    /// How often each does, or until [`Playing::stop`].
    pub rounds: Option<usize>,
    /// The most packets in one NET_BUFFER_LIST.
    pub per_list: usize,
    /// Whether the pages of every other MDL are not mapped.
    pub unmapped: bool,
}

impl<'a> Play<'a> {
    /// Each packet of a capture once, alone, on its way out.
    #[must_use]
    pub fn once(capture: &'a str) -> Self {
        Self { capture, direction: "out", loopback: false, threads: 1, rounds: Some(1), per_list: 1, unmapped: false }
    }
}

/// What became of one packet, in all rounds of all threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Treated {
    /// How often it passed.
    pub passed: u64,
    /// How often it was blocked.
    pub blocked: u64,
    /// Of those, without an error for its sender.
    pub absorbed: u64,
    /// How many callouts were asked about it.
    pub asked: u64,
}

/// What became of all of them.
#[derive(Clone, Debug)]
pub struct Played {
    /// By packet.
    pub packets: Vec<Treated>,
    /// A capture of those that were never blocked.
    pub passed: Vec<u8>,
}

impl<'a> Network<'a> {
    /// Gives a machine what drivers need that see packets. Before any of them is started.
    ///
    /// # Errors
    /// The file is not there, or cannot be copied.
    pub fn new(rig: &'a Rig) -> Result<Self> {
        rig.copy_driver(&rig.part("fwpkclnt.sys"), "fwpkclnt")?;
        Ok(Self(rig))
    }

    /// The network of a machine that has been [given](Self::new) one.
    #[must_use]
    pub fn of(rig: &'a Rig) -> Self {
        Self(rig)
    }

    /// Sends packets, and waits until that is done.
    ///
    /// # Errors
    /// The rig does not answer, or says what is wrong.
    pub fn play(self, play: Play<'_>) -> Result<Played> {
        self.start(play)?.finish()
    }

    /// Begins to send packets.
    ///
    /// # Errors
    /// The job cannot be written.
    pub fn start(self, play: Play<'_>) -> Result<Playing<'a>> {
        let Play { capture, direction, loopback, threads, rounds, per_list, unmapped } = play;
        let _ = fs::remove_file(self.0.file(STOP));
        let (loopback, unmapped, rounds) = (u8::from(loopback), u8::from(unmapped), rounds.unwrap_or(0));
        self.ask(&format!(
            "job=play\ncapture={capture}\npassed=wfp.passed\nstop={STOP}\ndirection={direction}\n\
             loopback={loopback}\nthreads={threads}\nrounds={rounds}\nper_list={per_list}\n\
             unmapped={unmapped}\n"
        ))?;
        fs::write(self.0.file(PLAYING), "").context("cannot write C:\\rig\\wfp.playing")?;
        Ok(Playing { network: self, is_stopped: false })
    }

    /// How many callouts are registered, and how many objects the engine has: providers, sublayers, callouts, filters.
    ///
    /// # Errors
    /// The rig does not answer, or packets are being sent.
    pub fn state(self) -> Result<[u64; 5]> {
        self.ask("job=state\n")?;
        let answer = self.answer()?;
        let words = ["registered", "providers", "sublayers", "callouts", "filters"];
        let mut state = [0; 5];
        for (place, word) in state.iter_mut().zip(words) {
            *place = answer.get(word).with_context(|| format!("there is no `{word}`"))?.parse()?;
        }
        Ok(state)
    }

    /// The next attempts to unregister a callout are answered with STATUS_DEVICE_BUSY.
    ///
    /// # Errors
    /// The rig does not answer, or packets are being sent.
    pub fn busy(self, times: usize) -> Result<()> {
        self.ask(&format!("job=busy\ntimes={times}\n"))?;
        self.answer().map(drop)
    }

    fn ask(self, job: &str) -> Result<()> {
        // It does one job at a time, and the answer to this one would come when the packets have been sent.
        ensure!(!self.0.file(PLAYING).exists(), "packets are being sent: stop that before something else is asked for");
        let (file, unfinished) = (self.0.file("wfp.job"), self.0.file("wfp.job.part"));
        fs::write(&unfinished, job)?;
        fs::rename(&unfinished, &file).context("cannot write C:\\rig\\wfp.job")
    }

    fn answer(self) -> Result<BTreeMap<String, String>> {
        let file = self.0.file("wfp.done");
        let limit = self.0.scaled(LIMIT);
        let deadline = Instant::now() + limit;
        while !file.exists() {
            // A bug check ends the process that would answer; the error says which.
            ensure_alive(self.0)?;
            ensure!(Instant::now() < deadline, "the network did not answer within {} s", limit.as_secs());
            thread::sleep(POLL);
        }
        let text = fs::read_to_string(&file)?;
        fs::remove_file(&file)?;
        let words = text.lines().filter_map(|line| line.split_once('='));
        let words: BTreeMap<String, String> = words.map(|(word, value)| (word.into(), value.trim().into())).collect();
        match words.get("error") {
            Some(error) => bail!("the network: {error}"),
            None => Ok(words),
        }
    }
}

/// No driver has broken a rule.
fn ensure_alive(rig: &Rig) -> Result<()> {
    let events = rig.events()?;
    let Some(position) = events.iter().position(|event| event.name == "bugcheck") else { return Ok(()) };
    let text: Vec<String> = events[position.saturating_sub(5)..=position].iter().map(ToString::to_string).collect();
    bail!("a rule was broken:\n{}", text.join("\n"))
}

/// Packets that are being sent. They end when it is dropped.
pub struct Playing<'a> {
    network: Network<'a>,
    is_stopped: bool,
}

impl Playing<'_> {
    /// Ends it, and says what became of the packets.
    ///
    /// # Errors
    /// The rig does not answer, or says what is wrong.
    pub fn stop(mut self) -> Result<Played> {
        self.end()?;
        self.collect()
    }

    /// Waits for the end of what has one.
    fn finish(mut self) -> Result<Played> {
        self.is_stopped = true;
        self.collect()
    }

    fn end(&mut self) -> Result<()> {
        self.is_stopped = true;
        fs::write(self.network.0.file(STOP), "").context("cannot write C:\\rig\\wfp.stop")
    }

    fn collect(&self) -> Result<Played> {
        let answer = self.network.answer();
        fs::remove_file(self.network.0.file(PLAYING))?;
        let answer = answer?;
        let mut packets = Vec::new();
        while let Some(line) = answer.get(&format!("packet.{}", packets.len())) {
            let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
            let [passed, blocked, absorbed, asked] = numbers[..] else { bail!("expected four numbers in `{line}`") };
            packets.push(Treated { passed, blocked, absorbed, asked });
        }
        let passed = fs::read(self.network.0.file("wfp.passed"))?;
        Ok(Played { packets, passed })
    }
}

impl Drop for Playing<'_> {
    fn drop(&mut self) {
        if !self.is_stopped
            && let Err(error) = self.end()
        {
            eprintln!("warning: packets are still sent: {error:#}");
        }
    }
}
