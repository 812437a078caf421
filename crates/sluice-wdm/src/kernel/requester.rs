//! Who has sent the request that the calling thread answers.

use core::fmt::{self, Write};
use core::ptr;

use wdk_sys::_TOKEN_INFORMATION_CLASS::TokenUser;
use wdk_sys::ntddk::{
    PsGetCurrentProcessId, RtlConvertSidToUnicodeString, ZwOpenProcessTokenEx, ZwOpenThreadTokenEx,
    ZwQueryInformationToken,
};
use wdk_sys::{HANDLE, OBJ_KERNEL_HANDLE, STATUS_NO_TOKEN, TOKEN_QUERY, TOKEN_USER, UNICODE_STRING};

use super::object::Handle;
use super::string::units_of;
use crate::NTSTATUS;

/// `NtCurrentProcess()` and `NtCurrentThread()`, which are macros in C.
const CURRENT_PROCESS: isize = -1;
const CURRENT_THREAD: isize = -2;

/// A TOKEN_USER and the longest SID: 15 sub-authorities.
const TOKEN_USER_SIZE: usize = size_of::<TOKEN_USER>() + 8 + 15 * 4;

/// The longest text of a SID: `S-255-` and an authority of 14 characters, then 15 numbers of up to ten digits.
const MAX_SID_TEXT: usize = 6 + 14 + 15 * 11;

/// The process and the user that sent a request. The user is the one whom the thread impersonates, if it does.
pub struct Requester {
    process: usize,
    /// The text of the user's SID, as far as `length`.
    sid: [u16; MAX_SID_TEXT],
    length: usize,
}

impl Requester {
    /// That of the calling thread, which answers a request of the control device: such requests are answered on the
    /// thread that sends them. PASSIVE_LEVEL.
    #[must_use]
    #[inline(never)]
    pub fn current() -> Self {
        // SAFETY: the function has no arguments and no conditions.
        let process = unsafe { PsGetCurrentProcessId() };
        let mut requester = Self { process: process.addr(), sid: [0; MAX_SID_TEXT], length: 0 };
        requester.length = read_sid(&mut requester.sid).unwrap_or(0);
        requester
    }

    /// The number of the process.
    #[must_use]
    pub fn process(&self) -> usize {
        self.process
    }

    /// The SID of the user as a text; `unknown` if the kernel does not say.
    #[must_use]
    pub fn user(&self) -> impl fmt::Display {
        User(self.sid.get(..self.length).unwrap_or_default())
    }
}

struct User<'a>(&'a [u16]);

impl fmt::Display for User<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("unknown");
        }
        char::decode_utf16(self.0.iter().copied())
            .try_for_each(|unit| f.write_char(unit.unwrap_or(char::REPLACEMENT_CHARACTER)))
    }
}

/// Writes the text of the user's SID to `place`. Returns its length.
fn read_sid(place: &mut [u16; MAX_SID_TEXT]) -> Result<usize, NTSTATUS> {
    let token = token()?;
    let mut information = [0_u64; TOKEN_USER_SIZE.div_ceil(8)];
    let mut length = 0;
    // SAFETY: the handle is open, the buffer has the length that is stated, and a TOKEN_USER is aligned to 8 bytes.
    let status = unsafe {
        ZwQueryInformationToken(
            token.get(),
            TokenUser,
            information.as_mut_ptr().cast(),
            size_of_val(&information) as u32,
            &raw mut length,
        )
    };
    if status < 0 {
        return Err(status);
    }
    // SAFETY: the kernel has put a TOKEN_USER at the start of the buffer, and the SID that it points to behind.
    let user = unsafe { information.as_ptr().cast::<TOKEN_USER>().read() };
    let mut text = UNICODE_STRING { Length: 0, MaximumLength: size_of_val(place) as u16, Buffer: place.as_mut_ptr() };
    // SAFETY: the SID lies in the buffer, and the string describes memory of ours, which is not to be replaced.
    let status = unsafe { RtlConvertSidToUnicodeString(&raw mut text, user.User.Sid, 0) };
    if status < 0 {
        return Err(status);
    }
    // SAFETY: the function has filled that much of `place`.
    Ok(unsafe { units_of(&text) }.len())
}

/// The token by which the calling thread acts: its own, or that of its process.
fn token() -> Result<Handle, NTSTATUS> {
    let of_thread = Handle::from_call(|handle| {
        // SAFETY: a pseudo handle, and a place for the result. With the rights of the process, since whom the thread
        // impersonates may not be allowed to look.
        unsafe { ZwOpenThreadTokenEx(pseudo_handle(CURRENT_THREAD), TOKEN_QUERY, 1, OBJ_KERNEL_HANDLE, handle) }
    });
    match of_thread {
        Err(STATUS_NO_TOKEN) => Handle::from_call(|handle| {
            // SAFETY: a pseudo handle, and a place for the result.
            unsafe { ZwOpenProcessTokenEx(pseudo_handle(CURRENT_PROCESS), TOKEN_QUERY, OBJ_KERNEL_HANDLE, handle) }
        }),
        // Of a thread that acts for somebody else the process says nothing.
        opened => opened,
    }
}

fn pseudo_handle(number: isize) -> HANDLE {
    ptr::without_provenance_mut(number.cast_unsigned())
}
