//! Which of the broker's nodes a client uses, and when it leaves one.
//!
//! A node that is cut off from the other nodes still accepts clients, so the connection itself shows nothing. Pure; time
//! is a duration since any fixed moment.

use std::time::Duration;

/// Without a proof that the broker works for this long, the client leaves the node: longer than the other nodes need to
/// elect a leader.
pub const MAX_SILENCE: Duration = Duration::from_secs(6);
/// The longest time on one node while no node works, so that clients don't reconnect all the time.
pub const MAX_STAY: Duration = Duration::from_secs(60);

/// The order in which a client tries the nodes: each attempt gets the next one, so that a node that was left is tried
/// again last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rotation {
    next: usize,
}

impl Rotation {
    /// The first attempt gets this node, counted modulo the number of nodes.
    #[must_use]
    pub const fn starting_at(node: usize) -> Self {
        Self { next: node }
    }

    /// The node of the next attempt, of so many; `None` if there is none.
    pub fn take(&mut self, nodes: usize) -> Option<usize> {
        let node = self.next.checked_rem(nodes)?;
        self.next = node + 1;
        Some(node)
    }
}

/// How long a client stays on a node that does not work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Patience {
    /// Nodes left since the broker last worked.
    left: u32,
    /// When the last one was left.
    left_at: Duration,
}

impl Patience {
    /// Whether to leave the node now; `silence` is the time since the broker last proved that it works.
    pub fn leaves(&mut self, now: Duration, silence: Duration) -> bool {
        if silence < MAX_SILENCE {
            self.left = 0;
            return false;
        }
        let stay = MAX_SILENCE.saturating_mul(1 << self.left.min(8)).min(MAX_STAY);
        if self.left > 0 && now.saturating_sub(self.left_at) < stay {
            return false;
        }
        (self.left, self.left_at) = (self.left + 1, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn rotation_tries_every_node_before_one_again() {
        let mut rotation = Rotation::starting_at(4);
        let taken: Vec<_> = (0..6).map(|_| rotation.take(3)).collect();
        assert_eq!(taken, [Some(1), Some(2), Some(0), Some(1), Some(2), Some(0)]);
        assert_eq!(rotation.take(0), None);
    }

    #[test]
    fn patience_leaves_after_the_silence_and_then_ever_more_rarely() {
        let mut patience = Patience::default();
        let left: Vec<u64> = (1_000..1_300).filter(|now| patience.leaves(s(*now), s(*now - 1_000))).collect();
        assert_eq!(left, [1_006, 1_018, 1_042, 1_090, 1_150, 1_210, 1_270]);
    }

    #[test]
    fn patience_begins_anew_once_the_broker_works() {
        let mut patience = Patience::default();
        assert!(patience.leaves(s(6), s(6)));
        assert!(!patience.leaves(s(7), s(1)));
        assert!(!patience.leaves(s(11), s(5)));
        assert!(patience.leaves(s(12), s(6)));
    }
}
