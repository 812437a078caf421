//! How much stack each function takes: the frames that the unwind data describes.
//!
//! Windows has to be able to unwind every function that moves the stack pointer, so the exception table (.pdata) and
//! what it points to say exactly by how much each prolog does. Formats: "x64 exception handling" and "ARM64 exception
//! handling" of Microsoft's C++ documentation.

use object::{LittleEndian as LE, pe};

use super::Image;

/// A function, or a part of one, with a frame of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Where it starts, relative to the image.
    pub(super) start: u32,
    /// What its prolog takes of the stack, in bytes: saved registers and locals. On x64 the return address, which its
    /// caller has pushed, comes on top.
    pub(super) size: u32,
}

/// All frames, by where they start. A function without one does not move the stack pointer.
///
/// # Errors
/// The table cannot be read.
pub(super) fn frames(image: &Image<'_>) -> Result<Vec<Frame>, String> {
    let Some((address, size)) = image.directory(pe::IMAGE_DIRECTORY_ENTRY_EXCEPTION) else { return Ok(Vec::new()) };
    let is_arm64 = image.headers.file_header.machine.get(LE) == pe::IMAGE_FILE_MACHINE_ARM64;
    let length = if is_arm64 { 8 } else { 12 };
    let table = at(image, address).and_then(|data| data.get(..size as usize)).ok_or("it lies outside the image")?;
    let entries = table.chunks_exact(length).map(|entry| {
        let [start, second, third] = [0, 4, 8].map(|at| word(entry, at).unwrap_or_default());
        let size = if is_arm64 { arm64_frame(image, second) } else { x64_frame(image, third, MOST_CHAINED) };
        let size = size.ok_or_else(|| format!("the entry for the function at {start:#x} makes no sense"))?;
        Ok(Frame { start, size })
    });
    let mut frames = entries.collect::<Result<Vec<_>, String>>()?;
    frames.sort_by_key(|frame| frame.start);
    Ok(frames)
}

/// How many parts of one function may refer to each other. Compilers make two or three.
const MOST_CHAINED: u32 = 32;

/// The frame of UNWIND_INFO at `address`, with that of the function of which it is a part.
fn x64_frame(image: &Image<'_>, address: u32, chained: u32) -> Option<u32> {
    const CHAINED: u8 = 4;
    let info = at(image, address)?;
    let [first, _, count, ..] = *info else { return None };
    let codes = info.get(4..4 + 2 * usize::from(count))?;
    let own = x64_codes(codes)?;
    if (first >> 3) & CHAINED == 0 {
        return Some(own);
    }
    // The entry of the other part follows the codes, of which there is room for an even number.
    let parent = info.get(4 + 2 * usize::from(count.next_multiple_of(2))..)?;
    own.checked_add(x64_frame(image, word(parent, 8)?, chained.checked_sub(1)?)?)
}

/// What the codes of a prolog take, in bytes.
fn x64_codes(mut codes: &[u8]) -> Option<u32> {
    let mut size = 0_u32;
    while let [_, code, rest @ ..] = codes {
        let information = u32::from(code >> 4);
        let half = || Some(u32::from(u16::from_le_bytes(*rest.first_chunk()?)));
        // UWOP_: how much is taken, and how many more slots of two bytes belong to the code.
        let (taken, slots) = match (code & 15, information) {
            (0, _) => (8, 0),                   // PUSH_NONVOL
            (1, 0) => (8 * half()?, 1),         // ALLOC_LARGE
            (1, 1) => (word(rest, 0)?, 2),      // ALLOC_LARGE
            (2, _) => (8 * information + 8, 0), // ALLOC_SMALL
            (3 | 6, _) => (0, 0),               // SET_FPREG, EPILOG
            (4 | 8, _) => (0, 1),               // SAVE_NONVOL, SAVE_XMM128
            (5 | 9, _) => (0, 2),               // SAVE_NONVOL_FAR, SAVE_XMM128_FAR
            (10, 0) => (40, 0),                 // PUSH_MACHFRAME
            (10, 1) => (48, 0),                 // with an error code
            _ => return None,
        };
        size = size.checked_add(taken)?;
        codes = rest.get(2 * slots..)?;
    }
    Some(size)
}

