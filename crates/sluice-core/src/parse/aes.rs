//! AES-128 (FIPS 197), made of the rounds of the crate `aes`.
//!
//! That crate's own cipher has an index in its key schedule that the compiler cannot see to be in bounds, and round
//! keys of 704 bytes. Its rounds have neither.

use aes::hazmat::{cipher_round, cipher_round_par, inv_mix_columns};
use aes::{Block, Block8};

/// The constants of the key schedule: one for each round.
const ROUND_CONSTANTS: [u8; 10] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1B, 0x36];

/// How many blocks are encrypted side by side.
pub(super) const LANES: usize = 8;

/// A key, expanded for each round.
#[derive(Default)]
pub(super) struct Aes128 {
    whitening: [u8; 16],
    rounds: [[u8; 16]; 9],
    last: [u8; 16],
}

impl Aes128 {
    pub(super) fn new(key: &[u8; 16]) -> Self {
        let mut rounds = [[0; 16]; 10];
        let mut previous = *key;
        for (round, constant) in rounds.iter_mut().zip(ROUND_CONSTANTS) {
            previous = next_key(&previous, constant);
            *round = previous;
        }
        let [rounds @ .., last] = rounds;
        Self { whitening: *key, rounds, last }
    }

    pub(super) fn encrypt(&self, block: &[u8; 16]) -> [u8; 16] {
        let mut block = Block::from(*block);
        add(&mut block, &self.whitening);
        for round in &self.rounds {
            cipher_round(&mut block, round.into());
        }
        cipher_round(&mut block, &Block::default());
        self.finish(&mut block)
    }

    /// Encrypts [`LANES`] blocks.
    pub(super) fn encrypt_all(&self, blocks: &mut [[u8; 16]; LANES]) {
        let mut lanes = Block8::default();
        for (lane, block) in lanes.iter_mut().zip(blocks.iter()) {
            *lane = (*block).into();
            add(lane, &self.whitening);
        }
        for round in &self.rounds {
            cipher_round_par(&mut lanes, &[Block::from(*round); LANES].into());
        }
        cipher_round_par(&mut lanes, &Block8::default());
        for (lane, block) in lanes.iter_mut().zip(blocks.iter_mut()) {
            *block = self.finish(lane);
        }
    }

    /// The last round does not mix columns: what has been mixed is unmixed.
    fn finish(&self, block: &mut Block) -> [u8; 16] {
        inv_mix_columns(block);
        add(block, &self.last);
        (*block).into()
    }
}

fn add(block: &mut Block, key: &[u8; 16]) {
    block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
}

fn next_key(previous: &[u8; 16], constant: u8) -> [u8; 16] {
    let [.., a, b, c, d] = *previous;
    let mut word = substitute([b, c, d, a]);
    word[0] ^= constant;
    let mut key = *previous;
    for column in key.as_chunks_mut::<4>().0 {
        for (byte, carried) in column.iter_mut().zip(&mut word) {
            *byte ^= *carried;
            *carried = *byte;
        }
    }
    key
}

/// The S-box of each byte. In a block of four equal columns a round shifts nothing, and its mixing can be undone.
fn substitute(word: [u8; 4]) -> [u8; 4] {
    let [a, b, c, d] = word;
    let mut block = Block::from([a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d]);
    cipher_round(&mut block, &Block::default());
    inv_mix_columns(&mut block);
    let [a, b, c, d, ..] = <[u8; 16]>::from(block);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_fips_197() {
        let key = core::array::from_fn(|index| index as u8);
        let plain = core::array::from_fn(|index| index as u8 * 0x11);
        let expected = [0x69, 0xC4, 0xE0, 0xD8, 0x6A, 0x7B, 0x04, 0x30, 0xD8, 0xCD, 0xB7, 0x80, 0x70, 0xB4, 0xC5, 0x5A];
        let cipher = Aes128::new(&key);
        assert_eq!(cipher.encrypt(&plain), expected);
        let mut blocks = [plain; LANES];
        cipher.encrypt_all(&mut blocks);
        assert_eq!(blocks, [expected; LANES]);
    }
}
