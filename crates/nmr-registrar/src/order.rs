//! The order of what NMR leaves open (R37, R56): fixed, or drawn from a seed.

use core::sync::atomic::{AtomicU64, Ordering};

/// A source of choices. With the same seed and the same sequence of calls it makes the same choices.
#[derive(Default)]
pub(crate) struct Order {
    /// The state of a splitmix64 generator; 0 leaves everything in its fixed order.
    state: AtomicU64,
}

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Order {
    /// `None`: client before provider, older before newer.
    pub(crate) fn set(&self, seed: Option<u64>) {
        // Odd multiples of an odd step never meet 0 within 2^63 draws.
        self.state.store(seed.map_or(0, |seed| seed.wrapping_mul(2).wrapping_add(1)), Ordering::Relaxed);
    }

    /// A number below `bound`, or `None` in the fixed order.
    fn draw(&self, bound: usize) -> Option<usize> {
        let mut z = self
            .state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
                (state != 0).then(|| state.wrapping_add(STEP.wrapping_mul(2)))
            })
            .ok()?;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        Some(((z ^ z >> 31) % bound as u64) as usize)
    }

    /// One of `count` things; the first in the fixed order.
    #[cfg(feature = "std")]
    pub(crate) fn choose(&self, count: usize) -> usize {
        self.draw(count).unwrap_or(0)
    }

    /// A coin; never true in the fixed order.
    pub(crate) fn flip(&self) -> bool {
        self.draw(2) == Some(1)
    }

    /// Puts `items` in the order in which they are to happen.
    pub(crate) fn arrange<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            match self.draw(last + 1) {
                Some(other) => items.swap(last, other),
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arranged(seed: Option<u64>) -> [u8; 8] {
        let order = Order::default();
        order.set(seed);
        let mut items = [0, 1, 2, 3, 4, 5, 6, 7];
        order.arrange(&mut items);
        items
    }

    #[test]
    fn a_seed_repeats_its_order_and_none_keeps_it() {
        assert_eq!(arranged(None), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(arranged(Some(7)), arranged(Some(7)));
        assert!((0..20).any(|seed| arranged(Some(seed)) != arranged(Some(7))));
    }

    /// A report names its seed, and whoever reads it has another machine. The numbers are those of another program.
    #[test]
    fn a_seed_stands_for_the_same_choices_everywhere() {
        let order = Order::default();
        let drawn = |seed| {
            order.set(Some(seed));
            [(); 6].map(|()| order.draw(1_000_000).unwrap())
        };
        assert_eq!(drawn(7), [358_073, 324_496, 726_471, 863_896, 813_591, 335_604]);
        assert_eq!(drawn(u64::MAX), [403_067, 888_969, 477_842, 9_075, 676_516, 30_812]);
    }
}
