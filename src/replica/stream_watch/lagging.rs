//! Nodes whose copy of a stream stays behind although they are heard. Their copy may take nothing more, for example after
//! the disk was full; then a consumer that such a node leads delivers nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// A node that starts catches up for a moment.
const MAX_CATCH_UP: Duration = Duration::from_secs(10);
/// How often the consumers of one copy are moved.
const MOVE_INTERVAL: Duration = Duration::from_secs(15);

/// A copy of a stream: the stream and the node.
pub type Copy = (&'static str, String);

/// Since when which copies stay behind.
#[derive(Debug, Default)]
pub struct Lagging(BTreeMap<Copy, Since>);

#[derive(Debug)]
struct Since {
    since: Instant,
    moved: Option<Instant>,
}

impl Lagging {
    /// Takes in the nodes that lag behind a stream's leader.
    pub fn observe(&mut self, stream: &'static str, nodes: &BTreeSet<String>, now: Instant) {
        self.0.retain(|(of, node), _| *of != stream || nodes.contains(node));
        for node in nodes {
            self.0.entry((stream, node.clone())).or_insert(Since { since: now, moved: None });
        }
    }

    /// The copies that have stayed behind for too long.
    #[must_use]
    pub fn copies(&self, now: Instant) -> BTreeSet<Copy> {
        let late = self.0.iter().filter(|(_, lag)| now.saturating_duration_since(lag.since) >= MAX_CATCH_UP);
        late.map(|(copy, _)| copy.clone()).collect()
    }

    /// Those of them whose consumers should have other leaders now.
    pub fn due(&mut self, now: Instant) -> Vec<Copy> {
        let mut due = Vec::new();
        for (copy, lag) in &mut self.0 {
            let is_late = now.saturating_duration_since(lag.since) >= MAX_CATCH_UP;
            if is_late && lag.moved.is_none_or(|moved| now.saturating_duration_since(moved) >= MOVE_INTERVAL) {
                lag.moved = Some(now);
                due.push(copy.clone());
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lagging_copy_is_late_after_a_while_and_its_consumers_are_moved_repeatedly() {
        let (mut lagging, start) = (Lagging::default(), Instant::now());
        let copy = ("REPORTS", "nats-2".to_owned());
        let (one, none) = (BTreeSet::from([copy.1.clone()]), BTreeSet::new());
        let mut look = |second, nodes: &BTreeSet<String>| {
            let now = start + Duration::from_secs(second);
            lagging.observe("REPORTS", nodes, now);
            lagging.observe("EVENTS", &none, now);
            (lagging.copies(now).len(), lagging.due(now))
        };
        assert_eq!(look(0, &one), (0, vec![]));
        assert_eq!(look(9, &one), (0, vec![]));
        assert_eq!(look(10, &one), (1, vec![copy.clone()]));
        assert_eq!(look(13, &one), (1, vec![]));
        assert_eq!(look(25, &one), (1, vec![copy]));
        assert_eq!(look(28, &none), (0, vec![]), "it has caught up");
        assert_eq!(look(31, &one), (0, vec![]));
    }
}
