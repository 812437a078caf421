//! How many verdicts of each kind there were, counted as the drivers count them.

use std::ops::AddAssign;

use sluice_npi::{Statistics, Verdict, action, flags};

/// Verdicts received, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct VerdictCounts {
    pub(super) packets: u64,
    blocked: u64,
    malformed: u64,
    truncated: u64,
}

impl VerdictCounts {
    pub(super) fn add(&mut self, verdicts: &[Verdict]) {
        let count = |is: fn(&Verdict) -> bool| verdicts.iter().filter(|verdict| is(verdict)).count() as u64;
        *self += Self {
            packets: verdicts.len() as u64,
            blocked: count(|verdict| verdict.action == action::BLOCK),
            malformed: count(|verdict| verdict.flow.has(flags::MALFORMED)),
            truncated: count(|verdict| verdict.flow.has(flags::TRUNCATED)),
        };
    }

    /// The first counter of a driver that differs from these counts, in words.
    pub(super) fn difference(&self, counted: &Statistics) -> Option<String> {
        let Statistics { packets, permitted, blocked, malformed, truncated, rejected_calls, .. } = *counted;
        let permitted_here = self.packets - self.blocked;
        let pairs = [
            ("packets", packets, self.packets),
            ("permitted", permitted, permitted_here),
            ("blocked", blocked, self.blocked),
            ("malformed", malformed, self.malformed),
            ("truncated", truncated, self.truncated),
            ("rejected calls", rejected_calls, 0),
        ];
        let (name, theirs, ours) = pairs.into_iter().find(|(_, theirs, ours)| theirs != ours)?;
        Some(format!("counts {theirs} {name}, expected {ours}"))
    }
}

impl AddAssign for VerdictCounts {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.blocked += other.blocked;
        self.malformed += other.malformed;
        self.truncated += other.truncated;
    }
}

#[cfg(test)]
mod tests {
    use sluice_npi::{Flow, Header};

    use super::*;

    fn verdict(action: u16, flags: u32) -> Verdict {
        Verdict { action, flow: Flow { flags, ..Flow::default() }, ..Verdict::default() }
    }

    #[test]
    fn counters_have_to_be_those_of_the_verdicts() {
        let mut counts = VerdictCounts::default();
        counts.add(&[verdict(action::PERMIT, flags::TRUNCATED), verdict(action::PERMIT, 0)]);
        counts.add(&[verdict(action::BLOCK, flags::MALFORMED), verdict(action::BLOCK, 0)]);
        let counted = Statistics {
            header: Header::of::<Statistics>(),
            reserved: 0,
            packets: 4,
            permitted: 2,
            blocked: 2,
            malformed: 1,
            truncated: 1,
            rejected_calls: 0,
        };
        assert_eq!(counts.difference(&counted), None);
        for (wrong, part) in [
            (Statistics { packets: 5, ..counted }, "counts 5 packets, expected 4"),
            (Statistics { blocked: 1, ..counted }, "1 blocked"),
            (Statistics { malformed: 0, ..counted }, "0 malformed"),
            (Statistics { truncated: 2, ..counted }, "2 truncated"),
            (Statistics { rejected_calls: 1, ..counted }, "1 rejected calls"),
        ] {
            let difference = counts.difference(&wrong).unwrap();
            assert!(difference.contains(part), "{difference}");
        }
    }
}
