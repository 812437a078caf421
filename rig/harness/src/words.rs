//! The form of the file `C:\rig\verifier`, by which the harness talks to the checks of netio.sys: both compile this
//! file.
//!
//! It begins with words, little-endian numbers of 64 bits at the offsets of [`Word`]. At [`NAME`] stands the name of
//! the driver that they are about, up to a zero.

/// The size of the file, in bytes.
pub(crate) const SIZE: usize = 4096;
/// Where the driver's name is.
pub(crate) const NAME: usize = 512;
/// How long it may be, with its zero.
pub(crate) const LONGEST_NAME: usize = 64;

/// The words of the file, in their order.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(crate) enum Word {
    /// Which of the driver's calls that can fail is to fail, counted from 1; 0 for none.
    FailCall,
    /// How many calls that can fail the driver has made since the harness set this to 0.
    Calls,
    /// How many of them were failed.
    Failed,
    /// Fail each call with that chance in 65,536, in an order that [`Word::Seed`] says.
    FailChance,
    /// What random decisions begin with. The harness sets it, and nobody changes it.
    Seed,
    /// Not 0: drivers may keep their state anywhere.
    NotIsolated,
    /// Which call of the driver out of a request, outside of critical regions, suspends its thread until this changes,
    /// counted from 1; 0 for none.
    SuspendCall,
    /// How many such calls there have been since the harness set this to 0.
    RequestCalls,
    /// Delay each call with that chance in 65,536, in an order that [`Word::Seed`] says.
    DelayChance,
    /// How many calls were delayed since the harness set this to 0.
    Delayed,
    /// Not 0: blocks of the pool begin with a page instead of ending with one.
    PoolAtStart,
    /// How many thousandths of the time on the machine that limits are written down for this one takes.
    Slowness,
}
