//! A device, and one request to it.

use std::fs::{File, OpenOptions};
use std::os::windows::io::AsRawHandle;
use std::{io, ptr};

use sluice_control::code::has_message_in_output;
use windows_sys::Win32::System::IO::DeviceIoControl;

/// Bytes behind the output buffer that no answer may reach.
const GUARD: [u8; 64] = [0xA5; 64];

/// What came back.
pub(crate) enum Answer {
    /// Success, and how many bytes of the output are the answer.
    Done(Vec<u8>),
    /// A Win32 error.
    Refused(i32),
}

impl Answer {
    /// The error, if the request was refused.
    pub(crate) fn error(&self) -> Option<i32> {
        match self {
            Self::Done(_) => None,
            Self::Refused(error) => Some(*error),
        }
    }
}

pub(crate) struct Device(File);

impl Device {
    pub(crate) fn open(name: &str) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open(format!(r"\\.\{name}")).map(Self)
    }

    /// Sends a request with room for `room` bytes of answer.
    ///
    /// # Errors
    /// The answer breaks a rule of `DeviceIoControl`: it claims to be longer than its room, or is.
    pub(crate) fn control(&self, code: u32, input: &[u8], room: usize) -> Result<Answer, String> {
        // A request to load a policy lies where its answer will be.
        let (input, mut output) =
            if has_message_in_output(code) { (&[][..], input.to_vec()) } else { (input, vec![0; room]) };
        let room = output.len();
        output.extend(GUARD);
        let mut returned = 0;
        // SAFETY: the handle is open and synchronous. Input and output have at least the lengths given and live until
        // the call returns.
        let done = unsafe {
            DeviceIoControl(
                self.0.as_raw_handle(),
                code,
                input.as_ptr().cast(),
                input.len() as u32,
                output.as_mut_ptr().cast(),
                room as u32,
                &raw mut returned,
                ptr::null_mut(),
            )
        };
        let error = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        if output[room..] != GUARD {
            return Err(format!("code {code:#x}: written behind an output of {room} bytes"));
        }
        if returned as usize > room {
            return Err(format!("code {code:#x}: {returned} bytes returned into an output of {room}"));
        }
        output.truncate(returned as usize);
        Ok(if done == 0 { Answer::Refused(error) } else { Answer::Done(output) })
    }
}
