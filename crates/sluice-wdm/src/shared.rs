//! Memory that a driver shares with the program that sent a request.

use alloc::vec::Vec;
use core::marker::PhantomData;
use core::ptr;

use crate::NTSTATUS;
use crate::status::STATUS_INSUFFICIENT_RESOURCES;

/// A buffer of a program, which the I/O manager has locked and mapped.
///
/// The program can change it at any time. So there is no slice of it, and nobody looks twice: whatever decides
/// something is copied first, and the copy is validated.
#[derive(Debug)]
pub struct SharedBytes<'a> {
    start: *mut u8,
    length: usize,
    memory: PhantomData<&'a mut [u8]>,
}

impl<'a> SharedBytes<'a> {
    /// Memory that is shared with nobody, as tests have it.
    #[must_use]
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { start: bytes.as_mut_ptr(), length: bytes.len(), memory: PhantomData }
    }

    /// The memory at `start`.
    ///
    /// # Safety
    ///
    /// For `'a`, `length` bytes from there on can be read and written, and no reference to them exists. `start` may be
    /// NULL if they are 0.
    #[must_use]
    pub const unsafe fn from_raw(start: *mut u8, length: usize) -> Self {
        Self { start, length, memory: PhantomData }
    }

    /// How many bytes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The first bytes, in a copy; `None` if there are fewer.
    #[must_use]
    pub fn first<const N: usize>(&self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        if N > self.length {
            return None;
        }
        // SAFETY: as many bytes are there, by the invariant of the type; `bytes` is a local. What the program writes
        // meanwhile may or may not be in the copy.
        unsafe { ptr::copy_nonoverlapping(self.start, bytes.as_mut_ptr(), N) };
        Some(bytes)
    }

    /// All bytes, in a copy.
    ///
    /// # Errors
    ///
    /// STATUS_INSUFFICIENT_RESOURCES.
    pub fn to_vec(&self) -> Result<Vec<u8>, NTSTATUS> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(self.length).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        if self.length != 0 {
            // SAFETY: as many bytes are there, by the invariant of the type; the vector has room for them and is
            // elsewhere. What the program writes meanwhile may or may not be in the copy.
            unsafe { ptr::copy_nonoverlapping(self.start, bytes.as_mut_ptr(), self.length) };
        }
        // SAFETY: that many bytes have been written.
        unsafe { bytes.set_len(self.length) };
        Ok(bytes)
    }

    /// What lies behind the first `count` bytes; nothing if there are fewer.
    #[must_use]
    pub fn behind(&mut self, count: usize) -> SharedBytes<'_> {
        let count = count.min(self.length);
        // SAFETY: the place lies within the memory, or at its end.
        let start = unsafe { self.start.add(count) };
        SharedBytes { start, length: self.length.saturating_sub(count), memory: PhantomData }
    }

    /// Writes `bytes` to the start, if there is room for all of them, and says whether there was.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        let fits = bytes.len() <= self.length;
        if fits && !bytes.is_empty() {
            // SAFETY: as many bytes are there, by the invariant of the type, and no reference to them: `bytes` is
            // elsewhere.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.start, bytes.len()) };
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_copied_out_and_in_within_their_bounds() {
        let mut memory = [1, 2, 3, 4, 5];
        let mut shared = SharedBytes::new(&mut memory[..4]);
        assert_eq!((shared.first(), shared.first::<5>()), (Some([1, 2, 3, 4]), None));
        assert_eq!(shared.to_vec().unwrap(), [1, 2, 3, 4]);
        assert_eq!((shared.len(), shared.is_empty(), shared.behind(4).is_empty()), (4, false, true));
        assert!(shared.behind(2).write(&[7, 8]) && !shared.behind(2).write(&[9; 3]));
        assert!(shared.behind(9).is_empty() && shared.behind(9).write(&[]));
        assert_eq!(memory, [1, 2, 7, 8, 5]);
    }

    #[test]
    fn a_buffer_that_is_not_there_is_empty() {
        // SAFETY: NULL, with a length of 0.
        let mut shared = unsafe { SharedBytes::from_raw(ptr::null_mut(), 0) };
        assert_eq!((shared.len(), shared.first::<1>(), shared.to_vec()), (0, None, Ok(Vec::new())));
        assert!(!shared.write(&[1]) && shared.behind(1).is_empty());
    }

    #[test]
    fn what_does_not_fit_into_memory_is_an_error() {
        // SAFETY: nothing is read: there is no memory for the copy.
        let shared = unsafe { SharedBytes::from_raw(ptr::dangling_mut(), usize::MAX) };
        assert_eq!(shared.to_vec(), Err(STATUS_INSUFFICIENT_RESOURCES));
    }
}
