//! Which agent holds a backend: several may have its API key, for example on machines whose disks were cloned.
//!
//! The holder is the run of an agent whose hello was accepted last. Another run is accepted when the holder is gone, so
//! that two agents never act for one backend, and the second one takes over when the first has ended.

use std::time::Duration;

use dockhost_domain::ids::AgentRunId;
use dockhost_domain::timestamp::Timestamp;

/// A holder that neither pulls nor was heard for this long is gone: it sends a heartbeat every 5 s, and has no pull
/// request for a moment when its connection is renewed.
pub const MAX_GAP: Duration = Duration::from_secs(6);

/// The run that a backend's consumer was created for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The run; `None` if the consumer names none.
    pub run: Option<AgentRunId>,
    /// Since when it holds the backend.
    pub since: Timestamp,
    /// Whether the broker has a pull request of it.
    pub is_pulling: bool,
}

/// What the broker says about a backend's holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It has a consumer, of this holder.
    Held(Holder),
    /// It has no consumer.
    Nobody,
    /// The broker does not answer: its node that had the consumer may be gone.
    Unknown,
}

/// The last heartbeat of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastHeard {
    /// Who sent it.
    pub run: AgentRunId,
    /// When it was received.
    pub at: Timestamp,
    /// Whether it was the sender's last one.
    pub is_leaving: bool,
}

/// What this replica has heard of a backend's holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// For how long it has listened and heard nothing; `None` if it does not listen.
    pub silence: Option<Duration>,
    /// The last heartbeat.
    pub last: Option<LastHeard>,
}

impl Heard {
    /// Whether this run has said that it ends.
    fn has_left(&self, run: AgentRunId) -> bool {
        self.last.is_some_and(|last| last.is_leaving && last.run == run)
    }

    fn is_silent_for(&self, limit: Duration) -> bool {
        self.silence.is_some_and(|silence| silence >= limit)
    }
}

/// Since when another agent holds the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherHolder {
    /// Its hello was accepted then.
    Since(Timestamp),
    /// The broker has lost its consumer; its last heartbeat arrived then.
    HeardAt(Timestamp),
}

impl std::fmt::Display for OtherHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Since(since) => write!(f, "connected since {since}"),
            Self::HeardAt(at) => write!(f, "heard at {at}"),
        }
    }
}

/// Whether a hello is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is; if the same run held the backend before, since then.
    Accepted {
        /// When that run began to hold it.
        since: Option<Timestamp>,
    },
    /// Another agent holds the backend.
    Refused(OtherHolder),
    /// Nobody knows who holds the backend; the agent tries again.
    Undecided,
}

