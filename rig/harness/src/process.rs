//! Running a program with a time limit.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a program is looked at.
const POLL: Duration = Duration::from_millis(2);

/// What came of a command.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The command as a person would type it on Windows.
    pub line: String,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Whether it ended with exit code 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }
}

/// Runs `command`, whose output goes through files in `folder`: a pipe would stay open in whatever the program leaves
/// running, and so never reach its end.
///
/// # Errors
/// It cannot be started, or it runs longer than `limit`; then it is ended.
pub(crate) fn run(command: &mut Command, line: &str, folder: &Path, number: usize, limit: Duration) -> Result<Outcome> {
    let stdout = folder.join(format!("{number:03}.stdout"));
    let stderr = folder.join(format!("{number:03}.stderr"));
    let create = |path: &Path| File::create(path).with_context(|| format!("cannot write {}", path.display()));
    command.stdin(Stdio::null()).stdout(create(&stdout)?).stderr(create(&stderr)?);
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let status = wait(&mut child, limit)?;
    let took = started.elapsed();
    let read = |path: &Path| {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"))
    };
    let Some(status) = status else {
        bail!("`{line}` did not end within {} s\n{}{}", limit.as_secs(), read(&stdout)?, read(&stderr)?);
    };
    Ok(Outcome { line: line.into(), code: status.code(), stdout: read(&stdout)?, stderr: read(&stderr)?, took })
}

/// Waits for a program; ends it, and returns none, when `limit` has passed.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a program")? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill().context("cannot end a program")?;
            child.wait().context("cannot wait for a program")?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}
