//! Devices through Win32.

use std::fs::{File, OpenOptions};
use std::os::windows::io::AsRawHandle;
use std::{io, ptr};

use sluice_control::code::has_message_in_output;
use sluice_control::name::{SLUICE, WIN32_PREFIX};
use sluice_control::settings::TABLE_LIMIT;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_FILE_NOT_FOUND, ERROR_INVALID_FUNCTION, ERROR_NO_SYSTEM_RESOURCES,
    ERROR_NOT_ENOUGH_QUOTA, ERROR_NOT_FOUND, ERROR_NOT_READY, ERROR_PATH_NOT_FOUND, ERROR_REVISION_MISMATCH,
};
use windows_sys::Win32::System::IO::DeviceIoControl;

use super::{Access, malformed_answer, other_version};
use crate::failure::Failure;

/// An open device.
pub(super) struct Handle {
    device: File,
    name: String,
}

impl Handle {
    pub(super) fn open(name: &str, access: Access) -> Result<Self, Failure> {
        let path = format!("{WIN32_PREFIX}{name}");
        let opened = OpenOptions::new().read(true).write(access == Access::ReadWrite).open(path);
        let device = opened.map_err(|error| cannot_open(name, &error))?;
        Ok(Self { device, name: name.to_owned() })
    }

    /// Sends a request and returns its answer of up to `room` bytes; a message that lies where its answer will be has
    /// as much room as it is long.
    pub(super) fn control(&self, code: u32, input: &[u8], room: usize) -> Result<Vec<u8>, Failure> {
        let (input, mut output) =
            if has_message_in_output(code) { (&[][..], input.to_vec()) } else { (input, vec![0; room]) };
        let length = |bytes: usize| {
            u32::try_from(bytes).map_err(|_| Failure::Input(format!("a request of {bytes} bytes is too large")))
        };
        let (input_length, output_length) = (length(input.len())?, length(output.len())?);
        let mut returned = 0;
        // SAFETY: the handle is open. The input is readable and the output writable for the lengths that are given with
        // them, and all of it lives until the call returns, because the handle was opened for synchronous requests.
        let done = unsafe {
            DeviceIoControl(
                self.device.as_raw_handle(),
                code,
                input.as_ptr().cast(),
                input_length,
                output.as_mut_ptr().cast(),
                output_length,
                &raw mut returned,
                ptr::null_mut(),
            )
        };
        if done == 0 {
            return Err(self.refused(&io::Error::last_os_error()));
        }
        if returned > output_length {
            return Err(malformed_answer());
        }
        output.truncate(returned as usize);
        Ok(output)
    }

    fn refused(&self, error: &io::Error) -> Failure {
        let why = match code_of(error) {
            Some(ERROR_REVISION_MISMATCH | ERROR_INVALID_FUNCTION) => return other_version(),
            Some(ERROR_NOT_FOUND) if self.name == SLUICE => {
                "no policy is being tried; start with: sluicectl policy dry-run start FILE".to_owned()
            }
            Some(ERROR_NOT_READY) if self.name == SLUICE => "it is starting or stopping".to_owned(),
            Some(ERROR_NOT_READY) => "it is attached to no provider; start sluice.sys (sc.exe start sluice)".to_owned(),
            Some(ERROR_NOT_ENOUGH_QUOTA) => {
                format!("the policy is larger than its registry value {TABLE_LIMIT} allows")
            }
            Some(ERROR_NO_SYSTEM_RESOURCES) => "not enough memory".to_owned(),
            _ => error.to_string(),
        };
        Failure::windows(format!("the driver of {WIN32_PREFIX}{} refused the request: {why}", self.name), error)
    }
}

fn cannot_open(name: &str, error: &io::Error) -> Failure {
    let message = match code_of(error) {
        Some(ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND) => {
            let driver = name.to_ascii_lowercase();
            format!(
                "{WIN32_PREFIX}{name} does not exist: its driver is not loaded (start it with: sc.exe start {driver})"
            )
        }
        Some(ERROR_ACCESS_DENIED) => {
            format!("access to {WIN32_PREFIX}{name} is denied: use an elevated prompt")
        }
        _ => format!("cannot open {WIN32_PREFIX}{name}: {error}"),
    };
    Failure::windows(message, error)
}

fn code_of(error: &io::Error) -> Option<u32> {
    error.raw_os_error().map(i32::cast_unsigned)
}
