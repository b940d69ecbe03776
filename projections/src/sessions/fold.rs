//! The fold of `sessions`. The document of a session that has ended is kept.

use std::time::Duration;

use dockhost_domain::envelope::{Envelope, RecordedEvent};
use dockhost_domain::event::Event;
use dockhost_domain::ids::SessionId;
use dockhost_domain::session::SessionEvent;
use dockhost_domain::subject::AggregateId;

use super::{SessionDocument, Sessions};
use crate::model::ReadModel;

impl ReadModel for Sessions {
    const KIND: &'static str = "session";
    // Sign-ins come in bursts, and few requests wait for the documents.
    const DEBOUNCE: Duration = Duration::from_millis(250);

    fn keys(event: &Envelope) -> Vec<SessionId> {
        match &event.event {
            Event::Session(SessionEvent::Started(started)) => vec![started.session_id],
            Event::Session(SessionEvent::Refreshed(refreshed)) => vec![refreshed.session_id],
            Event::Session(SessionEvent::Revoked(revoked)) => vec![revoked.session_id],
            Event::Session(SessionEvent::Ended(ended)) => ended.session_ids.clone(),
            Event::Session(SessionEvent::Suspended(suspended)) => suspended.session_ids.clone(),
            Event::Session(SessionEvent::Closed(closed)) => closed.session_ids.clone(),
            Event::Session(SessionEvent::Resumed(_))
            | Event::Account(_)
            | Event::Administrators(_)
            | Event::Claim(_)
            | Event::Backend(_)
            | Event::EnrolmentTokens(_)
            | Event::Invitations(_)
            | Event::Groups(_)
            | Event::Refusals(_)
            | Event::Webhooks(_)
            | Event::Tenancy(_) => Vec::new(),
        }
    }

    fn fold(id: SessionId, document: Option<SessionDocument>, recorded: &RecordedEvent) -> Option<SessionDocument> {
        let time = recorded.envelope.meta.time;
        match (&recorded.envelope.event, recorded.envelope.aggregate) {
            (Event::Session(SessionEvent::Started(started)), AggregateId::Session(principal_id)) => {
                Some(SessionDocument {
                    session_id: id,
                    principal_id,
                    is_token: started.token.is_some(),
                    started_at: time,
                    expires_at: started.expires_at,
                    revoked_at: None,
                    seq: recorded.sequence,
                })
            }
            (Event::Session(SessionEvent::Refreshed(refreshed)), AggregateId::Session(_)) => {
                document.map(|session| SessionDocument { expires_at: refreshed.expires_at, ..session })
            }
            (
                Event::Session(
                    SessionEvent::Revoked(_)
                    | SessionEvent::Ended(_)
                    | SessionEvent::Suspended(_)
                    | SessionEvent::Closed(_),
                ),
                AggregateId::Session(_),
            ) => document.map(|session| SessionDocument { revoked_at: Some(time), ..session }),
            _ => document,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Folded;
    use crate::testing::events::{at, closed, revoked, session, started, uuid};
    use dockhost_domain::session::Refreshed;
    use serde_json::json;

    #[test]
    fn sessions_fold_closed_marks_the_sessions_that_it_names() {
        let mut sessions = Folded::<Sessions>::default();
        for event in [session(1, 7, started(1)), session(2, 7, started(2)), session(3, 7, revoked(1))] {
            sessions.fold(&event);
        }
        sessions.fold(&session(5, 7, closed(&[2])));
        let revoked = |id| sessions.get(SessionId::from_uuid(uuid(id))).unwrap().revoked_at;
        assert_eq!((revoked(1), revoked(2)), (Some(at(3)), Some(at(5))));
    }

    #[test]
    fn sessions_fold_refreshed_session_ends_later() {
        let mut sessions = Folded::<Sessions>::default();
        sessions.fold(&session(1, 7, started(1)));
        let (session_id, expires_at) = (SessionId::from_uuid(uuid(1)), at(1_000_000));
        let refreshed = Refreshed { session_id, token_number: 1, expires_at };
        sessions.fold(&session(3, 7, SessionEvent::Refreshed(refreshed)));
        let document = sessions.get(session_id).unwrap();
        assert_eq!((document.started_at, document.expires_at, document.seq), (at(1), expires_at, 3));
    }

    #[test]
    fn sessions_fold_revoked_session_is_marked_and_kept() {
        let mut sessions = Folded::<Sessions>::default();
        sessions.fold(&session(1, 7, started(1)));
        sessions.fold(&session(2, 7, started(2)));
        sessions.fold(&session(5, 7, revoked(1)));
        let form = |id| serde_json::to_value(sessions.get(SessionId::from_uuid(uuid(id))).unwrap()).unwrap();
        let session = |id: u64, started, revoked, seq| {
            json!({
                "_id": uuid(id).to_string(), "principalId": uuid(7).to_string(), "isToken": false, "startedAt": started,
                "expiresAt": "1970-01-02T00:00:00.000Z", "revokedAt": revoked, "seq": seq,
            })
        };
        assert_eq!(form(1), session(1, "1970-01-01T00:00:01.000Z", Some("1970-01-01T00:00:05.000Z"), 5));
        assert_eq!(form(2), session(2, "1970-01-01T00:00:02.000Z", None, 2));
    }
}
