//! The message table of a driver: the texts of its entries in the System log, where the Event Viewer finds them.
//!
//! The format: "MESSAGE_RESOURCE_DATA structure" and the pages that it links to (Microsoft, Menus and Other Resources).

/// MESSAGE_RESOURCE_UNICODE: the text of an entry is in UTF-16.
const UNICODE: u16 = 1;

/// MESSAGE_RESOURCE_DATA: each message as a block of its own, in the order of the codes.
///
/// # Errors
/// Two messages have the same code, or a text is longer than an entry can be.
pub(crate) fn message_table(messages: &[(u32, &str)]) -> Result<Vec<u8>, String> {
    let mut messages = messages.to_vec();
    messages.sort_by_key(|(code, _)| *code);
    if let Some(((code, _), _)) =
        messages.iter().zip(messages.iter().skip(1)).find(|(first, second)| first.0 == second.0)
    {
        return Err(format!("two messages have the code {code:#010x}"));
    }
    let count = u32::try_from(messages.len()).map_err(|_| "there are too many messages")?;
    let mut blocks = count.to_le_bytes().to_vec();
    let mut entries = Vec::new();
    let entries_at = 4 + 12 * messages.len();
    for (code, text) in messages {
        let offset = u32::try_from(entries_at + entries.len()).map_err(|_| "the messages are too long")?;
        // LowId, HighId, OffsetToEntries.
        blocks.extend([code, code, offset].into_iter().flat_map(u32::to_le_bytes));
        let text = super::utf16(&format!("{text}\r\n"));
        let length = (4 + text.len()).next_multiple_of(4);
        let stated = u16::try_from(length).map_err(|_| format!("the message {code:#010x} is too long"))?;
        entries.extend([stated, UNICODE].into_iter().flat_map(u16::to_le_bytes));
        entries.extend(text);
        super::pad(&mut entries);
    }
    blocks.extend(entries);
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_blocks_in_the_order_of_their_codes() {
        let table = message_table(&[(0xE000_0002, "no"), (0x6000_0001, "%2")]).unwrap();
        let words: Vec<u32> = table.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
        assert_eq!(words[..7], [2, 0x6000_0001, 0x6000_0001, 28, 0xE000_0002, 0xE000_0002, 44]);
        // Length with the header, padded; UTF-16; "%2\r\n\0".
        assert_eq!(words[7..11], [16 | 1 << 16, 0x0032_0025, 0x000A_000D, 0]);
        assert_eq!(words[11..], [16 | 1 << 16, 0x006F_006E, 0x000A_000D, 0]);
    }

    #[test]
    fn a_code_stands_for_one_message() {
        assert_eq!(message_table(&[(7, "a"), (8, "b"), (7, "c")]), Err("two messages have the code 0x00000007".into()));
    }

    #[test]
    fn a_text_that_has_no_room_is_refused() {
        let text = "x".repeat(40_000);
        assert_eq!(message_table(&[(7, &text)]), Err("the message 0x00000007 is too long".into()));
    }
}
