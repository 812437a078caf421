//! Who calls whom: the direct calls and jumps of the code of an image.

use object::{LittleEndian as LE, pe};

use super::Image;
use super::pdb::Symbols;

/// A direct call or jump from a function to the start of another, or of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Call {
    /// Where the caller starts.
    pub(super) from: u32,
    /// Where the callee starts.
    pub(super) to: u32,
    /// Whether it is a call, which comes back.
    pub(super) returns: bool,
}

/// Every direct call and jump to the start of a function, in the order of their callers.
pub(super) fn calls(image: &Image<'_>, symbols: &Symbols) -> Vec<Call> {
    let is_arm64 = image.headers.file_header.machine.get(LE) == pe::IMAGE_FILE_MACHINE_ARM64;
    let mut calls = Vec::new();
    for section in image.sections.iter() {
        if section.characteristics.get(LE) & pe::IMAGE_SCN_MEM_EXECUTE == 0 {
            continue;
        }
        let Ok(code) = section.pe_data(image.bytes) else { continue };
        let mut address = section.virtual_address.get(LE);
        for at in 0..code.len() {
            let code = &code[at..];
            let target = if is_arm64 { arm64_target(code, address) } else { x64_target(code, address) };
            if let Some(to) = target
                && symbols.functions.binary_search_by_key(&to, |(start, _)| *start).is_ok()
                && let Some((from, _)) = symbols.function_at(address)
            {
                // BL has the upper bit that B lacks.
                let returns = if is_arm64 { code[3] & 0xfc == 0x94 } else { code[0] == 0xe8 };
                calls.push(Call { from: *from, to, returns });
            }
            address = address.wrapping_add(1);
        }
    }
    calls.sort_unstable();
    calls.dedup();
    calls
}

/// Where the x64 instruction that `code` starts with calls or jumps to: E8, E9, 0F 8x, each with 32 bits.
///
/// It is asked at every byte, so some of what it sees is the inside of another instruction. Such a byte leads to the
/// very start of a function about once in a billion.
fn x64_target(code: &[u8], address: u32) -> Option<u32> {
    let (opcode, operand) = match code {
        [0xe8 | 0xe9, rest @ ..] => (1, rest),
        [0x0f, 0x80..=0x8f, rest @ ..] => (2, rest),
        _ => return None,
    };
    let offset = i32::from_le_bytes(*operand.first_chunk()?);
    Some(address.wrapping_add(opcode + 4).wrapping_add_signed(offset))
}

/// Where the ARM64 instruction that `code` starts with calls or jumps to: B, BL, B.cond, CBZ and CBNZ.
fn arm64_target(code: &[u8], address: u32) -> Option<u32> {
    if !address.is_multiple_of(4) {
        return None;
    }
    let instruction = u32::from_le_bytes(*code.first_chunk()?);
    // The offset counts instructions; shifting up and down again keeps its sign.
    let offset = if instruction & 0x7c00_0000 == 0x1400_0000 {
        (instruction << 6).cast_signed() >> 4
    } else if instruction & 0xff00_0000 == 0x5400_0000 || instruction & 0x7e00_0000 == 0x3400_0000 {
        ((instruction >> 5) << 13).cast_signed() >> 11
    } else {
        return None;
    };
    Some(address.wrapping_add_signed(offset & !3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_back_are_followed() {
        assert_eq!(x64_target(&[0xe8, 0xfb, 0xff, 0xff, 0xff], 0x1000), Some(0x1000));
        assert_eq!(arm64_target(&0x97ff_ffff_u32.to_le_bytes(), 0x1000), Some(0xffc));
        assert_eq!(arm64_target(&0x54ff_ffe0_u32.to_le_bytes(), 0x1000), Some(0xffc));
    }
}
