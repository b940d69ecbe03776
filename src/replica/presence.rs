//! Whether a backend's agent is heard now, which the log does not say: it records a lost backend only after a while, and
//! while many are silent at once not at all.
//!
//! A replica hears nothing before it listens, or while it is cut off. It judges a backend only by what it could hear: in
//! the first seconds a backend without a heartbeat is [`Presence::Unknown`], which is neither enough to place an instance
//! on it nor enough to call it unreachable.

use std::time::{Duration, Instant};

/// Time between two heartbeats of an agent (`docs/EVENTS.md`), with some tolerance.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(6);

/// Whether a backend is heard now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Its last heartbeat is at most two intervals old.
    Heard,
    /// Neither: the last heartbeat is a little late, or this replica has not listened for long enough.
    Unknown,
    /// It sent no heartbeat for so long that it counts as lost.
    Silent,
}

/// What this replica could hear of one backend.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// When its last heartbeat was received.
    pub last: Option<Instant>,
    /// Since when this replica has listened without a gap, if it does.
    pub listening_since: Option<Instant>,
}

impl Heard {
    /// Judges the backend. `lost_after` is the silence after which it counts as lost.
    pub fn presence(self, now: Instant, lost_after: Duration) -> Presence {
        let fresh = lost_after.min(2 * HEARTBEAT_INTERVAL);
        if self.last.is_some_and(|last| now.saturating_duration_since(last) <= fresh) {
            return Presence::Heard;
        }
        match self.silence(now) {
            Some(silence) if silence > lost_after => Presence::Silent,
            _ => Presence::Unknown,
        }
    }

    /// For how long this replica has listened and not heard it; `None` if it does not listen.
    pub fn silence(self, now: Instant) -> Option<Duration> {
        let since = self.listening_since?.max(self.last.unwrap_or(self.listening_since?));
        Some(now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_counts_only_silence_that_this_replica_could_have_heard_end() {
        let (start, lost_after) = (Instant::now(), Duration::from_secs(15));
        let at = |seconds| start + Duration::from_secs(seconds);
        let presence = |last: Option<u64>, listening: Option<u64>, now| {
            let heard = Heard { last: last.map(at), listening_since: listening.map(at) };
            heard.presence(at(now), lost_after)
        };
        assert_eq!([112, 113, 115, 116].map(|now| presence(Some(100), Some(0), now)), {
            use Presence::{Heard, Silent, Unknown};
            [Heard, Unknown, Unknown, Silent]
        });
        assert_eq!(presence(None, None, 1000), Presence::Unknown, "it does not listen");
        assert_eq!(presence(None, Some(100), 115), Presence::Unknown, "it has just begun to listen");
        assert_eq!(presence(None, Some(100), 116), Presence::Silent);
        assert_eq!(presence(Some(50), Some(100), 114), Presence::Unknown, "it was cut off until 100");
        let short = Heard { last: Some(start), listening_since: Some(start) };
        assert_eq!(short.presence(at(2), Duration::from_secs(1)), Presence::Silent);
    }
}
