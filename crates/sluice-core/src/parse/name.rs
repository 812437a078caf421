//! Names that do not lie in the packet as they are.

/// The text of a host name that was put together: it is encrypted in its packet, or lies there in pieces, or in several
/// packets. A flow with such a name has the flag [`NAME_ASSEMBLED`](sluice_npi::flags::NAME_ASSEMBLED).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameText {
    bytes: [u8; Self::MAX],
    length: u8,
}

impl NameText {
    /// The longest host name, as text.
    pub(crate) const MAX: usize = 255;

    pub(super) const EMPTY: Self = Self { bytes: [0; Self::MAX], length: 0 };

    /// The text of a name, or its labels if it is of DNS. `None` if it is longer than a name can be.
    #[must_use]
    pub fn new(name: &[u8]) -> Option<Self> {
        let mut text = Self::EMPTY;
        text.bytes.get_mut(..name.len())?.copy_from_slice(name);
        text.length = name.len() as u8;
        Some(text)
    }

    /// The name, as it was sent: in any case, with or without a dot at its end.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    pub(super) fn clear(&mut self) {
        self.length = 0;
    }

    /// Adds a byte. A name that is longer than [`MAX`](Self::MAX) has been refused before.
    pub(super) fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(usize::from(self.length)) {
            *place = byte;
            self.length = self.length.wrapping_add(1);
        }
    }
}

/// Where a name was found.
#[derive(Clone, Copy)]
pub(super) enum Found<'packet> {
    /// In the packet, in one piece.
    InPacket(&'packet [u8]),
    /// In pieces, which were copied to the [`NameText`].
    Copied,
}
