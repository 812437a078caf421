//! How the requests were answered.
#![cfg_attr(not(windows), allow(dead_code, reason = "only the program for Windows sends requests"))]

use std::collections::BTreeMap;
use std::fmt;

/// How many requests with each control code were answered how: done, or refused with a Win32 error.
#[derive(Default)]
pub(crate) struct RequestCounts(BTreeMap<(&'static str, Option<i32>), u64>);

impl RequestCounts {
    /// Counts a request with the code of that name. `error` is none if it was done.
    pub(crate) fn add(&mut self, code: &'static str, error: Option<i32>) {
        *self.0.entry((code, error)).or_default() += 1;
    }

    /// Adds the counts of another thread.
    pub(crate) fn merge(&mut self, other: Self) {
        other.0.into_iter().for_each(|(key, count)| *self.0.entry(key).or_default() += count);
    }
}

/// A line for each code and answer, and one with the sum.
impl fmt::Display for RequestCounts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((code, error), count) in &self.0 {
            match error {
                None => writeln!(out, "{code}: done: {count}")?,
                Some(error) => writeln!(out, "{code}: error {error}: {count}")?,
            }
        }
        write!(out, "requests: {}", self.0.values().sum::<u64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_all_threads_are_added_by_code_and_answer() {
        let mut counts = RequestCounts::default();
        counts.add("STATUS", None);
        let mut other = RequestCounts::default();
        other.add("STATUS", None);
        other.add("STATUS", Some(87));
        other.add("LOAD", Some(5));
        counts.merge(other);
        assert_eq!(counts.to_string(), "LOAD: error 5: 1\nSTATUS: done: 2\nSTATUS: error 87: 1\nrequests: 4");
    }
}
