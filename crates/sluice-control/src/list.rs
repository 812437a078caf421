//! The list that follows the fixed part of an answer.

use core::marker::PhantomData;

use crate::NTSTATUS;
use crate::status::STATUS_BUFFER_TOO_SMALL;
use crate::wire::Wire;

/// Takes the items of a list, and writes as many of them as there is room for.
#[derive(Debug)]
pub struct List<'a, T> {
    room: &'a mut [u8],
    total: u32,
    listed: u32,
    items: PhantomData<T>,
}

impl<'a, T: Wire> List<'a, T> {
    pub(crate) fn new(room: &'a mut [u8]) -> Self {
        Self { room, total: 0, listed: 0, items: PhantomData }
    }

    /// Whether there is room for one more.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.room.len() >= T::SIZE
    }

    /// Appends `item`. Once there is no room for one, it and all that follow are counted but not listed.
    pub fn push(&mut self, item: &T) {
        if self.has_room() && item.write(&mut self.room).is_some() {
            self.listed = self.listed.saturating_add(1);
        }
        self.total = self.total.saturating_add(1);
    }

    /// How many items there are and how many of them are listed.
    pub(crate) const fn counts(&self) -> (u32, u32) {
        (self.total, self.listed)
    }
}

/// Writes an answer whose fixed part counts the items of the list behind it: `fill` appends the items and returns the
/// fixed part, and `count` puts the total and the listed number into that. Returns how many bytes the answer has.
///
/// # Errors
///
/// STATUS_BUFFER_TOO_SMALL: there is no room for the fixed part, and `fill` was not called. Or what `fill` returns.
pub(crate) fn answer_with_list<T: Wire, Item: Wire>(
    output: &mut [u8],
    fill: impl FnOnce(&mut List<'_, Item>) -> Result<T, NTSTATUS>,
    count: impl FnOnce(&mut T, u32, u32),
) -> Result<usize, NTSTATUS> {
    let (mut fixed_part, room) = output.split_at_mut_checked(T::SIZE).ok_or(STATUS_BUFFER_TOO_SMALL)?;
    let mut list = List::new(room);
    let mut answer = fill(&mut list)?;
    let (total, listed) = list.counts();
    count(&mut answer, total, listed);
    answer.write(&mut fixed_part).ok_or(STATUS_BUFFER_TOO_SMALL)?;
    // As many as lie in the output.
    let list_length = Item::SIZE.saturating_mul(usize::try_from(listed).unwrap_or(usize::MAX));
    Ok(T::SIZE.saturating_add(list_length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_that_do_not_fit_are_counted_and_nothing_of_them_is_written() {
        let mut room = [0xEE; 6];
        let mut list = List::new(&mut room);
        assert!(list.has_room());
        list.push(&[1_u8, 2, 3, 4]);
        assert!(!list.has_room());
        list.push(&[5, 6, 7, 8]);
        assert_eq!(list.counts(), (2, 1));
        assert_eq!(room, [1, 2, 3, 4, 0xEE, 0xEE]);
        assert!(List::<[u8; 4]>::new(&mut [0; 4]).has_room());
    }
}
