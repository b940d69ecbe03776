//! Which streams store, and what to do about one that does not although it has a leader: the decision, without I/O.
//!
//! A stream can have a leader and store nothing, for example because the disk of the leader's node is full. First another
//! node is made the leader, which loses nothing. If none of them stores, a stream that can be filled again is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// A stream is probed if nothing was stored in it for so long, whoever stored it.
const PROBE_AFTER: Duration = Duration::from_secs(5);
/// How long a stream must have stored nothing until another node is made its leader.
pub const MOVE_AFTER: Duration = Duration::from_secs(5);
/// How long a new leader has until the next one is tried: longer than an election takes.
const SETTLE: Duration = Duration::from_secs(8);
/// After every node had its turn, this long until the first one has another.
const NEXT_ROUND: Duration = Duration::from_secs(30);

/// What to do about a stream that stores nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Make another node its leader.
    MoveLeader,
    /// Delete it and create it again, because no leader stores.
    Remake,
}

/// What the broker says about a stream that stores nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation<'a> {
    /// The node that leads it, if that node hears enough of the others to store.
    pub leader: Option<&'a str>,
    /// How many nodes have a copy.
    pub copies: usize,
    /// Whether it can be made again, and the event log stores.
    pub may_be_remade: bool,
}

/// What is known about each stream.
#[derive(Debug)]
pub struct StoreWatch {
    patience: Duration,
    streams: BTreeMap<&'static str, Record>,
}

#[derive(Debug, Default)]
struct Record {
    last_sequence: u64,
    stored: Option<Instant>,
    failing: Option<Failing>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    /// The node that led when it was last looked at.
    leader: Option<String>,
    /// Since when that one leads.
    leads_since: Instant,
    /// The nodes that led before it while nothing was stored.
    led_before: BTreeSet<String>,
}

impl StoreWatch {
    /// Makes a stream again that has stored nothing for `patience`, with every leader.
    #[must_use]
    pub const fn new(patience: Duration) -> Self {
        Self { patience, streams: BTreeMap::new() }
    }

    /// Takes in a stream's last sequence. A higher one than before shows that it stores. Whether the stream should be
    /// probed.
    pub fn observe(&mut self, stream: &'static str, last_sequence: u64, now: Instant) -> bool {
        let record = self.streams.entry(stream).or_default();
        if last_sequence > record.last_sequence || record.stored.is_none() {
            record.stored = Some(now);
            record.failing = None;
        }
        record.last_sequence = record.last_sequence.max(last_sequence);
        record.stored.is_none_or(|stored| now.saturating_duration_since(stored) >= PROBE_AFTER)
    }

    /// Takes in that a write was acknowledged.
    pub fn stored(&mut self, stream: &'static str, now: Instant) {
        let record = self.streams.entry(stream).or_default();
        record.stored = Some(now);
        record.failing = None;
    }

    /// Takes in that a write that began at `began` was not acknowledged.
    pub fn not_stored(&mut self, stream: &'static str, began: Instant) {
        let record = self.streams.entry(stream).or_default();
        record.failing.get_or_insert_with(|| Failing {
            since: began,
            leader: None,
            leads_since: began,
            led_before: BTreeSet::new(),
        });
    }

    /// The streams that store nothing, and since when.
    pub fn failing(&self) -> impl Iterator<Item = (&'static str, Instant)> {
        self.streams.iter().filter_map(|(stream, record)| Some((*stream, record.failing.as_ref()?.since)))
    }

    /// The nodes that led a stream before while it stored nothing.
    #[must_use]
    pub fn led_before(&self, stream: &str) -> BTreeSet<String> {
        let failing = self.streams.get(stream).and_then(|record| record.failing.as_ref());
        failing.map(|failing| failing.led_before.clone()).unwrap_or_default()
    }

