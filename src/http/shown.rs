//! Waiting until a read model shows what was written.
//!
//! In: a position in the log. Out: whether this replica and the model hold all of it, once they do or the bound is over.

use std::time::Duration;

use dockhost_projections::model::ReadModel;

use crate::replica::follower::Follower;
use crate::replica::projection_progress::ProjectionProgress;

/// Waits until this replica and a model hold everything up to a sequence; `false` if they don't within the bound.
pub async fn held<M: ReadModel>(
    follower: &Follower,
    progress: &ProjectionProgress,
    sequence: u64,
    within: Duration,
) -> bool {
    let held = async {
        follower.wait_until_applied(sequence).await;
        // Not every event is one of this model's: it is there when it holds the last one of its kind.
        let needed = sequence.min(follower.last_sequence_of(M::KIND));
        progress.wait_until::<M>(needed, within).await
    };
    tokio::time::timeout(within, held).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use dockhost_domain::account::{Account, CreateAccount, Created, Role};
    use dockhost_domain::envelope::{Actor, Origin};
    use dockhost_domain::ids::{PrincipalId, SessionId, UserId};
    use dockhost_domain::names::Username;
    use dockhost_domain::session::{StartSession, Started};
    use dockhost_domain::timestamp::Timestamp;
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
    async fn a_model_is_not_waited_for_beyond_its_own_last_event() {
        crate::common::install_crypto();
        let nobody = "mongodb://127.0.0.1:1/?directConnection=true";
        let progress = ProjectionProgress::new(MongoStore::connect(nobody, "none").await.unwrap());
        let executor = Executor::new(Arc::new(MemoryLog::default()) as Arc<dyn EventLog>);
        let (follower, stop) = (Follower::new(Arc::clone(&executor)), CancellationToken::new());
        tokio::spawn(Arc::clone(&follower).run(0, BTreeMap::new(), stop.clone()));

        // As a sign-up stores them: the account, and after it a session.
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
        assert!(held::<Users>(&follower, &progress, last, long).await, "it waited for what is not the model's");
        assert!(!held::<Sessions>(&follower, &progress, last, short).await, "the session is not there yet");
        stop.cancel();
    }
}
