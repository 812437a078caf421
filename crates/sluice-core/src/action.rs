//! What a policy answers, and which way a packet goes.

use sluice_npi::{action, direction};

/// What to do with a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Action {
    /// Let it through.
    #[default]
    Permit = action::PERMIT,
    /// Drop it.
    Block = action::BLOCK,
}

impl Action {
    /// The action with this number in [`sluice_npi::action`].
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            action::PERMIT => Some(Self::Permit),
            action::BLOCK => Some(Self::Block),
            _ => None,
        }
    }

    /// The number of this action in [`sluice_npi::action`].
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// What a rule does with the packets that it matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum RuleAction {
    /// Let them through: the rules behind it are not tried.
    #[default]
    Permit = 1,
    /// Drop them: the rules behind it are not tried.
    Block = 2,
    /// Count them, and go on with the next rule.
    Count = 3,
    /// Count them, report some of them, and go on with the next rule.
    Log = 4,
}

impl RuleAction {
    /// All of them, with the names that users write.
    pub const NAMES: [(Self, &'static str); 4] =
        [(Self::Permit, "permit"), (Self::Block, "block"), (Self::Count, "count"), (Self::Log, "log")];

    /// The action with this [`number`](Self::number).
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Permit),
            2 => Some(Self::Block),
            3 => Some(Self::Count),
            4 => Some(Self::Log),
            _ => None,
        }
    }

    /// Permit and block as in [`sluice_npi::action`]; count is 3, log is 4.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// What users write for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Block => "block",
            Self::Count => "count",
            Self::Log => "log",
        }
    }

    /// What it decides. `None` if the next rule is tried as well.
    #[must_use]
    pub const fn decision(self) -> Option<Action> {
        match self {
            Self::Permit => Some(Action::Permit),
            Self::Block => Some(Action::Block),
            Self::Count | Self::Log => None,
        }
    }
}

impl From<Action> for RuleAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Permit => Self::Permit,
            Action::Block => Self::Block,
        }
    }
}

const _: () = assert!(RuleAction::Permit.number() == action::PERMIT && RuleAction::Block.number() == action::BLOCK);

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Direction {
    /// Not known: only rules without a direction match.
    #[default]
    Unspecified = direction::UNSPECIFIED,
    /// Towards this machine.
    Inbound = direction::INBOUND,
    /// Away from this machine.
    Outbound = direction::OUTBOUND,
}

impl Direction {
    /// The direction with this number in [`sluice_npi::direction`].
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            direction::UNSPECIFIED => Some(Self::Unspecified),
            direction::INBOUND => Some(Self::Inbound),
            direction::OUTBOUND => Some(Self::Outbound),
            _ => None,
        }
    }

    /// The number of this direction in [`sluice_npi::direction`].
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }
}
