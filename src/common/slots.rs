//! Counts what is open: so many in all, and so many of each owner.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The slots of all owners.
#[derive(Debug)]
pub struct Slots<Owner> {
    total: usize,
    per_owner: usize,
    open: Mutex<Open<Owner>>,
}

#[derive(Debug)]
struct Open<Owner> {
    total: usize,
    by_owner: HashMap<Owner, usize>,
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSlot {
    /// All are taken.
    Total,
    /// The owner has as many as one may have.
    Owner,
}

/// A slot, until it is dropped.
#[derive(Debug)]
pub struct Slot<Owner: Hash + Eq> {
    slots: Arc<Slots<Owner>>,
    owner: Owner,
}

impl<Owner: Hash + Eq + Clone> Slots<Owner> {
    /// All are free: `total` in all, and `per_owner` for each owner.
    pub fn new(total: usize, per_owner: usize) -> Arc<Self> {
        let open = Open { total: 0, by_owner: HashMap::new() };
        Arc::new(Self { total, per_owner, open: Mutex::new(open) })
    }

    /// Takes a slot. An exempt owner may have as many as there are.
    ///
    /// # Errors
    /// [`NoSlot`].
    pub fn take(self: &Arc<Self>, owner: Owner, is_exempt: bool) -> Result<Slot<Owner>, NoSlot> {
        let mut open = self.open();
        let of_owner = open.by_owner.get(&owner).copied().unwrap_or(0);
        if of_owner >= self.per_owner && !is_exempt {
            return Err(NoSlot::Owner);
        }
        if open.total >= self.total {
            return Err(NoSlot::Total);
        }
        open.total += 1;
        open.by_owner.insert(owner.clone(), of_owner + 1);
        Ok(Slot { slots: Arc::clone(self), owner })
    }

    /// How many an owner has taken.
    pub fn taken_by(&self, owner: &Owner) -> usize {
        self.open().by_owner.get(owner).copied().unwrap_or(0)
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.open().total
    }
}

impl<Owner> Slots<Owner> {
    fn open(&self) -> MutexGuard<'_, Open<Owner>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Owner: Hash + Eq> Drop for Slot<Owner> {
    fn drop(&mut self) {
        let mut open = self.slots.open();
        open.total -= 1;
        if let Some(count) = open.by_owner.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                open.by_owner.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_limited_for_each_owner_and_in_all() {
        let slots = Slots::new(3, 2);
        let first = slots.take("a", false).unwrap();
        let _second = slots.take("a", false).unwrap();
        assert_eq!(slots.take("a", false).err(), Some(NoSlot::Owner));
        let _other = slots.take("b", false).unwrap();
        assert_eq!(slots.take("c", false).err(), Some(NoSlot::Total));
        drop(first);
        assert_eq!((slots.taken(), slots.taken_by(&"a")), (2, 1));
        assert!(slots.take("c", false).is_ok());
    }

    #[test]
    fn slots_exempt_owner_has_no_share_but_the_total_holds() {
        let slots = Slots::new(2, 1);
        let _taken = [1, 2].map(|_| slots.take("proxy", true).unwrap());
        assert_eq!(slots.take("proxy", true).err(), Some(NoSlot::Total));
    }

    #[test]
    fn slots_forget_owners_without_any() {
        let slots = Slots::new(2, 2);
        drop([slots.take("a", false), slots.take("b", false)]);
        assert!(slots.open().by_owner.is_empty());
    }
}
