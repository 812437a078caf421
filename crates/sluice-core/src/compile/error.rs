//! Why rules cannot be compiled.

use alloc::string::String;
use core::fmt;

use super::Prefix;
use crate::policy::table::{MAX_EXPANDED, MAX_NAME_LENGTH, MAX_RULES, MAX_TABLE_SIZE, MAX_WORK};

/// Why rules cannot be compiled, and which one it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// The position of the rule in the list, from 0; `None` if it is not one rule's fault.
    pub rule: Option<usize>,
    /// What is wrong.
    pub kind: ErrorKind,
}

/// What is wrong with a rule, or with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There are more rules than [`MAX_RULES`]: this many.
    TooManyRules(usize),
    /// The table would have more bytes or entries than are allowed.
    TooLarge,
    /// The lists of one rule alone have so many combinations.
    RuleTooLarge(usize),
    /// With this rule, the rules so far have too many combinations.
    TooManyCombinations,
    /// Names are in so many lists at once that, with this rule, their rules have too many combinations.
    TooManyOverlaps,
    /// There are packets with which too many rules would have to be compared, one after another.
    TooAlike,
    /// The id is 0.
    ZeroId,
    /// The direction is that of packets without one.
    UnspecifiedDirection,
    /// Sluice does not read this link type.
    UnknownLinkType(u16),
    /// This is larger than the largest VLAN id, 4094 being the last that a network may use and 4095 the last there is.
    VlanOutOfRange(u16),
    /// The first of a range lies behind its last.
    EmptyRange {
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
    /// The prefix is longer than its address.
    PrefixTooLong(Prefix),
    /// The address has bits set behind the length of the prefix.
    HostBitsSet(Prefix),
    /// The version of IP is neither 4 nor 6.
    UnknownIpVersion(u8),
    /// There are flags in the value that are not in the mask, so that no packet matches.
    TcpFlagsOutsideMask,
    /// This is not a host name in ASCII.
    BadName(String),
    /// There are names of both kinds: those that a packet asks for, and those in answers.
    TwoKindsOfNames,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Some(rule) => write!(f, "rule number {} of the list: {}", rule.saturating_add(1), self.kind),
            None => self.kind.fmt(f),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyRules(count) => write!(f, "expected at most {MAX_RULES} rules, found {count}"),
            Self::TooLarge => write!(f, "the rules need a table of more than {MAX_TABLE_SIZE} bytes"),
            Self::RuleTooLarge(combinations) => write!(
                f,
                "its lists have {combinations} combinations of addresses, ports and protocols, at most {MAX_EXPANDED} \
                 are allowed: merge neighbouring prefixes, or give the addresses rules of their own"
            ),
            Self::TooManyCombinations => write!(
                f,
                "the rules up to this one have more than {MAX_EXPANDED} combinations of addresses, ports and \
                 protocols: merge neighbouring prefixes, or give long lists of addresses rules of their own"
            ),
            Self::TooManyOverlaps => write!(
                f,
                "too many different selections of rules name the same hosts: up to this rule they have more than \
                 {MAX_EXPANDED} combinations; name each host in fewer rules"
            ),
            Self::TooAlike => write!(
                f,
                "some packets would have to be compared with more than {MAX_WORK} combinations of conditions: too many \
                 rules have the same or overlapping addresses, ports and protocols, or names that end alike"
            ),
            Self::ZeroId => write!(f, "the id is 0: it has to be from 1 to 4294967295"),
            Self::UnspecifiedDirection => write!(f, "the direction has to be inbound, outbound or left out"),
            Self::UnknownLinkType(number) => write!(f, "{}", crate::UnknownLinkType(*number)),
            Self::VlanOutOfRange(id) => write!(f, "VLAN id {id} is too large: it has to be from 0 to 4095"),
            Self::EmptyRange { first, last } => {
                write!(f, "the range {first}-{last} is empty: its first number has to be no larger than its last")
            }
            Self::PrefixTooLong(prefix) => write!(
                f,
                "the prefix {prefix} is too long: at most {} is allowed",
                if prefix.address.is_ipv4() { 32 } else { 128 }
            ),
            Self::HostBitsSet(prefix) => {
                write!(f, "the address {} has bits set behind its first {}", prefix.address, prefix.length)
            }
            Self::UnknownIpVersion(version) => write!(f, "IP version {version} is not known: it has to be 4 or 6"),
            Self::TcpFlagsOutsideMask => write!(f, "there are TCP flags in the value that are not in the mask"),
            Self::BadName(name) => write!(
                f,
                "\"{name}\" is not a host name: it has to be 1 to {MAX_NAME_LENGTH} ASCII letters, digits, hyphens and \
                 underscores in labels of 1 to 63 with dots between them"
            ),
            Self::TwoKindsOfNames => {
                write!(
                    f,
                    "it has names that a packet asks for and names in answers: each kind has to have a rule of its own"
                )
            }
        }
    }
}

impl core::error::Error for CompileError {}
