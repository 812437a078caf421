//! An input as a sequence of choices.

/// The input, byte by byte; zeros when it is used up.
#[derive(Clone, Copy)]
pub struct Choices<'data>(&'data [u8]);

impl<'data> Choices<'data> {
    pub fn new(data: &'data [u8]) -> Self {
        Self(data)
    }

    pub fn is_used_up(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    pub fn bytes(&mut self, most: u8) -> Vec<u8> {
        let length = usize::from(self.byte() % most);
        (0..length).map(|_| self.byte()).collect()
    }

    /// `right`, or now and then something else.
    pub fn mostly(&mut self, right: usize) -> u16 {
        match self.byte() {
            0xF0.. => u16::from_be_bytes([self.byte(), self.byte()]),
            0xE8..0xF0 => (right as u16).wrapping_add(1),
            0xE0..0xE8 => (right as u16).wrapping_sub(1),
            _ => right as u16,
        }
    }
}
