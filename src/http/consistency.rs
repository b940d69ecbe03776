//! Read consistency: how a query sees what its caller wrote, and how an answer says that it lacks events.
//!
//! - A write's answer waits briefly until the read model has the write ([`wait_until_projected`]), and carries its position.
//! - A query ([`read`]) with a `Dockhost-Position` header waits until this replica and the read model have reached it, else it
//!   is refused with 503 `not_caught_up`. What it shows is checked against the checkpoint that was read together with the
//!   documents, because the database may be lost or replaced by an older copy at any time.
//! - An answer says what it shows: its position, and from which sequence on it lacks events (a quarantined aggregate, a read
//!   model that has stopped, was lost, or is more than 5 s behind).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::header::HeaderName;
use dockhost_projections::model::ReadModel;
use dockhost_projections::store::ReadResult;
use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::extract::ReadPosition;
use super::read_store::Read;
use super::response::{ApiError, Code};
use crate::replica::follower::Follower;
use crate::replica::projection_progress::ProjectionProgress;

/// `<log incarnation>.<sequence>`: in answers to writes, and in queries that must see them.
pub const POSITION: HeaderName = HeaderName::from_static("dockhost-position");
/// A position, for the API's document.
pub const POSITION_PATTERN: &str = r"^\S+\.[0-9]+$";
/// The first sequence that an answer lacks.
pub const STALE: HeaderName = HeaderName::from_static("dockhost-stale");

/// Why a text is no position in this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidPosition {
    /// It is not `<log>.<sequence>`.
    Malformed,
    /// It is in another log.
    OtherLog,
}

/// The sequence of a position in this log.
///
/// # Errors
/// [`InvalidPosition`].
pub fn sequence_of(app: &App, position: &str) -> Result<u64, InvalidPosition> {
    let (incarnation, sequence) = position.rsplit_once('.').ok_or(InvalidPosition::Malformed)?;
    if incarnation != app.executor.log().incarnation().to_string() {
        return Err(InvalidPosition::OtherLog);
    }
    sequence.parse().map_err(|_| InvalidPosition::Malformed)
}

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

/// Waits until this replica has read the log up to a sequence.
///
/// # Errors
/// `not_caught_up` if that takes too long.
pub async fn wait_until_applied(app: &App, sequence: u64) -> Result<(), ApiError> {
    let applied = tokio::time::timeout(QUERY_WAIT, app.follower.wait_until_applied(sequence)).await;
    applied.map_err(|_| ApiError::new(Code::NotCaughtUp, "this server has not read the log up to there yet; try again"))
}

/// The result of a query, and what it shows.
pub struct Shown<T> {
    /// What was found.
    pub value: T,
    /// The first sequence that it lacks, if it lacks any that it should have.
    pub stale_since: Option<u64>,
    /// The read model has every event of its kind up to this sequence.
    pub sequence: u64,
}

impl<T> Shown<T> {
    /// The position of the state shown, for [`Reply::position`](super::response::Reply::position). A document may already
    /// be further than the model as a whole; `seqs` are those of the documents.
    pub fn position(&self, app: &App, seqs: impl IntoIterator<Item = u64>) -> String {
        app.position(seqs.into_iter().fold(self.sequence, u64::max))
    }
}

/// Runs a query when the read model has reached the position that the caller asks for.
///
/// # Errors
/// `not_caught_up` if that takes too long or the documents are lost, `database_unavailable`.
pub async fn read<'a, M: ReadModel, T>(
    app: &'a App,
    position: ReadPosition,
    query: impl Fn() -> Read<'a, T>,
) -> Result<Shown<T>, ApiError> {
    let deadline = Instant::now() + QUERY_WAIT;
    loop {
        let mut needed = 0;
        if let Some(sequence) = position.0 {
            let within = deadline.saturating_duration_since(Instant::now());
            if !wait_until_projected::<M>(&app.follower, &app.progress, sequence, within).await {
                let message = "the read model has not reached this position yet; try again";
                return Err(ApiError::new(Code::NotCaughtUp, message));
            }
            needed = sequence.min(app.follower.last_sequence_of(M::KIND));
        }
        // Read before the documents, which are then at least as far unless they were lost.
        let known = app.progress.position(M::NAME).max(needed);
        let ReadResult { value, state, stale_since } = query().await.map_err(|error| ApiError::database(&error))?;
        let state = state.filter(|state| state.incarnation == *app.executor.log().incarnation());
        let sequence = state.map(|state| state.sequence);
        app.progress.record_loss(M::NAME, known, app.follower.last_sequence_of(M::KIND), sequence);
        match sequence {
            Some(sequence) if sequence >= needed => {
                let stale_since = stale_since.or_else(|| lacks_events::<M>(app, sequence).then_some(sequence + 1));
                return Ok(Shown { value, stale_since, sequence });
            }
            // No event of this kind was ever stored.
            None if app.follower.last_sequence_of(M::KIND) == 0 => {
                return Ok(Shown { value, stale_since, sequence: 0 });
            }
            None if position.0.is_none() => {
                let message = "the read model was lost and is folded again from the log; try again";
                return Err(ApiError::new(Code::NotCaughtUp, message));
            }
            // It waits again.
            Some(_) | None => {}
        }
    }
}

/// Whether documents with all events up to `sequence` lack any that they should have.
fn lacks_events<M: ReadModel>(app: &App, sequence: u64) -> bool {
    let complete_from = app.progress.incomplete_until(M::NAME).max(app.progress.due(M::NAME));
    sequence < complete_from || app.progress.stop_reason(M::NAME).is_some()
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
        let origin = Origin::new(Actor::System, "test");
        let mut batch = executor.batch(origin);
        let details = Created {
            username: "ada".parse::<Username>().unwrap().into(),
            email: "ada@example.org".to_owned().into(),
            password_verifier: "none".to_owned().into(),
            ssh_public_key: None,
            role: Role::User,
            group_id: None,
        };
        batch.decide(user, &CreateAccount(details)).await.unwrap();
        let started = Started {
            session_id: SessionId::from_uuid(Uuid::from_u128(2)),
            expires_at: Timestamp::from_millis(i64::MAX / 2),
            token: None,
            client: None,
            refresh_until: None,
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
