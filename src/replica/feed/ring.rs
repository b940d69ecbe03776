//! The last entries of the log, and which of them may be shown. Pure.

use std::collections::VecDeque;

use dockhost_projections::LogEntry;

/// The last entries of the log.
#[derive(Debug)]
pub struct Ring {
    capacity: usize,
    /// All entries of the log with `start < sequence <= end`.
    entries: VecDeque<LogEntry>,
    start: u64,
    /// The entries up to here may be shown; those after it are held back.
    released: u64,
    end: u64,
}

/// Where a reader finds what follows a position.
#[derive(Debug)]
pub enum Resume {
    /// Here: the next selected entries, and the position that the reader has with them.
    Here(Vec<LogEntry>, u64),
    /// The ring begins later: in the log, up to this position.
    InLog(u64),
}

impl Ring {
    /// An empty ring for at most `capacity` entries.
    pub const fn new(capacity: usize) -> Self {
        Self { capacity, entries: VecDeque::new(), start: 0, released: 0, end: 0 }
    }

    /// Forgets everything; the next entry follows this position.
    pub fn begin(&mut self, after: u64) {
        self.entries.clear();
        (self.start, self.released, self.end) = (after, after, after);
    }

    /// The position up to which entries may be shown.
    pub const fn released(&self) -> u64 {
        self.released
    }

    /// Adds the next entry, which is held back. Returns false if there is no room because all entries are held back: then
    /// all of them were dropped without having been shown.
    #[must_use]
    pub fn push(&mut self, entry: LogEntry) -> bool {
        self.end = entry.sequence();
        self.entries.push_back(entry);
        if self.entries.len() <= self.capacity {
            return true;
        }
        let has_shown = self.entries.pop_front().is_some_and(|oldest| {
            self.start = oldest.sequence();
            self.start <= self.released
        });
        if !has_shown {
            self.begin(self.end);
        }
        has_shown
    }

    /// The log has no entry between the last one and this position.
    pub fn advance(&mut self, position: u64) {
        self.end = position;
        if self.held().next().is_none() {
            self.released = position;
        }
    }

    /// The entries that are held back, in order.
    pub fn held(&self) -> impl Iterator<Item = &LogEntry> {
        self.entries.iter().skip(self.index_after(self.released))
    }

    /// Releases the entries that are held back, up to the first one that may not be shown; returns them.
    pub fn release(&mut self, may_be_shown: impl Fn(&LogEntry) -> bool) -> Vec<LogEntry> {
        let released: Vec<_> = self.held().take_while(|entry| may_be_shown(entry)).cloned().collect();
        if let Some(last) = released.last() {
            self.released = last.sequence();
        }
        if self.held().next().is_none() {
            self.released = self.end;
        }
        released
    }

    /// What follows a position, at most `most` of the selected entries.
    pub fn resume(&self, after: u64, most: usize, selects: impl Fn(&LogEntry) -> bool) -> Resume {
        if after < self.start {
            return Resume::InLog(self.released);
        }
        let released = self.entries.iter().skip(self.index_after(after));
        let released = released.take_while(|entry| entry.sequence() <= self.released);
        let entries: Vec<_> = released.filter(|entry| selects(entry)).take(most).cloned().collect();
        let position = match entries.last() {
            Some(last) if entries.len() == most => last.sequence(),
            _ => self.released.max(after),
        };
        Resume::Here(entries, position)
    }

    fn index_after(&self, position: u64) -> usize {
        self.entries.partition_point(|entry| entry.sequence() <= position)
    }
}

#[cfg(test)]
mod tests {
    use dockhost_projections::Unreadable;
    use proptest::prelude::*;

    use super::*;

    fn entry(sequence: u64) -> LogEntry {
        LogEntry::Unreadable(Unreadable::new("dockhost.event.tenancy.x", sequence, "test"))
    }

