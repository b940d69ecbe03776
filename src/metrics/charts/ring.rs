//! A list of bounded length: when it is full, a new item takes the place of the oldest one.

use std::collections::VecDeque;

/// The last items, in the order in which they came.
#[derive(Debug)]
pub struct Ring<T> {
    items: VecDeque<T>,
    capacity: usize,
}

impl<T> Ring<T> {
    /// An empty ring for so many items. It takes their memory at once, and no more later.
    pub fn new(capacity: usize) -> Self {
        Self { items: VecDeque::with_capacity(capacity), capacity }
    }

    /// Adds an item.
    pub fn push(&mut self, item: T) {
        if self.items.len() >= self.capacity {
            self.items.pop_front();
        }
        self.items.push_back(item);
    }

    /// The items, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ring_has_the_last_items_in_their_order(capacity in 1_usize..20, items in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut ring = Ring::new(capacity);
            let memory = ring.items.capacity();
            items.iter().for_each(|item| ring.push(*item));
            let kept: Vec<u8> = ring.iter().copied().collect();
            prop_assert_eq!(kept, &items[items.len().saturating_sub(capacity)..]);
            prop_assert_eq!(ring.items.capacity(), memory, "it never grows");
        }
    }
}