/// The frame that the second word of an entry describes, or the .xdata record that it points to.
fn arm64_frame(image: &Image<'_>, second: u32) -> Option<u32> {
    match second & 3 {
        0 => arm64_record(at(image, second)?),
        // Packed: the whole frame, in units of 16 bytes.
        1 | 2 => Some((second >> 23) * 16),
        _ => None,
    }
}

/// The frame that an .xdata record describes.
///
/// The prolog is described as far as an unwinder needs it: where there is a frame pointer, what is taken after it was
/// set is left out. An epilog gives everything back. So the frame is the most that any of them says; of a function
/// with a frame pointer that never returns, and so has no epilog, the locals are not known.
fn arm64_record(record: &[u8]) -> Option<u32> {
    let header = word(record, 0)?;
    let has_one_epilog = header >> 21 & 1 != 0;
    let (mut epilogs, mut code_words, mut start) = (header >> 22 & 31, header >> 27, 4);
    if epilogs == 0 && code_words == 0 {
        let extension = word(record, 4)?;
        (epilogs, code_words, start) = (extension & 0xffff, extension >> 16 & 0xff, 8);
    }
    // Where the codes of each epilog begin: of a single one it says where instead of how many there are.
    let (scopes, single) = if has_one_epilog { (0, Some(epilogs)) } else { (epilogs as usize, None) };
    let (scopes, codes) = record.get(start..)?.split_at_checked(4 * scopes)?;
    let codes = codes.get(..4 * code_words as usize)?;
    let epilogs = scopes.as_chunks().0.iter().map(|scope| u32::from_le_bytes(*scope) >> 22).chain(single);
    let frames = epilogs.map(|first| arm64_codes(codes.get(first as usize..)?));
    frames.chain([arm64_codes(codes)]).try_fold(0, |largest, frame| Some(frame?.max(largest)))
}

/// What the codes of a prolog take, or those of an epilog give back, in bytes. Others may follow behind the end.
fn arm64_codes(mut codes: &[u8]) -> Option<u32> {
    let mut size = 0_u32;
    loop {
        let first = *codes.first()?;
        let low = |bits: u32| codes.get(1).map(|second| u32::from(*second) & ((1 << bits) - 1));
        let (taken, length) = match first {
            0x00..=0x1f => (16 * u32::from(first), 1),                       // alloc_s
            0x20..=0x3f => (8 * u32::from(first & 0x1f), 1),                 // save_r19r20_x
            0x40..=0x7f => (0, 1),                                           // save_fplr
            0x80..=0xbf => (8 * (u32::from(first & 0x3f) + 1), 1),           // save_fplr_x
            0xc0..=0xc7 => (16 * (u32::from(first & 7) << 8 | low(8)?), 2),  // alloc_m
            0xcc..=0xcf | 0xda..=0xdb => (8 * (low(6)? + 1), 2),             // save_regp_x, save_fregp_x
            0xd4..=0xd5 | 0xde => (8 * (low(5)? + 1), 2),                    // save_reg_x, save_freg_x
            0xc8..=0xcb | 0xd0..=0xd3 | 0xd6..=0xd9 | 0xdc..=0xdd => (0, 2), // saved within the frame
            0xe0 => (16 * (u32::from_be_bytes(*codes.first_chunk()?) & 0xff_ffff), 4), // alloc_l
            // save_any_reg; with bit 5 of the second byte it takes its place, in units of 16 bytes.
            0xe7 if codes.get(1)? & 0x20 != 0 => (16 * (u32::from(codes.get(2)? & 0x3f) + 1), 3),
            0xe7 => (0, 3),
            0xe2 => (0, 2),                             // add_fp
            0xe1 | 0xe3 | 0xe6 | 0xec | 0xfc => (0, 1), // set_fp, nop, save_next, clear_unwound_to_call, pac_sign_lr
            0xe4 | 0xe5 => return Some(size),           // end, end_c
            _ => return None,
        };
        size = size.checked_add(taken)?;
        codes = codes.get(length..)?;
    }
}

