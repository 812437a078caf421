//! The list that follows the fixed part of an answer.

use core::marker::PhantomData;

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

    /// Appends `item`. Once there is no room for one, it and all that follow are counted but not listed.
    pub fn push(&mut self, item: &T) {
        if self.room.len() >= T::SIZE && item.write(&mut self.room).is_some() {
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
/// fixed part, and `count` puts the total and the listed number into that. Returns how many bytes the answer has, or
/// `None` if there is no room for the fixed part.
pub(crate) fn answer_with_list<T: Wire, Item: Wire>(
    output: &mut [u8],
    fill: impl FnOnce(&mut List<'_, Item>) -> T,
    count: impl FnOnce(&mut T, u32, u32),
) -> Option<usize> {
    let (mut fixed_part, room) = output.split_at_mut_checked(T::SIZE)?;
    let mut list = List::new(room);
    let mut answer = fill(&mut list);
    let (total, listed) = list.counts();
    count(&mut answer, total, listed);
    answer.write(&mut fixed_part)?;
    let list_length = Item::SIZE.saturating_mul(usize::try_from(listed).ok()?);
    T::SIZE.checked_add(list_length)
}
