//! How a command fails, and the exit code that says so.

use std::{fmt, io};

use anstyle::{AnsiColor, Style};

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The input is wrong: the arguments, a policy or a capture. Exit code 2.
    Input(String),
    /// The machine is not ready: a driver is not loaded, or access is denied. Exit code 1.
    State(String),
    /// Windows refused something, with one of its error codes. Exit code 1.
    #[cfg_attr(not(windows), allow(dead_code, reason = "constructed on Windows alone"))]
    Windows {
        /// What was refused, and why.
        message: String,
        /// The error code.
        code: u32,
    },
    /// The input is wrong, and that has been printed already. Exit code 2.
    Reported,
    /// The output cannot be written. Exit code 1, or 0 if its reader has closed it.
    Output(io::Error),
}

impl Failure {
    /// A file that the user named cannot be read.
    pub(crate) fn unreadable(path: &std::path::Path, error: &io::Error) -> Self {
        Self::Input(format!("cannot read {}: {error}", path.display()))
    }

    /// Windows refused what `message` says, with this error.
    #[cfg(windows)]
    pub(crate) fn windows(message: String, error: &io::Error) -> Self {
        Self::Windows { message, code: error.raw_os_error().map(i32::cast_unsigned).unwrap_or_default() }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Input(_) | Self::Reported => 2,
            Self::State(_) | Self::Windows { .. } => 1,
            Self::Output(error) => u8::from(!reader_is_gone(error)),
        }
    }
}

/// Says what is odd but does not end the command.
pub(crate) fn warn(message: &str) {
    let style = Style::new().bold().fg_color(Some(AnsiColor::Yellow.into()));
    anstream::eprintln!("{style}warning{style:#}: {message}");
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(message) | Self::State(message) | Self::Windows { message, .. } => f.write_str(message),
            Self::Reported => Ok(()),
            Self::Output(error) => write!(f, "cannot write the output: {error}"),
        }
    }
}

impl From<io::Error> for Failure {
    /// For `?` where output is written; every other I/O error is given its context where it arises.
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<serde_json::Error> for Failure {
    /// For `?` where JSON is written: the values themselves can all be written.
    fn from(error: serde_json::Error) -> Self {
        Self::Output(error.into())
    }
}

/// Whether the output was a pipe whose reader has closed it.
fn reader_is_gone(error: &io::Error) -> bool {
    // The standard library knows the two other errors of a write to such a pipe.
    const ERROR_PIPE_NOT_CONNECTED: i32 = 233;
    error.kind() == io::ErrorKind::BrokenPipe || cfg!(windows) && error.raw_os_error() == Some(ERROR_PIPE_NOT_CONNECTED)
}
