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
