//! A decaying memory of the placements that a backend refused, failed or let pass their deadline.
//!
//! A backend that refuses everything is the emptiest, so without this memory each new instance would be tried there first.

use std::time::Duration;

use crate::timestamp::Timestamp;

/// After this time half of the level is forgotten.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// The highest level. A backend is back among the others at most four half-lives after its last refusal.
const MAX_LEVEL: f64 = 8.0;

/// The refusals of one backend: a level that each refusal raises by one, and that decays.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RecentRefusals {
    level: f64,
    at: Option<Timestamp>,
}

impl RecentRefusals {
    /// Adds a refusal at this time.
    pub fn record(&mut self, at: Timestamp) {
        self.level = (self.level_at(at) + 1.0).min(MAX_LEVEL);
        self.at = Some(at);
    }

    /// How late this backend is tried: 0 if it refused nothing lately. A single refusal counts for one half-life.
    #[must_use]
    pub fn rank(&self, now: Timestamp) -> u32 {
        // The level is between 0 and `MAX_LEVEL`.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        let rank = self.level_at(now).round() as u32;
        rank
    }

    fn level_at(&self, now: Timestamp) -> f64 {
        // The clocks of two replicas differ; a refusal in the future counts as one of now.
        let elapsed = self.at.map_or(Duration::ZERO, |at| now.since(at));
        self.level * (-elapsed.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn recent_refusals_decay() {
        let mut refusals = RecentRefusals::default();
        assert_eq!(refusals.rank(at(0)), 0);
        refusals.record(at(100));
        assert_eq!([90, 100, 159, 161].map(|seconds| refusals.rank(at(seconds))), [1, 1, 1, 0]);
        for _ in 0..1000 {
            refusals.record(at(200));
        }
        assert_eq!([200, 260, 320, 380, 441].map(|seconds| refusals.rank(at(seconds))), [8, 4, 2, 1, 0]);
    }
}
