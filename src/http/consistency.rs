//! Read consistency: how a query sees what its caller wrote, and how an answer says that it lacks events.
//!
//! - A write's answer waits briefly until the read model has the write ([`wait_until_projected`]), and carries its position.
//! - A query with a `Dockhost-Position` header waits until this replica and the read model have reached it
//!   ([`read_after`]), else it is refused with 503 `not_caught_up`.
//! - An answer that lacks events (a quarantined aggregate, a stopped read model) says from which sequence on
//!   ([`stale_since`]).

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::HeaderName;
use dockhost_projections::model::ReadModel;
use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::extract::ReadPosition;
use super::response::{ApiError, Code};
use crate::replica::follower::Follower;
use crate::replica::projection_progress::ProjectionProgress;

/// `<log incarnation>.<sequence>`: in answers to writes, and in queries that must see them.
pub const POSITION: HeaderName = HeaderName::from_static("dockhost-position");
/// A position, for the API's document.
pub const POSITION_PATTERN: &str = r"^\S+\.[0-9]+$";
/// The first sequence that an answer lacks.
pub const STALE: HeaderName = HeaderName::from_static("dockhost-stale");

/// How long a query waits for the position in its request.
const QUERY_WAIT: Duration = Duration::from_secs(5);

/// Waits until this replica and a read model have everything up to a sequence; `false` if `within` passes first.
pub async fn wait_until_projected<M: ReadModel>(
    follower: &Follower,
    progress: &Arc<ProjectionProgress>,
    sequence: u64,
    within: Duration,
) -> bool {
    let projected = async {
        follower.wait_until_applied(sequence).await;
        // The model folds one kind of aggregate only: it is complete when it has the last event of that kind.
        let needed = sequence.min(follower.last_sequence_of(M::KIND));
        progress.wait_until::<M>(needed, within).await
    };
    tokio::time::timeout(within, projected).await.unwrap_or(false)
}

/// Waits until a read model has reached the position that the caller asks for. Refuses also without a position while the
/// documents were lost and are not complete again: an empty list would be wrong.
///
/// # Errors
/// `not_caught_up`, `database_unavailable`.
pub async fn read_after<M: ReadModel>(app: &App, position: ReadPosition) -> Result<(), ApiError> {
    if app.progress.is_incomplete(M::NAME) {
        let message = "the read model was lost and is folded again from the log; try again";
        return Err(ApiError::new(Code::NotCaughtUp, message));
    }
    let Some(sequence) = position.0 else { return Ok(()) };
    if wait_until_projected::<M>(&app.follower, &app.progress, sequence, QUERY_WAIT).await {
        // A rebuild may have switched to another collection in the meantime.
        app.store.refresh_location(M::NAME).await.map_err(|error| ApiError::database(&error))
    } else {
        Err(ApiError::new(Code::NotCaughtUp, "the read model has not reached this position yet; try again"))
    }
}

/// The first sequence that an answer lacks: because its aggregate is quarantined, or because the model has stopped or
/// was lost.
pub fn stale_since<M: ReadModel>(app: &App, quarantined_at: Option<u64>) -> Option<u64> {
    // The loss may have been noticed since the query began.
    let lacks_events = || app.progress.stop_reason(M::NAME).is_some() || app.progress.is_incomplete(M::NAME);
    quarantined_at.or_else(|| lacks_events().then(|| app.progress.position(M::NAME) + 1))
}

/// A position in the log: `<log incarnation>.<sequence>`.
#[derive(ToSchema)]
#[schema(pattern = r"^\S+\.[0-9]+$")]
#[expect(dead_code, reason = "describes a header in the API's document")]
pub struct LogPosition(String);

/// Says that an object lacks events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Stale {
    /// The first sequence that is missing.
    pub since: u64,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dockhost_domain::account::{Account, CreateAccount, Created, Role};
    use dockhost_domain::envelope::{Actor, Origin};
    use dockhost_domain::ids::{PrincipalId, SessionId, UserId};
    use dockhost_domain::names::Username;
    use dockhost_domain::session::{StartSession, Started};
    use dockhost_domain::timestamp::Timestamp;
    use dockhost_projections::StoredModel;
    use dockhost_projections::sessions::Sessions;
    use dockhost_projections::store::MongoStore;
    use dockhost_projections::users::Users;
    use tokio_util::sync::CancellationToken;
    use uuid::Uuid;

    use super::*;
    use crate::event_log::EventLog;
    use crate::event_log::memory::MemoryLog;
    use crate::execute::Executor;

    #[tokio::test]
    async fn until_projected_ignores_events_of_other_kinds() {
        crate::common::install_crypto();
        let unreachable = "mongodb://127.0.0.1:1/?directConnection=true";
        let progress = Arc::new(ProjectionProgress::new(MongoStore::connect(unreachable, "none").await.unwrap()));
        let executor = Executor::new(Arc::new(MemoryLog::default()) as Arc<dyn EventLog>);
        let (follower, stop) = (Follower::new(Arc::clone(&executor), Arc::default()), CancellationToken::new());
        tokio::spawn(Arc::clone(&follower).run(0, BTreeMap::new(), stop.clone()));

        // What a sign-up stores: the account, then a session.
        let user = UserId::from_uuid(Uuid::from_u128(1));
        let origin = Origin { actor: Actor::System, cause: "test".to_owned(), trace_parent: None };
        let mut batch = executor.batch(origin);
        let details = Created {
            username: "ada".parse::<Username>().unwrap().into(),
            email: "ada@example.org".to_owned().into(),
            password_verifier: "none".to_owned().into(),
            ssh_public_key: None,
            role: Role::User,
        };
        batch.decide(user, &CreateAccount(details)).await.unwrap();
        let started = Started {
            session_id: SessionId::from_uuid(Uuid::from_u128(2)),
            expires_at: Timestamp::from_millis(i64::MAX / 2),
        };
        batch.decide(PrincipalId::from(user), &StartSession(started)).await.unwrap();
        let last = batch.commit().await.unwrap();
        assert_eq!(executor.state::<Account>(user).await.unwrap().sequence, last - 1);

        progress.advance(Users::NAME, last - 1);
        let (long, short) = (Duration::from_secs(20), Duration::from_millis(20));
        assert!(
            wait_until_projected::<Users>(&follower, &progress, last, long).await,
            "it waited for an event of another kind"
        );
        assert!(
            !wait_until_projected::<Sessions>(&follower, &progress, last, short).await,
            "the session is not projected yet"
        );
        stop.cancel();
    }
}
