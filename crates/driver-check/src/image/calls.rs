//! Who calls whom: the direct calls and jumps of the code of an image.

use iced_x86::{Decoder, DecoderOptions, Mnemonic, OpKind};
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
        let address = section.virtual_address.get(LE);
        let transfers = if is_arm64 { arm64_transfers(code, address) } else { x64_transfers(code, address, symbols) };
        for Transfer { at, to, returns } in transfers {
            if symbols.functions.binary_search_by_key(&to, |(start, _)| *start).is_ok()
                && let Some((from, _)) = symbols.function_at(at)
            {
                calls.push(Call { from: *from, to, returns });
            }
        }
    }
    calls.sort_unstable();
    calls.dedup();
    calls
}

/// An instruction that calls or jumps to an address that it states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Transfer {
    at: u32,
    to: u32,
    returns: bool,
}

/// Those of x64 code that lies at `address`. It is decoded function by function, since what lies between two functions
/// may be anything.
fn x64_transfers(code: &[u8], address: u32, symbols: &Symbols) -> Vec<Transfer> {
    let end = address.saturating_add(u32::try_from(code.len()).unwrap_or(u32::MAX));
    let starts = symbols.functions.iter().map(|(start, _)| *start).filter(|start| (address..end).contains(start));
    let mut bounds: Vec<u32> = std::iter::once(address).chain(starts).chain([end]).collect();
    bounds.dedup();
    let mut transfers = Vec::new();
    for bounds in bounds.windows(2) {
        let [start, end] = [bounds[0], bounds[1]];
        let function = &code[(start - address) as usize..(end - address) as usize];
        let instructions = Decoder::with_ip(64, function, start.into(), DecoderOptions::NONE);
        for instruction in instructions {
            let returns = instruction.mnemonic() == Mnemonic::Call;
            if instruction.op0_kind() == OpKind::NearBranch64
                && let (Ok(at), Ok(to)) = (instruction.ip().try_into(), instruction.near_branch_target().try_into())
            {
                transfers.push(Transfer { at, to, returns });
            }
        }
    }
    transfers
}

/// Those of ARM64 code that lies at `address`.
fn arm64_transfers(code: &[u8], address: u32) -> Vec<Transfer> {
    let instructions = (address..).step_by(4).zip(code.as_chunks().0);
    let transfers = instructions.filter_map(|(at, instruction)| {
        let instruction = u32::from_le_bytes(*instruction);
        // BL has the upper bit that B lacks.
        Some(Transfer { at, to: arm64_target(instruction, at)?, returns: instruction & 0xfc00_0000 == 0x9400_0000 })
    });
    transfers.collect()
}

/// Where an ARM64 instruction calls or jumps to: B, BL, B.cond, CBZ and CBNZ.
fn arm64_target(instruction: u32, address: u32) -> Option<u32> {
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
    use super::super::testing::Driver;
    use super::*;

    fn symbols(starts: &[u32]) -> Symbols {
        Symbols { functions: starts.iter().map(|start| (*start, String::new())).collect(), ..Symbols::default() }
    }

    #[test]
    fn jumps_back_are_followed() {
        let back = |code: &[u8]| x64_transfers(code, 0x1000, &symbols(&[0x1000]));
        assert_eq!(back(&[0xe8, 0xfb, 0xff, 0xff, 0xff]), [Transfer { at: 0x1000, to: 0x1000, returns: true }]);
        assert_eq!(back(&[0x90, 0xeb, 0xfd]), [Transfer { at: 0x1001, to: 0x1000, returns: false }]);
        assert_eq!(back(&[0x0f, 0x84, 0xfa, 0xff, 0xff, 0xff]), [Transfer { at: 0x1000, to: 0x1000, returns: false }]);
        assert_eq!(arm64_target(0x97ff_ffff, 0x1000), Some(0xffc));
        assert_eq!(arm64_target(0x54ff_ffe0, 0x1000), Some(0xffc));
    }

    #[test]
    fn calls_are_looked_for_in_executable_sections_alone() {
        let mut driver = Driver { code: vec![0xe8, 0x7b, 0, 0, 0, 0xc3], ..Driver::new() };
        let found = |driver: &Driver| {
            let file = driver.image();
            calls(&Image::parse("sluice.sys", &file).unwrap(), &symbols(&[0x1000, 0x1080]))
        };
        assert_eq!(found(&driver), [Call { from: 0x1000, to: 0x1080, returns: true }]);
        driver.sections[0].flags &= !pe::IMAGE_SCN_MEM_EXECUTE;
        assert_eq!(found(&driver), []);
    }

    #[test]
    fn of_arm64_only_bl_comes_back() {
        let transfers = |instruction: u32| arm64_transfers(&instruction.to_le_bytes(), 0x1000);
        let to = |to, returns| [Transfer { at: 0x1000, to, returns }];
        assert_eq!(transfers(0x9400_0002), to(0x1008, true), "bl");
        assert_eq!(transfers(0x1400_0002), to(0x1008, false), "b");
        assert_eq!(transfers(0x5400_0041), to(0x1008, false), "b.ne");
        assert_eq!(transfers(0x3400_0043), to(0x1008, false), "cbz w3");
        assert_eq!(transfers(0xb500_0043), to(0x1008, false), "cbnz x3");
        assert_eq!(transfers(0xd65f_03c0), [], "ret");
    }

    #[test]
    fn what_looks_like_a_call_inside_of_another_instruction_is_none() {
        // shr ecx, 8; mov edi, 0
        let code = [0xc1, 0xe8, 0x08, 0xbf, 0, 0, 0, 0];
        assert_eq!(x64_transfers(&code, 0x1000, &symbols(&[0x1000])), []);
        // What lies in front of a function is not decoded together with it.
        let code = [0xe8, 0xe8, 0, 0, 0, 0];
        assert_eq!(
            x64_transfers(&code, 0x1000, &symbols(&[0x1001])),
            [Transfer { at: 0x1001, to: 0x1006, returns: true }]
        );
    }
}
