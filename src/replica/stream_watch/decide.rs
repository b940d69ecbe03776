//! When a stream is made again: the decision, without I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Whether a stream can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// A node leads its copies.
    Led,
    /// No node leads its copies.
    Leaderless,
    /// There is no such stream.
    Missing,
    /// The broker did not answer about it.
    Unknown,
}

/// What to do about one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Create it, because it is missing.
    Create(&'static str),
    /// Delete it and create it again, because it has had no leader for so long.
    Remake(&'static str, Duration),
}

/// Since when which streams have had no leader.
#[derive(Debug)]
pub struct Watchdog {
    patience: Duration,
    since: BTreeMap<&'static str, Instant>,
}

impl Watchdog {
    /// Makes a stream again that has had no leader for `patience`.
    #[must_use]
    pub const fn new(patience: Duration) -> Self {
        Self { patience, since: BTreeMap::new() }
    }

    /// Takes in what the broker said about EVENTS and about the streams that may be made again; returns at most one
    /// action. While EVENTS itself has no leader, the cluster is not well, and nobody's time counts: the streams may have
    /// leaders as soon as enough nodes are back.
    pub fn observe(
        &mut self,
        events: Leadership,
        streams: &[(&'static str, Leadership)],
        now: Instant,
    ) -> Option<Action> {
        if events != Leadership::Led {
            self.since.clear();
            return None;
        }
        for (stream, leadership) in streams {
            match leadership {
                Leadership::Led | Leadership::Missing => drop(self.since.remove(stream)),
                Leadership::Leaderless => drop(self.since.entry(stream).or_insert(now)),
                // Neither starts nor ends the wait.
                Leadership::Unknown => {}
            }
        }
        let missing = streams.iter().find(|(_, leadership)| *leadership == Leadership::Missing);
        if let Some((stream, _)) = missing {
            return Some(Action::Create(stream));
        }
        let (stream, leaderless) = streams.iter().find_map(|(stream, leadership)| {
            let leaderless = now.saturating_duration_since(*self.since.get(stream)?);
            (*leadership == Leadership::Leaderless && leaderless >= self.patience).then_some((*stream, leaderless))
        })?;
        // If the action fails, the whole wait begins again.
        self.since.remove(stream);
        Some(Action::Remake(stream, leaderless))
    }
}

#[cfg(test)]
mod tests {
    use super::Leadership::{Leaderless, Led, Missing, Unknown};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Feeds one observation per second about `REPORTS`; returns the actions with their second.
    fn run(observations: impl IntoIterator<Item = (Leadership, Leadership)>) -> Vec<(u64, Action)> {
        let (mut watchdog, start) = (Watchdog::new(PATIENCE), Instant::now());
        let mut actions = Vec::new();
        for (second, (events, reports)) in (0..).zip(observations) {
            let now = start + Duration::from_secs(second);
            let action = watchdog.observe(events, &[("TIMERS", Led), ("REPORTS", reports)], now);
            actions.extend(action.map(|action| (second, action)));
        }
        actions
    }

    #[test]
    fn watchdog_stream_without_leader_is_made_again_after_its_patience_and_not_before() {
        let actions = run([(Led, Leaderless); 60]);
        assert_eq!(actions, [(30, Action::Remake("REPORTS", PATIENCE))]);
        assert_eq!(run([(Led, Leaderless); 62]).len(), 2, "the wait begins again");
        assert_eq!(run([(Led, Leaderless); 30]), []);
    }

    #[test]
    fn watchdog_while_events_has_no_leader_does_nothing_and_starts_again() {
        assert_eq!(run([(Leaderless, Leaderless); 90]), []);
        assert_eq!(run([(Unknown, Missing); 90]), []);
        let interrupted = [(Led, Leaderless); 29].into_iter().chain([(Unknown, Leaderless)]);
        let actions = run(interrupted.chain([(Led, Leaderless); 31]));
        assert_eq!(actions, [(60, Action::Remake("REPORTS", PATIENCE))]);
    }

    #[test]
    fn watchdog_leader_in_between_starts_the_wait_again_and_silence_does_not() {
        let led = [(Led, Leaderless); 29].into_iter().chain([(Led, Led)]).chain([(Led, Leaderless); 30]);
        assert_eq!(run(led), []);
        let silent = [(Led, Leaderless); 29].into_iter().chain([(Led, Unknown); 10]).chain([(Led, Leaderless)]);
        assert_eq!(run(silent), [(39, Action::Remake("REPORTS", Duration::from_secs(39)))]);
    }

    #[test]
    fn watchdog_missing_stream_is_created_at_once() {
        assert_eq!(run([(Led, Missing), (Led, Led)]), [(0, Action::Create("REPORTS"))]);
    }
}