/// The bytes of the image from `address` to the end of its section.
fn at<'a>(image: &Image<'a>, address: u32) -> Option<&'a [u8]> {
    image.sections.pe_data_at(image.bytes, address)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Driver;
    use super::*;

    /// The frames that a table describes. Both it and what it points to lie in the section at 0x1000, the table at its
    /// beginning.
    fn frames_of(driver: Driver, table: &[u32], more: &[u8]) -> Result<Vec<(u32, u32)>, String> {
        let mut driver = driver;
        driver.code = table.iter().copied().flat_map(u32::to_le_bytes).collect();
        let size = u32::try_from(driver.code.len()).unwrap();
        driver.code.extend(more);
        driver.directories.push((pe::IMAGE_DIRECTORY_ENTRY_EXCEPTION, 0x1000, size));
        let file = driver.image();
        let frames = frames(&Image::parse("sluice.sys", &file).unwrap())?;
        Ok(frames.iter().map(|frame| (frame.start, frame.size)).collect())
    }

    #[test]
    fn an_x64_frame_of_a_part_has_that_of_its_function_in_it() {
        // At 0x1018 three codes, of sub rsp, 108h and push rbx; at 0x1024 three more, push rsi, push rdi and push rbp,
        // with the entry of the function behind them.
        let function = [1, 0, 3, 0, 9, 1, 0x21, 0, 1, 0x30, 0, 0];
        let part = [0x21, 0, 3, 0, 3, 0x60, 2, 0x70, 1, 0x50, 0, 0];
        let parent = [0x1100_u32, 0x1180, 0x1018].into_iter().flat_map(u32::to_le_bytes);
        let information: Vec<u8> = function.into_iter().chain(part).chain(parent).collect();
        let table = [0x1180, 0x11c0, 0x1024, 0x1100, 0x1180, 0x1018];
        let expected = vec![(0x1100, 0x108 + 8), (0x1180, 0x108 + 8 + 24)];
        assert_eq!(frames_of(Driver::new(), &table, &information), Ok(expected));
    }

    #[test]
    fn a_part_of_itself_makes_no_sense() {
        let part =
            [0x21, 0, 0, 0].into_iter().chain([0x1100_u32, 0x1180, 0x100c].into_iter().flat_map(u32::to_le_bytes));
        let frames = frames_of(Driver::new(), &[0x1100, 0x1180, 0x100c], &part.collect::<Vec<u8>>());
        assert_eq!(frames.unwrap_err(), "the entry for the function at 0x1100 makes no sense");
    }

    #[test]
    fn an_arm64_entry_has_its_frame_in_it_or_points_to_it() {
        // At 0x1018 one word of codes and no epilog: stp fp, lr, [sp, #-32]!; end.
        let record: Vec<u8> = [1_u32 << 27, 0xe4e4_e483].into_iter().flat_map(u32::to_le_bytes).collect();
        let table = [0x1100, 5 << 23 | 1, 0x1200, 7 << 23 | 3 << 13 | 2, 0x1300, 0x1018];
        let expected = vec![(0x1100, 80), (0x1200, 112), (0x1300, 32)];
        assert_eq!(frames_of(Driver::arm64(), &table, &record), Ok(expected));
        assert!(frames_of(Driver::arm64(), &[0x1100, 5 << 23 | 3], &[]).is_err(), "no such entry");
    }

    #[test]
    fn x64_codes_count_what_they_take() {
        // sub rsp, 28h; push rbx; push rbp.
        assert_eq!(x64_codes(&[8, 0x42, 4, 0x30, 1, 0x50]), Some(0x28 + 16));
        // sub rsp, 408h in both of its forms; registers saved in the frame take nothing more.
        assert_eq!(x64_codes(&[7, 0x01, 0x81, 0x00]), Some(0x408));
        assert_eq!(x64_codes(&[7, 0x11, 0x08, 0x04, 0, 0]), Some(0x408));
        assert_eq!(x64_codes(&[9, 0x34, 7, 0, 9, 0x68, 2, 0, 7, 0x03]), Some(0));
        assert_eq!(x64_codes(&[9, 0x35, 7, 0, 0, 0, 9, 0x69, 2, 0, 0, 0, 1, 0x50]), Some(8), "far in the frame");
        assert_eq!(x64_codes(&[0, 0x0a]), Some(40), "an interrupt");
        assert_eq!(x64_codes(&[0, 0x1a]), Some(48), "one with an error code");
        assert_eq!(x64_codes(&[7, 0x01]), None, "a cut code");
        assert_eq!(x64_codes(&[7, 0x0f]), None, "a code that does not exist");
    }

    #[test]
    fn an_arm64_frame_is_what_an_epilog_gives_back() {
        // stp fp, lr, [sp, #-32]!; mov fp, sp; then sub sp, #64, which the prolog leaves out.
        let codes = [0xe1, 0x83, 0xe4, 0x04, 0xe1, 0x83, 0xe4, 0xe3];
        let record = |header: u32, more: &[u32]| {
            let words = [&[header | 2 << 27], more].concat();
            words.into_iter().flat_map(u32::to_le_bytes).chain(codes).collect::<Vec<_>>()
        };
        let single = |first: u32| record(1 << 21 | first << 22, &[]);
        assert_eq!(arm64_record(&single(3)), Some(32 + 64));
        assert_eq!(arm64_record(&single(0)), Some(32), "an epilog that mirrors the prolog");
        assert_eq!(arm64_record(&record(2 << 22, &[5, 9 | 3 << 22])), Some(32 + 64), "two epilogs");
        assert_eq!(arm64_record(&record(0, &[])), Some(32), "no epilog");
        let many: Vec<u8> =
            [3 << 18, 1 | 2 << 16, 3 << 22].into_iter().flat_map(u32::to_le_bytes).chain(codes).collect();
        assert_eq!(arm64_record(&many), Some(32 + 64), "the counts in a word of their own");
        assert_eq!(arm64_record(&single(9)), None, "an epilog outside the codes");
        assert_eq!(arm64_record(&record(31 << 22, &[])), None, "more epilogs than there is room for");
    }

    #[test]
    fn arm64_codes_count_what_they_take() {
        // stp fp, lr, [sp, #-32]!; sub sp, #64; end; an epilog, which is not counted.
        assert_eq!(arm64_codes(&[0x04, 0x83, 0xe4, 0x1f, 0xe4]), Some(96));
        assert_eq!(arm64_codes(&[0xc0, 0x41, 0xe4]), Some(0x410), "alloc_m");
        assert_eq!(arm64_codes(&[0xc2, 0x41, 0xe4]), Some(0x2410), "alloc_m");
        assert_eq!(arm64_codes(&[0xe0, 0x00, 0x01, 0x00, 0xe4]), Some(0x1000), "alloc_l");
        assert_eq!(arm64_codes(&[0xe1, 0x26, 0xcc, 0x03, 0xd4, 0x01, 0xe5]), Some(48 + 32 + 16));
        assert_eq!(arm64_codes(&[0xe7, 0x73, 0x01, 0xe7, 0x53, 0x02, 0xe4]), Some(32), "save_any_reg");
        let within = [0x41, 0xc8, 1, 0xd0, 1, 0xd6, 1, 0xdc, 1, 0xe2, 1, 0xe4];
        assert_eq!(arm64_codes(&within), Some(0), "registers saved within the frame, add_fp");
        assert_eq!(arm64_codes(&[0xe3]), None, "no end");
        assert_eq!(arm64_codes(&[0xdf, 0, 0xe4]), None, "a vector of the scalable kind");
    }
}
