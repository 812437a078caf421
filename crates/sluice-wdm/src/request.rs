//! A device control request and its buffers.

use core::slice;

use crate::NTSTATUS;
use crate::shared::SharedBytes;
use crate::status::STATUS_SUCCESS;

/// A device control request.
#[derive(Debug)]
pub struct Request<'a> {
    /// The control code.
    pub code: u32,
    /// What the program sent, and the place for the answer.
    pub buffers: Buffers<'a>,
}

/// The two buffers of DeviceIoControl, as the method in the control code has them.
#[derive(Debug)]
pub enum Buffers<'a> {
    /// METHOD_BUFFERED.
    Buffered(Buffered<'a>),
    /// METHOD_OUT_DIRECT.
    Direct {
        /// The first buffer, in a copy.
        input: &'a [u8],
        /// The second buffer, which the driver may read and write.
        shared: SharedBytes<'a>,
    },
}

/// The buffer of a METHOD_BUFFERED request: input and output share it, and the answer is written over the input.
#[derive(Debug)]
pub struct Buffered<'a> {
    bytes: &'a mut [u8],
    input_length: usize,
    output_length: usize,
}

impl<'a> Buffered<'a> {
    /// A buffer whose first `input_length` bytes are the input, with room for `output_length` bytes of answer. `None`
    /// if it is shorter than one of the two.
    #[must_use]
    pub fn new(bytes: &'a mut [u8], input_length: usize, output_length: usize) -> Option<Self> {
        let fits = bytes.len() >= input_length && bytes.len() >= output_length;
        fits.then_some(Self { bytes, input_length, output_length })
    }

    /// The system buffer that begins at `buffer`. What lies behind the input may be another program's data, so it is
    /// overwritten with zeros.
    ///
    /// # Safety
    ///
    /// For `'a`, `buffer` is the system buffer of a METHOD_BUFFERED request with these lengths: the input lies in it,
    /// and it is as long as the longer of the two. It may be NULL if both are 0.
    #[must_use]
    pub unsafe fn from_system_buffer(buffer: *mut u8, input_length: usize, output_length: usize) -> Self {
        let length = input_length.max(output_length);
        if buffer.is_null() || length == 0 {
            return Self { bytes: &mut [], input_length: 0, output_length: 0 };
        }
        // SAFETY: the input ends within the buffer.
        let rest = unsafe { buffer.add(input_length) };
        // SAFETY: that many bytes of the buffer lie behind the input.
        unsafe { rest.write_bytes(0, length.saturating_sub(input_length)) };
        // SAFETY: all `length` bytes are initialized, the first by the caller and the rest above, and the request's
        // alone.
        let bytes = unsafe { slice::from_raw_parts_mut(buffer, length) };
        Self { bytes, input_length, output_length }
    }

    /// What the program sent.
    #[must_use]
    pub fn input(&self) -> &[u8] {
        self.bytes.get(..self.input_length).unwrap_or_default()
    }

    /// How many bytes of answer there is room for.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.output_length
    }

    /// The place for the answer. It overwrites the input, so it is asked for when the input is done with.
    #[must_use]
    pub fn output(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.output_length).unwrap_or_default()
    }
}

/// How a request ends: what a driver puts into the `IoStatus` of the IRP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// `IoStatus.Status`.
    pub status: NTSTATUS,
    /// `IoStatus.Information`: how many bytes the answer has. 0 unless `status` is STATUS_SUCCESS.
    pub information: usize,
}

impl Completion {
    /// A request that succeeded with an answer of that many bytes, or failed with that status.
    pub const fn of(outcome: Result<usize, NTSTATUS>) -> Self {
        match outcome {
            Ok(information) => Self { status: STATUS_SUCCESS, information },
            Err(status) => Self { status, information: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use core::ptr;

    use super::*;

    /// A system buffer as the I/O manager leaves it: the input, and old bytes behind it.
    fn system_buffer(input: &[u8], output_length: usize) -> alloc::vec::Vec<u8> {
        let mut buffer = input.to_vec();
        buffer.resize(input.len().max(output_length), 0xEE);
        buffer
    }

    #[test]
    fn nothing_of_others_is_left_behind_the_input() {
        for output_length in [0, 2, 3, 4, 9] {
            let mut buffer = system_buffer(&[1, 2, 3], output_length);
            // SAFETY: the buffer has just been made for these lengths.
            let mut buffered = unsafe { Buffered::from_system_buffer(buffer.as_mut_ptr(), 3, output_length) };
            assert_eq!((buffered.input(), buffered.room()), (&[1, 2, 3][..], output_length));
            let mut expected = [1, 2, 3, 0, 0, 0, 0, 0, 0];
            assert_eq!(buffered.output(), &mut expected[..output_length]);
        }
    }

    #[test]
    fn a_request_without_buffers_has_neither_input_nor_room() {
        // SAFETY: NULL, with lengths of 0.
        let mut buffered = unsafe { Buffered::from_system_buffer(ptr::null_mut(), 0, 0) };
        assert_eq!((buffered.input(), buffered.room()), (&[][..], 0));
        assert_eq!(buffered.output(), &mut []);
    }

    #[test]
    fn a_buffer_that_is_shorter_than_its_lengths_makes_no_request() {
        assert!(Buffered::new(&mut [0; 10], 0, 11).is_none());
        assert!(Buffered::new(&mut [0; 10], 11, 0).is_none());
        assert!(Buffered::new(&mut [0; 10], 10, 10).is_some());
    }
}
