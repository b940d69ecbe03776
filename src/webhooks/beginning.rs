//! Where a leader goes on with the deliveries of a webhook.

use dockhost_domain::webhook::Beginning;
use dockhost_projections::store::WebhookProgress;

/// The log as it is when the leader begins.
#[derive(Debug, Clone, Copy)]
pub struct Log<'a> {
    /// Which log it is.
    pub incarnation: &'a str,
    /// Its last sequence.
    pub end: u64,
    /// Since which sequence there are checkpoints: nothing tells what was sent of what happened before.
    pub known_since: u64,
}

/// How far the deliveries are, when the leader begins.
///
/// A checkpoint of this beginning goes on. One of an earlier beginning ends where the webhook was begun again. After the log was
/// restored from a backup, events keep their sequences: deliveries go on where they were, but not after the restored log's
/// end; a beginning that the restored log lacks does not send the past again. If all checkpoints were lost, it is not known what
/// was sent, and sending everything again would be worse than leaving out what happened before the new ones were begun.
#[must_use]
pub fn progress(beginning: &Beginning, stored: Option<&WebhookProgress>, log: Log<'_>) -> WebhookProgress {
    let begun = |position: u64| WebhookProgress {
        log: log.incarnation.to_owned(),
        began_with: beginning.event,
        position: position.min(log.end),
        delivered_at: None,
        failing: None,
        attempts: vec![],
    };
    match stored {
        Some(stored) if stored.began_with == beginning.event => WebhookProgress {
            log: log.incarnation.to_owned(),
            position: stored.position.min(log.end),
            ..stored.clone()
        },
        Some(stored) if stored.log != log.incarnation => begun(stored.position),
        Some(stored) => WebhookProgress {
            delivered_at: stored.delivered_at,
            attempts: stored.attempts.clone(),
            ..begun(beginning.after)
        },
        None => begun(beginning.after.max(log.known_since)),
    }
}

#[cfg(test)]
mod tests {
    use dockhost_domain::ids::EventId;
    use uuid::Uuid;

    use super::*;

    const LOG: Log<'static> = Log { incarnation: "this", end: 100, known_since: 5 };

    fn event(n: u128) -> EventId {
        EventId::from_uuid(Uuid::from_u128(n))
    }

    fn stored(log: &str, began_with: u128, position: u64) -> WebhookProgress {
        WebhookProgress {
            log: log.to_owned(),
            began_with: event(began_with),
            position,
            delivered_at: None,
            failing: None,
            attempts: vec![],
        }
    }

    #[test]
    fn progress_goes_on_where_nothing_is_sent_again_by_accident() {
        let lost = Log { known_since: 90, ..LOG };
        for (case, stored, log, expected) in [
            ("a new webhook", None, LOG, 40),
            ("a new leader", Some(stored("this", 1, 70)), LOG, 70),
            ("begun again from an earlier position", Some(stored("this", 9, 70)), LOG, 40),
            ("all checkpoints were lost", None, lost, 90),
            ("begun again before they were lost, with a checkpoint since", Some(stored("this", 1, 95)), lost, 95),
            ("the log was restored, and has all that was sent", Some(stored("former", 1, 70)), LOG, 70),
            ("the log was restored, and ends before what was sent", Some(stored("former", 1, 170)), LOG, 100),
            ("the log was restored, and lacks that it was begun again", Some(stored("former", 9, 70)), LOG, 70),
        ] {
            let found = progress(&Beginning { event: event(1), after: 40 }, stored.as_ref(), log);
            assert_eq!((found.position, found.log.as_str(), found.began_with), (expected, "this", event(1)), "{case}");
        }
    }

    #[test]
    fn progress_of_a_position_after_the_end_begins_at_the_end() {
        let found = progress(&Beginning { event: event(1), after: 400 }, None, LOG);
        assert_eq!(found.position, 100);
    }
}