/// Decides about the hello of a run. A backend that is silent for `lost_after` counts as lost.
#[must_use]
pub fn admit(hello: AgentRunId, recorded: Recorded, heard: Heard, lost_after: Duration) -> Admission {
    match (recorded, heard.last) {
        (Recorded::Held(holder), _) if holder.run == Some(hello) => Admission::Accepted { since: Some(holder.since) },
        (Recorded::Held(Holder { run: Some(run), since, is_pulling }), _) => {
            let is_gone =
                heard.has_left(run) || heard.is_silent_for(lost_after) || (!is_pulling && heard.is_silent_for(MAX_GAP));
            if is_gone { Admission::Accepted { since: None } } else { Admission::Refused(OtherHolder::Since(since)) }
        }
        // The holder returns as soon as it is connected again.
        (Recorded::Nobody, Some(last)) if last.run != hello && !last.is_leaving && !heard.is_silent_for(lost_after) => {
            Admission::Refused(OtherHolder::HeardAt(last.at))
        }
        // Who sent the last heartbeat holds the backend.
        (Recorded::Unknown, Some(last)) if last.run == hello => Admission::Accepted { since: Some(last.at) },
        (Recorded::Unknown, _) => Admission::Undecided,
        _ => Admission::Accepted { since: None },
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const LOST_AFTER: Duration = Duration::from_secs(15);

    fn run(n: u128) -> AgentRunId {
        AgentRunId::from_uuid(Uuid::from_u128(n))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn heard(silence: Option<u64>, last: Option<u128>, is_leaving: bool) -> Heard {
        let last = last.map(|n| LastHeard { run: run(n), at: at(20), is_leaving });
        Heard { silence: silence.map(Duration::from_secs), last }
    }

    fn held_by(run: Option<AgentRunId>, is_pulling: bool) -> Recorded {
        Recorded::Held(Holder { run, since: at(10), is_pulling })
    }

    /// The decision about a hello of run 2, if run `holder` has held the backend since second 10.
    fn admitted(holder: Option<u128>, is_pulling: bool, silence: Option<u64>) -> Admission {
        admit(run(2), held_by(holder.map(run), is_pulling), heard(silence, Some(1), false), LOST_AFTER)
    }

    #[test]
    fn admit_another_run_is_accepted_only_when_the_holder_is_gone() {
        let (accepted, refused) = (Admission::Accepted { since: None }, Admission::Refused(OtherHolder::Since(at(10))));
        for (is_pulling, silence, expected) in [
            (true, Some(0), refused),
            (true, Some(14), refused),
            (true, Some(15), accepted),
            (true, None, refused),
            // Its connection is being renewed.
            (false, Some(0), refused),
            (false, Some(5), refused),
            (false, Some(6), accepted),
            (false, Some(15), accepted),
            // This replica has just started, so it does not know.
            (false, None, refused),
        ] {
            assert_eq!(admitted(Some(1), is_pulling, silence), expected, "{is_pulling} {silence:?}");
        }
    }

    #[test]
    fn admit_after_the_holder_has_left_another_run_is_accepted_at_once() {
        let admitted = |recorded, last| admit(run(2), recorded, heard(Some(0), Some(last), true), LOST_AFTER);
        let accepted = Admission::Accepted { since: None };
        for is_pulling in [true, false] {
            let holder = held_by(Some(run(1)), is_pulling);
            assert_eq!(admitted(holder, 1), accepted);
            assert_eq!(admitted(holder, 3), Admission::Refused(OtherHolder::Since(at(10))), "another one has left");
        }
        assert_eq!(admitted(Recorded::Nobody, 1), accepted);
        assert_eq!(admitted(Recorded::Unknown, 1), Admission::Undecided);
    }

    #[test]
    fn admit_the_holder_itself_is_always_accepted() {
        for (is_pulling, silence) in [(true, Some(0)), (false, None), (false, Some(100))] {
            let accepted = Admission::Accepted { since: Some(at(10)) };
            assert_eq!(admitted(Some(2), is_pulling, silence), accepted);
        }
    }

    #[test]
    fn admit_without_a_holder_only_a_run_that_was_heard_lately_is_in_the_way() {
        let without = |last, silence| admit(run(2), Recorded::Nobody, heard(silence, last, false), LOST_AFTER);
        let (accepted, refused) =
            (Admission::Accepted { since: None }, Admission::Refused(OtherHolder::HeardAt(at(20))));
        assert_eq!(without(None, None), accepted);
        assert_eq!(without(Some(2), Some(1)), accepted, "itself");
        assert_eq!(without(Some(1), Some(14)), refused, "the broker has lost its consumer");
        assert_eq!(without(Some(1), Some(15)), accepted);
        assert_eq!(admitted(None, true, Some(0)), accepted, "the consumer names no run");
    }

    #[test]
    fn admit_while_the_broker_does_not_answer_only_who_was_heard_last_is_accepted() {
        let unknown = |last, silence| admit(run(2), Recorded::Unknown, heard(silence, last, false), LOST_AFTER);
        assert_eq!(unknown(Some(2), Some(1)), Admission::Accepted { since: Some(at(20)) });
        assert_eq!(unknown(Some(1), Some(1)), Admission::Undecided);
        assert_eq!(unknown(Some(1), Some(100)), Admission::Undecided);
        assert_eq!(unknown(None, None), Admission::Undecided);
    }
}
