//! From entries to trees.
//!
//! A node with many entries is cut: by one or two windows of bits of the key, into as many children as the windows have
//! values, or by a hash of a tuple of its parts. An entry that does not specify the bits of a window would have to go
//! into many children. Depending on what is cheaper, it does, or it goes into the remainder, a tree of its own that
//! every search of the node visits too, unless a better rule was found before. Which cut is best is estimated for a
//! sample of the entries, on the assumption that each of them is asked for equally often.
//!
//! [`space`] has the entries as boxes, [`cut`] the ways to divide them, [`cost`] what each is expected to cost a
//! search, and [`build`] makes nodes of the best. Each node has a budget of space for what is below it, so that copies
//! cannot get out of hand.

mod build;
mod cost;
mod cut;
mod space;

use alloc::vec::Vec;

pub(super) use self::build::Built;
pub use self::cost::CostModel;
pub(super) use self::space::{Slice, Space};
use super::ErrorKind;
use crate::policy::entry::{Entry4, Entry6};

/// The entries of all trees of one table.
#[derive(Default)]
pub(super) struct Forest {
    roots: Vec<Source>,
}

/// The entries of one root, in order of their rules.
enum Source {
    Ipv4(Vec<Entry4>),
    Ipv6(Vec<Entry6>),
}

impl Forest {
    /// Adds a tree for IPv4 or for packets that are not IP. Trees are added in the order of their roots.
    pub(super) fn add_ipv4(&mut self, entries: Vec<Entry4>) {
        self.roots.push(Source::Ipv4(entries));
    }

    /// Adds a tree for IPv6.
    pub(super) fn add_ipv6(&mut self, entries: Vec<Entry6>) {
        self.roots.push(Source::Ipv6(entries));
    }

    /// Builds all trees.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] and [`ErrorKind::TooAlike`].
    pub(super) fn build(self, model: &CostModel) -> Result<Built, ErrorKind> {
        Built::new(&self.roots, model).ok_or(ErrorKind::TooLarge)?.complete(self.roots.len())
    }
}

/// A node that is to be built.
struct Task {
    /// The root that it is below.
    tree: usize,
    /// Its place among the nodes.
    node: usize,
    entries: Vec<u32>,
    /// How many entries' worth of space it may take.
    budget: usize,
    /// How many remainders wait when a search gets here.
    pending: usize,
    depth: u32,
    /// A node with the same few entries that comes before this one.
    same_as: Option<usize>,
}
