//! How far this replica has applied the log: written by its follower, read by whoever needs a current state.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

/// A replica that receives neither an event nor an idle heartbeat for this long is not live.
const MAX_SILENCE: Duration = Duration::from_secs(5);

/// This replica's position in the log.
#[derive(Debug)]
pub struct Applied(watch::Sender<Position>);

#[derive(Debug, Clone, Copy)]
struct Position {
    /// Whether a follower reads the log. Commands that run beside servers have none.
    is_following: bool,
    sequence: u64,
    caught_up: bool,
    last_contact: Instant,
}

impl Default for Applied {
    fn default() -> Self {
        let position = Position { is_following: false, sequence: 0, caught_up: false, last_contact: Instant::now() };
        Self(watch::Sender::new(position))
    }
}

impl Applied {
    /// A follower begins after this sequence.
    pub fn begin(&self, sequence: u64) {
        self.0.send_modify(|position| (position.is_following, position.sequence) = (true, sequence));
    }

    /// Everything up to this sequence is applied.
    pub fn advance(&self, sequence: u64) {
        self.record(|position| position.sequence = sequence);
    }

    /// The follower has read everything that was stored when it began.
    pub fn catch_up(&self) {
        self.record(|position| position.caught_up = true);
    }

    /// The log has answered that there is nothing new.
    pub fn touch(&self) {
        self.record(|_| {});
    }

    fn record(&self, change: impl FnOnce(&mut Position)) {
        self.0.send_modify(|position| {
            change(position);
            position.last_contact = Instant::now();
        });
    }

    /// The last sequence that is applied.
    pub fn sequence(&self) -> u64 {
        self.0.borrow().sequence
    }

    /// Whether the follower has caught up once and had contact with the log within the last seconds.
    pub fn is_live(&self) -> bool {
        let position = *self.0.borrow();
        position.caught_up && position.last_contact.elapsed() < MAX_SILENCE
    }

    /// How long ago the follower last had contact with the log.
    pub fn silence(&self) -> Duration {
        self.0.borrow().last_contact.elapsed()
    }

    /// Waits until the follower has caught up for the first time.
    pub async fn wait_until_caught_up(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|position| position.caught_up).await;
    }

    /// Waits until a sequence is applied.
    pub async fn wait_until(&self, sequence: u64) {
        let _ = self.0.subscribe().wait_for(|position| position.sequence >= sequence).await;
    }

    /// Waits until a sequence is applied; `false` if that takes longer than `limit`, or at once if nobody follows.
    pub(super) async fn reaches(&self, sequence: u64, limit: Duration) -> bool {
        self.0.borrow().is_following && timeout(limit, self.wait_until(sequence)).await.is_ok()
    }
}
