//! Wi-Fi (IEEE 802.11, 9.2 and 9.3): data frames that are not encrypted, with LLC in them.

use super::Parser;

/// The first byte of a frame: its type and subtype.
mod frame_control {
    pub(super) const VERSION_AND_TYPE: u8 = 0x0F;
    pub(super) const DATA: u8 = 0x08;
    /// Subtypes of data frames.
    pub(super) const QUALITY_OF_SERVICE: u8 = 0x80;
    pub(super) const NO_DATA: u8 = 0x40;
    /// The second byte.
    pub(super) const TO_AND_FROM_SYSTEM: u8 = 0x03;
    pub(super) const MORE_FRAGMENTS: u8 = 0x04;
    pub(super) const PROTECTED: u8 = 0x40;
    pub(super) const ORDER: u8 = 0x80;
}

/// Set in the low byte of QoS Control: several datagrams in one frame.
const AGGREGATE: u8 = 0x80;

/// Radiotap (radiotap.org): the parts of its header that are looked at.
mod radiotap {
    /// The fields that are present, of which these come first.
    pub(super) const TIME: u32 = 1 << 0;
    pub(super) const FLAGS: u32 = 1 << 1;
    /// Another word of fields follows.
    pub(super) const MORE: u32 = 1 << 31;
    /// In the flags: the header of the frame is filled up to a multiple of 4 bytes.
    pub(super) const PADDED: u8 = 0x20;
    /// How many words of fields are looked at.
    pub(super) const MAX_WORDS: usize = 16;
}

impl<'packet> Parser<'packet, '_, ()> {
    /// A radiotap header, and the frame behind it.
    pub(super) fn radiotap(&mut self, packet: &'packet [u8]) {
        let Some([version, _, low, high]) = packet.first_chunk::<4>() else {
            return self.short();
        };
        if *version != 0 {
            return;
        }
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        match packet.split_at_checked(length) {
            Some((header, frame)) if length >= 8 => self.wifi(frame, is_padded(header)),
            Some(_) => self.malformed(),
            None => self.short(),
        }
    }

    /// A frame, whose header may be `padded` to a multiple of 4 bytes.
    fn wifi(&mut self, frame: &'packet [u8], padded: bool) {
        let Some([control, flags]) = frame.first_chunk() else {
            return self.short();
        };
        if control & frame_control::VERSION_AND_TYPE != frame_control::DATA || control & frame_control::NO_DATA != 0 {
            return;
        }
        let mut length: usize = 24;
        if flags & frame_control::TO_AND_FROM_SYSTEM == frame_control::TO_AND_FROM_SYSTEM {
            length = length.wrapping_add(6);
        }
        let quality_of_service = length;
        let has_quality_of_service = control & frame_control::QUALITY_OF_SERVICE != 0;
        if has_quality_of_service {
            length = length.wrapping_add(2);
            if flags & frame_control::ORDER != 0 {
                length = length.wrapping_add(4);
            }
        }
        if padded {
            length = length.next_multiple_of(4);
        }
        let Some((header, body)) = frame.split_at_checked(length) else {
            return self.short();
        };
        // The low bits of Sequence Control are the number of a fragment.
        let is_fragment =
            flags & frame_control::MORE_FRAGMENTS != 0 || header.get(22).is_some_and(|sequence| sequence & 0x0F != 0);
        let is_aggregate =
            has_quality_of_service && header.get(quality_of_service).is_some_and(|control| control & AGGREGATE != 0);
        if flags & frame_control::PROTECTED == 0 && !is_fragment && !is_aggregate {
            self.llc(body);
        }
    }
}

/// Whether a radiotap header says that the header of its frame is padded.
fn is_padded(header: &[u8]) -> bool {
    let (words, _) = header.get(4..).unwrap_or_default().as_chunks();
    let mut words = words.iter().take(radiotap::MAX_WORDS).map(|word| u32::from_le_bytes(*word));
    let Some(fields) = words.next() else {
        return false;
    };
    let mut offset: usize = 8;
    if fields & radiotap::MORE != 0 {
        for word in words {
            offset = offset.wrapping_add(4);
            if word & radiotap::MORE == 0 {
                break;
            }
        }
    }
    if fields & radiotap::TIME != 0 {
        // Eight bytes, at a multiple of as many.
        offset = offset.next_multiple_of(8).wrapping_add(8);
    }
    fields & radiotap::FLAGS != 0 && header.get(offset).is_some_and(|flags| flags & radiotap::PADDED != 0)
}
