//! What sluice.sys writes to the System log, for administrators who run no tracing tool.
//!
//! The build script puts [`MESSAGES`] into sluice.sys as its message table, where the Event Viewer finds them; the
//! driver writes an entry by its [`code`](Message::code). What an administrator sees is in docs/windows.md.

/// A kind of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// What identifies it in the message table and in the log: the severity in the two highest bits, the customer bit,
    /// and the number that the Event Viewer shows as the event's.
    pub code: u32,
    /// What it says. `%2` and further stand for the strings of the entry; `%1` is the I/O manager's, the name of the
    /// device, and there is none.
    pub text: &'static str,
}

/// Set in each code that is not one of Microsoft's.
const CUSTOMER: u32 = 1 << 29;

impl Message {
    const fn new(severity: Severity, number: u16, text: &'static str) -> Self {
        Self { code: (severity as u32) << 30 | CUSTOMER | number as u32, text }
    }

    /// Its number, which the Event Viewer shows.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.code & 0xFFFF
    }

    /// How serious it is; what the Event Viewer shows as the level.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self.code >> 30 {
            3 => Severity::Error,
            2 => Severity::Warning,
            _ => Severity::Information,
        }
    }
}

/// How serious an entry is, by the number that stands for it in a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It should be so.
    Information = 1,
    /// Something is missing.
    Warning = 2,
    /// Something does not work.
    Error = 3,
}

/// The driver has started. Version; generation and number of rules of the policy in force; what happens to a packet
/// that no rule matches.
pub const STARTED: Message = Message::new(
    Severity::Information,
    1,
    "Sluice %2 has started. Policy generation %3 is in force: %4 rules, and a packet that no rule matches is %5.",
);

/// The driver has not started. Why.
pub const NOT_STARTED: Message = Message::new(Severity::Error, 2, "Sluice has not started: %2.");

/// The driver has stopped.
pub const STOPPED: Message = Message::new(Severity::Information, 3, "Sluice has stopped.");

/// The driver has stopped and cannot be unloaded.
pub const NOT_UNLOADED: Message = Message::new(
    Severity::Error,
    4,
    "Sluice has stopped, but NMR did not end its registration: sluice.sys stays in memory until the computer restarts.",
);

/// The persisted policy cannot be put in force, and the driver starts nevertheless. Status.
pub const PERMITS_EVERYTHING: Message = Message::new(
    Severity::Error,
    5,
    "The persisted policy cannot be used (status %2). Until a policy is loaded, Sluice permits every packet, as the \
     setting OnPolicyError demands.",
);

/// The same, with the other reaction.
pub const BLOCKS_EVERYTHING: Message = Message::new(
    Severity::Error,
    6,
    "The persisted policy cannot be used (status %2). Until a policy is loaded, Sluice blocks every packet, as the \
     setting OnPolicyError demands.",
);

/// Somebody has changed the policy. Generation and number of rules; what happens to a packet that no rule matches; for
/// how long it is; process and user.
pub const POLICY_CHANGED: Message = Message::new(
    Severity::Information,
    7,
    "Policy generation %2 is in force%5: %3 rules, and a packet that no rule matches is %4. The change was made by \
     process %6 of user %7.",
);

/// Entries are missing. How many.
pub const MISSED: Message = Message::new(
    Severity::Warning,
    8,
    "%2 entries of Sluice are missing before this one: there was no memory for them in the kernel's error log.",
);

/// All of them.
pub const MESSAGES: [Message; 8] =
    [STARTED, NOT_STARTED, STOPPED, NOT_UNLOADED, PERMITS_EVERYTHING, BLOCKS_EVERYTHING, POLICY_CHANGED, MISSED];
