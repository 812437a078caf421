//! What the harness asks for, and what it is told.
//!
//! A job is the file `C:\rig\wfp.job`, its answer `C:\rig\wfp.done`: a word a line, with its value behind a `=`. Both
//! come into being by a renaming, so that nobody sees half of one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io, thread};

use wfp_engine::Engine;

use crate::play::{self, Direction, Play};

const FOLDER: &str = r"C:\rig";
const POLL: Duration = Duration::from_millis(2);

/// Does one job after the other, as long as the process lives.
pub(crate) fn serve() {
    let (job, done) = (Path::new(FOLDER).join("wfp.job"), Path::new(FOLDER).join("wfp.done"));
    loop {
        if let Ok(text) = fs::read_to_string(&job)
            && fs::remove_file(&job).is_ok()
        {
            let answer = perform(&text).unwrap_or_else(|error| format!("error={error}\n"));
            let unfinished = done.with_extension("part");
            // Without an answer the harness says that there was none.
            let _ = fs::write(&unfinished, answer).and_then(|()| fs::rename(&unfinished, &done));
        }
        thread::sleep(POLL);
    }
}

/// The words of a job.
struct Words<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Words<'a> {
    fn read(text: &'a str) -> Self {
        Self(text.lines().filter_map(|line| line.split_once('=')).collect())
    }

    fn get(&self, word: &str) -> io::Result<&'a str> {
        self.0.get(word).copied().ok_or_else(|| invalid(format!("expected a line `{word}=`")))
    }

    fn number(&self, word: &str) -> io::Result<usize> {
        let value = self.get(word)?;
        value.parse().map_err(|_| invalid(format!("expected a number in `{word}={value}`")))
    }

    fn file(&self, word: &str) -> io::Result<PathBuf> {
        self.get(word).map(|name| Path::new(FOLDER).join(name))
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// Does a job and returns the answer.
fn perform(text: &str) -> io::Result<String> {
    let words = Words::read(text);
    match words.get("job")? {
        "play" => {
            let direction = match words.get("direction")? {
                "in" => Direction::In,
                "out" => Direction::Out,
                "forward" => Direction::Forward,
                other => return Err(invalid(format!("expected in, out or forward in `direction={other}`"))),
            };
            play::play(&Play {
                capture: words.file("capture")?,
                passed: words.file("passed")?,
                stop: words.file("stop")?,
                direction,
                loopback: words.number("loopback")? != 0,
                threads: words.number("threads")?,
                rounds: words.number("rounds")?,
                per_list: words.number("per_list")?,
                unmapped: words.number("unmapped")? != 0,
            })
        }
        "state" => {
            let engine = Engine::resident();
            let [providers, sublayers, callouts, filters] = engine.objects();
            let registered = engine.registered();
            Ok(format!(
                "registered={registered}\nproviders={providers}\nsublayers={sublayers}\ncallouts={callouts}\n\
                 filters={filters}\n"
            ))
        }
        "busy" => {
            Engine::resident().busy(words.number("times")?);
            Ok(String::new())
        }
        other => Err(invalid(format!("expected play, state or busy in `job={other}`"))),
    }
}
