//! Whether an access of memory that failed was a write.

/// What the exception says is right where the processor says it. QEMU does not for ARM64, where Wine then takes every
/// access for a read; the instruction knows.
#[cfg(target_arch = "x86_64")]
pub(crate) fn is_write(_: usize, said: bool) -> bool {
    said
}

/// As on x64, and what the instruction does.
#[cfg(target_arch = "aarch64")]
pub(crate) fn is_write(instruction: usize, said: bool) -> bool {
    // SAFETY: the processor has read the instruction there: where that fails, nobody asks.
    let word = unsafe { (instruction as *const u32).read_unaligned() };
    said || stores(word)
}

/// Whether an instruction of ARM64 writes to memory (Arm Architecture Reference Manual, C4.1: loads and stores).
#[cfg(target_arch = "aarch64")]
fn stores(word: u32) -> bool {
    const ZERO_CACHE_LINE: u32 = 0xD50B_7420; // dc zva, x0
    let bit = |bit: u32| word >> bit & 1 == 1;
    let field = |lowest: u32, bits: u32| word >> lowest & ((1 << bits) - 1);
    if word & !0x1F == ZERO_CACHE_LINE {
        return true;
    }
    if !bit(27) || bit(25) {
        return false;
    }
    let vector = bit(26);
    match field(28, 2) {
        // Exclusive and ordered accesses; compare and swap, whose bit for loads says something else; with `vector`,
        // structures in several registers.
        0b00 => !bit(22) || !vector && bit(21) && (bit(23) || !bit(31)),
        // Literals, which are only loaded, and ordered accesses with an offset.
        0b01 => bit(24) && field(22, 2) == 0,
        // Pairs.
        0b10 => !bit(22),
        // Atomic operations read and write at once; an ordered load is one of them by its form alone.
        _ if !vector && !bit(24) && bit(21) && field(10, 2) == 0 => field(12, 4) != 0b1100,
        // One register: those of vectors have a bit for 128 bits beside the one for loads.
        _ if vector => !bit(22),
        _ => field(22, 2) == 0,
    }
}