    fn sequences<'a>(entries: impl IntoIterator<Item = &'a LogEntry>) -> Vec<u64> {
        entries.into_iter().map(LogEntry::sequence).collect()
    }

    /// The sequences and the position, or where the log must be read to.
    fn resumed(ring: &Ring, after: u64, most: usize) -> Result<(Vec<u64>, u64), u64> {
        match ring.resume(after, most, |_| true) {
            Resume::Here(entries, position) => Ok((sequences(&entries), position)),
            Resume::InLog(to) => Err(to),
        }
    }

    #[test]
    fn ring_shows_nothing_that_is_held_back() {
        let mut ring = Ring::new(10);
        ring.begin(4);
        for sequence in [5, 7, 8] {
            assert!(ring.push(entry(sequence)));
        }
        assert_eq!((ring.released(), sequences(ring.held())), (4, vec![5, 7, 8]));
        assert_eq!(resumed(&ring, 4, 9), Ok((vec![], 4)));
        assert_eq!(sequences(&ring.release(|entry| entry.sequence() < 8)), [5, 7]);
        assert_eq!((resumed(&ring, 4, 9), resumed(&ring, 5, 9)), (Ok((vec![5, 7], 7)), Ok((vec![7], 7))));
        assert_eq!(sequences(&ring.release(|_| true)), [8]);
        assert_eq!(resumed(&ring, 4, 2), Ok((vec![5, 7], 7)), "a page");
    }

    #[test]
    fn ring_passes_what_is_no_entry_when_nothing_is_held_back() {
        let mut ring = Ring::new(10);
        ring.begin(4);
        ring.advance(6);
        assert_eq!(ring.released(), 6);
        assert!(ring.push(entry(7)));
        ring.advance(9);
        assert_eq!(ring.released(), 6);
        ring.release(|_| true);
        assert_eq!((ring.released(), resumed(&ring, 6, 9)), (9, Ok((vec![7], 9))));
    }

    #[test]
    fn ring_older_positions_are_in_the_log() {
        let mut ring = Ring::new(2);
        ring.begin(0);
        for sequence in 1..=5 {
            assert!(ring.push(entry(sequence)));
            ring.release(|_| true);
        }
        assert_eq!((resumed(&ring, 2, 9), resumed(&ring, 3, 9)), (Err(5), Ok((vec![4, 5], 5))));
        // Another replica was ahead of this one.
        assert_eq!(resumed(&ring, 8, 9), Ok((vec![], 8)));
    }

    #[test]
    fn ring_full_of_held_entries_drops_them_and_says_so() {
        let mut ring = Ring::new(2);
        ring.begin(0);
        assert!(ring.push(entry(1)) && ring.push(entry(2)));
        assert!(!ring.push(entry(3)));
        assert_eq!((ring.released(), sequences(ring.held()), resumed(&ring, 2, 9)), (3, vec![], Err(3)));
        assert!(ring.push(entry(4)));
        assert_eq!(sequences(&ring.release(|_| true)), [4]);
    }

    proptest! {
        /// Whoever resumes again and again, in pages of any size, sees each released entry once and in order.
        #[test]
        fn ring_resumed_page_by_page_has_no_gap_and_no_repeat(
            gaps in prop::collection::vec(1_u64..4, 1..40), after in 0_u64..60, most in 1_usize..5, held in 0_usize..10,
        ) {
            let mut ring = Ring::new(100);
            let mut all = Vec::new();
            for gap in gaps {
                all.push(all.last().copied().unwrap_or(0) + gap);
                prop_assert!(ring.push(entry(all[all.len() - 1])));
            }
            let shown = all[all.len().saturating_sub(held + 1)];
            ring.release(|entry| entry.sequence() <= shown);
            let (mut seen, mut position) = (Vec::new(), after);
            while let Ok((page, next)) = resumed(&ring, position, most) {
                let is_last = page.len() < most;
                seen.extend(page);
                position = next;
                if is_last {
                    break;
                }
            }
            let expected: Vec<_> = all.into_iter().filter(|sequence| (after + 1..=shown).contains(sequence)).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
