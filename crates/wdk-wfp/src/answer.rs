//! What a callout says about a packet.

use wdk_wfp_sys::{
    FWP_ACTION_BLOCK, FWP_ACTION_CONTINUE, FWP_ACTION_PERMIT, FWPS_CLASSIFY_OUT_FLAG_ABSORB, FWPS_CLASSIFY_OUT0,
    FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT, FWPS_RIGHT_ACTION_WRITE,
};

/// What a callout says about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: the next filter decides.
    Continue,
    /// It may pass, if no other sublayer blocks it.
    Permit,
    /// It may not, and no sublayer below can change that.
    Block {
        /// The packet vanishes without an error for whoever sent it (`FWPS_CLASSIFY_OUT_FLAG_ABSORB`).
        silently: bool,
    },
}

/// What a callout may write into an answer, by what lies there when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Anything.
    Full,
    /// A filter of more weight has permitted the packet and taken the right away: only a block, which is a veto (W4).
    Veto,
    /// It has blocked the packet: nothing is left to say.
    None,
}

impl Rights {
    /// The rights that an answer gives to whoever is called with it.
    #[must_use]
    pub fn of(out: &FWPS_CLASSIFY_OUT0) -> Self {
        if out.rights & FWPS_RIGHT_ACTION_WRITE != 0 {
            Self::Full
        } else if out.actionType == FWP_ACTION_PERMIT {
            Self::Veto
        } else {
            Self::None
        }
    }
}

impl Answer {
    /// Writes the answer of a filter with these `filter_flags` (`FWPS_FILTER2.flags`), as far as the callout has the
    /// right to (W3, W4, W5): a block takes the right away from those that follow, a permit does if the filter says so.
    /// Without the right nothing is written, but for a veto.
    pub fn write_to(self, out: &mut FWPS_CLASSIFY_OUT0, filter_flags: u16) {
        let rights = Rights::of(out);
        match (self, rights) {
            (Self::Continue, Rights::Full) => out.actionType = FWP_ACTION_CONTINUE,
            (Self::Permit, Rights::Full) => {
                out.actionType = FWP_ACTION_PERMIT;
                if u32::from(filter_flags) & FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT != 0 {
                    out.rights &= !FWPS_RIGHT_ACTION_WRITE;
                }
            }
            (Self::Block { silently }, Rights::Full | Rights::Veto) => {
                out.actionType = FWP_ACTION_BLOCK;
                out.rights &= !FWPS_RIGHT_ACTION_WRITE;
                if silently {
                    out.flags |= FWPS_CLASSIFY_OUT_FLAG_ABSORB;
                }
            }
            (Self::Continue | Self::Permit, Rights::Veto | Rights::None) | (Self::Block { .. }, Rights::None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use wdk_wfp_sys::{FWP_ACTION_TYPE, FWPS_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED};

    use super::*;

    const WRITE: u32 = FWPS_RIGHT_ACTION_WRITE;
    const CLEAR: u16 = FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT as u16;
    const BLOCK: Answer = Answer::Block { silently: false };

    fn out(action: FWP_ACTION_TYPE, rights: u32) -> FWPS_CLASSIFY_OUT0 {
        FWPS_CLASSIFY_OUT0 { actionType: action, outContext: 7, filterId: 8, rights, flags: 0, reserved: 9 }
    }

    fn after(answer: Answer, action: FWP_ACTION_TYPE, rights: u32, filter_flags: u16) -> (FWP_ACTION_TYPE, u32, u32) {
        let mut out = out(action, rights);
        answer.write_to(&mut out, filter_flags);
        assert_eq!((out.outContext, out.filterId, out.reserved), (7, 8, 9), "the system's own members");
        (out.actionType, out.rights, out.flags)
    }

    #[test]
    fn w3_with_the_right_every_answer_is_written() {
        assert_eq!(after(Answer::Permit, FWP_ACTION_CONTINUE, WRITE, 0), (FWP_ACTION_PERMIT, WRITE, 0));
        assert_eq!(after(Answer::Continue, FWP_ACTION_PERMIT, WRITE, 0), (FWP_ACTION_CONTINUE, WRITE, 0));
        assert_eq!(after(BLOCK, FWP_ACTION_PERMIT, WRITE, 0), (FWP_ACTION_BLOCK, 0, 0));
        let silently = Answer::Block { silently: true };
        assert_eq!(after(silently, FWP_ACTION_PERMIT, WRITE, 0), (FWP_ACTION_BLOCK, 0, FWPS_CLASSIFY_OUT_FLAG_ABSORB));
    }

    #[test]
    fn w4_without_the_right_only_a_permit_is_vetoed() {
        assert_eq!(after(BLOCK, FWP_ACTION_PERMIT, 0, 0), (FWP_ACTION_BLOCK, 0, 0));
        let silently = Answer::Block { silently: true };
        for action in [FWP_ACTION_BLOCK, FWP_ACTION_CONTINUE] {
            for answer in [Answer::Continue, Answer::Permit, BLOCK, silently] {
                assert_eq!(after(answer, action, 0, CLEAR), (action, 0, 0), "{answer:?}");
            }
        }
        for answer in [Answer::Continue, Answer::Permit] {
            assert_eq!(after(answer, FWP_ACTION_PERMIT, 0, 0), (FWP_ACTION_PERMIT, 0, 0), "{answer:?}");
        }
    }

    #[test]
    fn w5_a_permit_takes_the_right_away_if_the_filter_says_so() {
        assert_eq!(after(Answer::Permit, FWP_ACTION_CONTINUE, WRITE, CLEAR), (FWP_ACTION_PERMIT, 0, 0));
        let other = FWPS_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED as u16;
        assert_eq!(after(Answer::Permit, FWP_ACTION_CONTINUE, WRITE, other), (FWP_ACTION_PERMIT, WRITE, 0));
        assert_eq!(after(Answer::Continue, FWP_ACTION_PERMIT, WRITE, CLEAR), (FWP_ACTION_CONTINUE, WRITE, 0));
    }
}
