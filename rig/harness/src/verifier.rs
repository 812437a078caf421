//! What the checks of netio.sys are told while drivers run, and what they have counted: the file `C:\rig\verifier`,
//! which netio.sys has mapped into its memory.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::words::{LONGEST_NAME, NAME, SIZE, Word};

/// The settings of the checks of a [`Rig`](crate::Rig), changed while drivers run.
///
/// A *call that can fail* is one that needs memory or another resource: an allocation, a registration, a handle, a file
/// operation. docs/rig.md lists them.
#[derive(Debug)]
pub struct Verifier(File);

impl Verifier {
    /// Makes the file. netio.sys must not be running.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let make = || {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
            file.write_all_at(&[0; SIZE], 0)?;
            Ok::<_, std::io::Error>(file)
        };
        make().map(Self).with_context(|| format!("cannot make {}", path.display()))
    }

    /// Has one call of a driver fail: the `number`th of its calls that can fail from now on, beginning with 1. With 0,
    /// none fails, and they are counted alone.
    ///
    /// # Errors
    /// The name is too long, or the file cannot be written.
    pub fn fail_call(&self, driver: &str, number: u64) -> Result<()> {
        self.about(driver)?;
        self.set(Word::FailChance, 0)?;
        self.set(Word::FailCall, number)
    }

    /// Has calls of a driver, or of every driver if the name is empty, fail by chance, which is given in 65,536ths. The
    /// same seed fails the same calls, as long as the drivers make the same ones.
    ///
    /// # Errors
    /// As for [`Self::fail_call`].
    pub fn fail_randomly(&self, driver: &str, chance: u16, seed: u64) -> Result<()> {
        self.about(driver)?;
        self.set(Word::FailCall, 0)?;
        self.set(Word::Seed, seed)?;
        self.set(Word::FailChance, chance.into())
    }

    /// Lets every call succeed again; returns how many were failed.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn fail_none(&self) -> Result<u64> {
        self.set(Word::FailCall, 0)?;
        self.set(Word::FailChance, 0)?;
        self.word(Word::Failed)
    }

    /// Has the thread of a request be suspended at one call out of its driver, while it is in no critical region, as a
    /// debugger can do with a program: at the `number`th such call from now on, beginning with 1. It goes on when this
    /// is called again; with 0, no other is suspended.
    ///
    /// # Errors
    /// As for [`Self::fail_call`].
    pub fn suspend_call(&self, driver: &str, number: u64) -> Result<()> {
        self.set(Word::SuspendCall, 0)?;
        self.about(driver)?;
        self.set(Word::RequestCalls, 0)?;
        self.set(Word::SuspendCall, number)
    }

    /// Has calls of every driver take longer by chance, which is given in 65,536ths: each one of them by up to 8 ms,
    /// before it does anything. The seed says how often a driver has to come by a place in its code until its call
    /// from there is delayed, and for how long, so the same seed delays the same calls in whatever order the threads
    /// run. Returns how many were delayed before.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn delay_randomly(&self, chance: u16, seed: u64) -> Result<u64> {
        let before = self.word(Word::Delayed)?;
        self.set(Word::DelayChance, 0)?;
        self.set(Word::Delayed, 0)?;
        self.set(Word::Seed, seed)?;
        self.set(Word::DelayChance, chance.into())?;
        Ok(before)
    }

    /// Has blocks of the pool that are allocated from now on begin with a page, so that a write in front of one is
    /// seen at once; or has them end with a page again, so that one behind it is.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn pool_at_start(&self, at_start: bool) -> Result<()> {
        self.set(Word::PoolAtStart, u64::from(at_start))
    }

    /// Lets drivers keep their state anywhere, or has them keep driver package isolation, as they have to unless told
    /// otherwise.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn isolate(&self, isolated: bool) -> Result<()> {
        self.set(Word::NotIsolated, u64::from(!isolated))
    }

    /// Has what may last so long on the machine that limits are written down for last that many thousandths of it.
    pub(crate) fn set_slowness(&self, slowness: u32) -> Result<()> {
        self.set(Word::Slowness, slowness.into())
    }

    /// How many calls that can fail the driver has made since it was named.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn calls(&self) -> Result<u64> {
        self.word(Word::Calls)
    }

    /// Names the driver that the settings are about, and begins to count.
    fn about(&self, driver: &str) -> Result<()> {
        let longest = LONGEST_NAME - 1;
        ensure!(driver.len() <= longest, "expected a name of up to {longest} bytes, found {driver:?}");
        self.fail_none()?;
        let mut name = [0; LONGEST_NAME];
        name[..driver.len()].copy_from_slice(driver.as_bytes());
        self.0.write_all_at(&name, NAME as u64).context("cannot write C:\\rig\\verifier")?;
        self.set(Word::Calls, 0)?;
        self.set(Word::Failed, 0)
    }

    fn set(&self, word: Word, value: u64) -> Result<()> {
        let written = self.0.write_all_at(&value.to_le_bytes(), word as u64 * 8);
        written.context("cannot write C:\\rig\\verifier")
    }

    fn word(&self, word: Word) -> Result<u64> {
        let mut value = [0; 8];
        self.0.read_exact_at(&mut value, word as u64 * 8).context("cannot read C:\\rig\\verifier")?;
        Ok(u64::from_le_bytes(value))
    }
}
