//! How full the log is. The last tenth is a reserve: there only commands are accepted that end or complete something, so
//! that users can still stop, delete, sign out and be erased while the operator makes room.

use std::sync::{Mutex, PoisonError};

use dockhost_domain::aggregate::CommandClass;

use crate::broker::store_room::NEARLY_FULL_PERCENT;

/// The percentages at which the operator is warned.
const HIGH_PERCENT: u64 = 70;
const VERY_HIGH_PERCENT: u64 = NEARLY_FULL_PERCENT;
/// The percentage at which the reserve begins.
const RESERVE_PERCENT: u64 = 90;

/// The size of the log and its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSize {
    /// Bytes that the events take in the broker's store.
    pub bytes: u64,
    /// The stream's `max_bytes`; `None` for no limit.
    pub max_bytes: Option<u64>,
}

/// How much of the limit is used, in the steps that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fullness {
    /// Below 70 %.
    Normal,
    /// From 70 % on: time to plan.
    High,
    /// From 85 % on: time to act.
    VeryHigh,
    /// From 90 % on: [`CommandClass::Growth`] is refused.
    Reserve,
}

impl LogSize {
    /// The used part of the limit, in per cent; 0 without a limit.
    #[must_use]
    pub fn percent(self) -> u64 {
        let used = self.max_bytes.and_then(|max| self.bytes.saturating_mul(100).checked_div(max));
        used.unwrap_or(0)
    }

    /// How full the log is.
    #[must_use]
    pub fn fullness(self) -> Fullness {
        match self.percent() {
            RESERVE_PERCENT.. => Fullness::Reserve,
            VERY_HIGH_PERCENT.. => Fullness::VeryHigh,
            HIGH_PERCENT.. => Fullness::High,
            _ => Fullness::Normal,
        }
    }

    /// The bytes at which the reserve begins; `None` without a limit.
    #[must_use]
    pub fn reserve_begins(self) -> Option<u64> {
        // Divided first, so that no limit overflows.
        self.max_bytes.map(|max| max.div_ceil(100).saturating_mul(RESERVE_PERCENT))
    }
}

/// The last known size of the log, as a replica's monitor records it, and the decision that depends on it.
#[derive(Debug, Default)]
pub struct LogCapacity(Mutex<Option<LogSize>>);

impl LogCapacity {
    /// Records the size; returns the one before.
    pub fn record(&self, size: LogSize) -> Option<LogSize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(size)
    }

    /// The last known size.
    #[must_use]
    pub fn size(&self) -> Option<LogSize> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the log has room for an event of a command of this class. True while the size is not known.
    #[must_use]
    pub fn admits(&self, class: CommandClass) -> bool {
        match class {
            CommandClass::Essential => true,
            CommandClass::Growth => self.size().is_none_or(|size| size.fullness() < Fullness::Reserve),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn of_100(bytes: u64) -> LogSize {
        LogSize { bytes, max_bytes: Some(100) }
    }

    #[test]
    fn log_size_fullness_has_steps_at_70_85_and_90_percent() {
        for (bytes, fullness) in [
            (0, Fullness::Normal),
            (69, Fullness::Normal),
            (70, Fullness::High),
            (85, Fullness::VeryHigh),
            (89, Fullness::VeryHigh),
            (90, Fullness::Reserve),
            (100, Fullness::Reserve),
        ] {
            assert_eq!(of_100(bytes).fullness(), fullness, "{bytes}");
        }
        assert_eq!(LogSize { bytes: u64::MAX, max_bytes: None }.fullness(), Fullness::Normal);
        assert_eq!(of_100(3).reserve_begins(), Some(90));
    }

    #[test]
    fn log_capacity_in_the_reserve_admits_what_ends_something_only() {
        let capacity = LogCapacity::default();
        assert!(capacity.admits(CommandClass::Growth), "the size is not known yet");
        capacity.record(of_100(89));
        assert!(capacity.admits(CommandClass::Growth));
        capacity.record(of_100(90));
        assert!(!capacity.admits(CommandClass::Growth) && capacity.admits(CommandClass::Essential));
    }
}