    /// What to do about a stream that stores nothing.
    pub fn decide(&mut self, stream: &'static str, found: Situation<'_>, now: Instant) -> Option<Remedy> {
        let failing = self.streams.get_mut(stream)?.failing.as_mut()?;
        // Without a quorum no leader stores, and the stream stores by itself when there is one.
        let leader = found.leader?;
        if failing.leader.as_deref() != Some(leader) {
            // Somebody made another node the leader: this replica, another one, or the broker.
            if let Some(before) = failing.leader.replace(leader.to_owned()) {
                failing.led_before.insert(before);
                failing.leads_since = now;
            }
        }
        let (fails_for, leads_for) =
            (now.saturating_duration_since(failing.since), now.saturating_duration_since(failing.leads_since));
        if failing.led_before.len() + 1 < found.copies {
            let pause = if failing.led_before.is_empty() { MOVE_AFTER } else { SETTLE };
            return (leads_for >= pause).then_some(Remedy::MoveLeader);
        }
        if found.may_be_remade && fails_for >= self.patience && leads_for >= SETTLE {
            // If the action fails, the whole wait begins again.
            self.streams.remove(stream);
            return Some(Remedy::Remake);
        }
        if leads_for >= NEXT_ROUND {
            failing.led_before.clear();
            return Some(Remedy::MoveLeader);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Remedy::{MoveLeader, Remake};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(35);
    const STREAM: &str = "REPORTS";

    /// A stream that stores nothing from second 0 on, looked at each second; each `MoveLeader` makes the next node the
    /// leader. Returns the remedies with their second.
    fn run(seconds: u64, may_be_remade: bool) -> Vec<(u64, Remedy)> {
        let (mut watch, start) = (StoreWatch::new(PATIENCE), Instant::now());
        let (mut remedies, mut leader) = (Vec::new(), 0);
        watch.not_stored(STREAM, start);
        for second in 0..seconds {
            let name = format!("nats-{}", leader % 3);
            let found = Situation { leader: Some(&name), copies: 3, may_be_remade };
            if let Some(remedy) = watch.decide(STREAM, found, start + Duration::from_secs(second)) {
                remedies.push((second, remedy));
                leader += 1;
            }
        }
        remedies
    }

    #[test]
    fn store_watch_moves_the_leader_to_each_node_and_then_makes_the_stream_again() {
        assert_eq!(run(60, true), [(5, MoveLeader), (14, MoveLeader), (35, Remake)]);
    }

    #[test]
    fn store_watch_never_makes_a_stream_again_that_can_not_be_filled() {
        let remedies = run(120, false);
        assert_eq!(remedies[..2], [(5, MoveLeader), (14, MoveLeader)]);
        assert!(remedies.len() > 3 && remedies.iter().all(|(_, remedy)| *remedy == MoveLeader), "{remedies:?}");
    }

    #[test]
    fn store_watch_without_quorum_or_other_copies_does_nothing() {
        let (mut watch, start) = (StoreWatch::new(PATIENCE), Instant::now());
        watch.not_stored(STREAM, start);
        let late = start + Duration::from_secs(600);
        let found = Situation { leader: None, copies: 3, may_be_remade: true };
        assert_eq!(watch.decide(STREAM, found, late), None);
        assert_eq!(watch.decide("TIMERS", Situation { leader: Some("nats-0"), ..found }, late), None, "it stores");
    }

    #[test]
    fn store_watch_leader_that_changed_by_itself_gets_time() {
        let (mut watch, start) = (StoreWatch::new(PATIENCE), Instant::now());
        let mut at = |second, leader| {
            let found = Situation { leader: Some(leader), copies: 3, may_be_remade: true };
            watch.not_stored(STREAM, start);
            watch.decide(STREAM, found, start + Duration::from_secs(second))
        };
        assert_eq!((at(4, "nats-0"), at(6, "nats-1"), at(13, "nats-1")), (None, None, None));
        assert_eq!(at(14, "nats-1"), Some(MoveLeader));
    }

    #[test]
    fn store_watch_anything_stored_ends_the_failure() {
        let (mut watch, start) = (StoreWatch::new(PATIENCE), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        assert!(!watch.observe(STREAM, 7, at(0)), "just seen for the first time");
        assert!(!watch.observe(STREAM, 7, at(4)));
        assert!(watch.observe(STREAM, 7, at(5)), "silent");
        watch.not_stored(STREAM, at(5));
        assert!(watch.observe(STREAM, 7, at(6)), "failing");
        assert_eq!(watch.failing().collect::<Vec<_>>(), [(STREAM, at(5))]);
        assert!(!watch.observe(STREAM, 8, at(7)), "somebody's message was stored");
        assert_eq!(watch.failing().count(), 0);
        watch.not_stored(STREAM, at(12));
        watch.stored(STREAM, at(13));
        assert_eq!(watch.failing().count(), 0);
        assert!(!watch.observe(STREAM, 8, at(14)));
    }
}
