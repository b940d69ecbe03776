//! How far the read models are, as this replica knows it.
//!
//! The leader announces each new position, and that a projector has stopped, by core NATS messages. Lost messages only cost
//! time: while somebody waits for a model, its checkpoint is polled as well, once for all who wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dockhost_projections::self_build::{BUILD_LEASE, BuildMonitor};
use dockhost_projections::store::{BuildStatus, Checkpoint, MongoStore};
use dockhost_projections::{MODELS, ProjectionError, Quarantine, ReadModel, StoreError, read_checkpoints};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::follower::Follower;
use crate::common::shared_poll::SharedPoll;

/// The leader announces positions on `dockhost.projected.<model>`, the sequence as text.
const PROGRESS_SUBJECT: &str = "dockhost.projected";
/// How often the checkpoint of a model is read while somebody waits for its position.
const CHECKPOINT_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How often the checkpoints are read while nobody waits.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// How long a stop reason is valid: longer than a projector takes to restart and fail again, or to announce it again.
const STOP_REASON_TTL: Duration = Duration::from_secs(60);
/// The leader announces on `dockhost.stopped.<model>` that a model stopped, as JSON.
const STOPPED_SUBJECT: &str = "dockhost.stopped";

/// Why a model has stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReason {
    /// What is wrong; no personal data.
    pub why: String,
    /// The command that repairs it, if one does.
    pub run: Option<String>,
}

impl StopReason {
    /// For a projector that failed with this error. Its sources may quote documents, so they are only logged.
    pub fn of(model: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let is_repairable = match error.downcast_ref() {
            Some(ProjectionError::ForeignLog { .. } | ProjectionError::Store(StoreError::Malformed { .. })) => true,
            // An older version is being built. A newer one is repaired by a rebuild after a rollback only.
            Some(ProjectionError::FoldChanged { stored, ours, .. }) => stored > ours,
            _ => false,
        };
        let command = || format!("dockhost rebuild --projection {model}");
        Self { why: error.to_string(), run: is_repairable.then(command) }
    }
}

/// The progress of one model.
#[derive(Default)]
struct ModelProgress {
    /// Each waiter has a receiver.
    position: watch::Sender<u64>,
    poll: Arc<SharedPoll>,
    stopped: Mutex<Option<(StopReason, Instant)>>,
    quarantine: Mutex<Quarantine>,
    build: Mutex<Option<BuildStatus>>,
    /// The documents were lost and are folded again; they are complete from this position on.
    incomplete_until: Mutex<u64>,
}

/// The progress of all read models.
pub struct ProjectionProgress {
    store: MongoStore,
    models: BTreeMap<&'static str, ModelProgress>,
    builds: Mutex<BuildMonitor>,
}

impl ProjectionProgress {
    /// All models at position 0.
    pub fn new(store: MongoStore) -> Self {
        let models = MODELS.iter().map(|model| (model.name, ModelProgress::default())).collect();
        Self { store, models, builds: Mutex::default() }
    }

    /// The last known position of a model.
    pub fn position(&self, model: &str) -> u64 {
        self.models.get(model).map_or(0, |progress| *progress.position.borrow())
    }

    /// Reads all checkpoints; changes nothing if that fails.
    pub async fn refresh(&self, follower: &Follower) {
        // Read before the checkpoints, which are then at least as far unless documents were lost.
        let before: BTreeMap<_, _> = MODELS.iter().map(|model| (model.name, self.position(model.name))).collect();
        for (model, checkpoint) in read_checkpoints(&self.store).await.unwrap_or_default() {
            let known = before.get(model.name).copied().unwrap_or(0);
            self.record_loss(model.name, known, follower.last_sequence_of(model.kind), checkpoint.as_ref());
            if let Some(checkpoint) = checkpoint {
                self.record_checkpoint(model.name, checkpoint);
            }
        }
    }

    /// Reads the checkpoints regularly until cancelled, so that lost documents are noticed also while nothing happens.
    pub async fn watch(self: Arc<Self>, follower: Arc<Follower>, cancel: CancellationToken) {
        loop {
            self.refresh(&follower).await;
            if cancel.run_until_cancelled(tokio::time::sleep(WATCH_INTERVAL)).await.is_none() {
                return;
            }
        }
    }

    /// Records that the documents of a model were lost, if its checkpoint is gone or behind the `known` position: the
    /// database was dropped, or replaced by an empty one. `latest` is the last event of the model's kind.
    fn record_loss(&self, model: &str, known: u64, latest: u64, checkpoint: Option<&Checkpoint>) {
        let Some(progress) = self.models.get(model) else { return };
        let stored = checkpoint.map_or(0, |checkpoint| checkpoint.sequence);
        if stored >= known && (checkpoint.is_some() || latest == 0) {
            return;
        }
        if known > 0 {
            tracing::error!(model, known, stored, "the documents of a read model were lost; they are folded again");
        }
        *lock(&progress.incomplete_until) = latest;
        progress.position.send_replace(stored);
    }

    /// Whether the documents of a model were lost and are not all folded again, so that an empty answer means nothing.
    pub fn is_incomplete(&self, model: &str) -> bool {
        self.models.get(model).is_some_and(|progress| self.position(model) < *lock(&progress.incomplete_until))
    }

    async fn read_checkpoint<M: ReadModel>(&self) {
        if let Ok(Some(checkpoint)) = self.store.checkpoint::<M>().await {
            self.record_checkpoint(M::NAME, checkpoint);
        }
    }

    fn record_checkpoint(&self, model: &str, checkpoint: Checkpoint) {
        self.advance(model, checkpoint.sequence);
        if let Some(progress) = self.models.get(model) {
            let is_alive = lock(&self.builds).silence(&checkpoint).is_some_and(|silence| silence < BUILD_LEASE);
            *lock(&progress.build) = checkpoint.active_build().filter(|_| is_alive).cloned();
            *lock(&progress.quarantine) = checkpoint.quarantine;
        }
    }

    /// Records a position; it goes back only when documents were lost.
    pub fn advance(&self, model: &str, sequence: u64) {
        if let Some(progress) = self.models.get(model) {
            progress.position.send_if_modified(|position| {
                let is_new = sequence > *position;
                *position = sequence.max(*position);
                is_new
            });
        }
    }

    /// Announces a position of this replica's projector to all replicas.
    pub async fn announce(&self, client: &async_nats::Client, model: &str, sequence: u64) {
        self.record_announced(model, sequence);
        // If the message is lost, waiters find the position in the checkpoint.
        let _ = client.publish(format!("{PROGRESS_SUBJECT}.{model}"), sequence.to_string().into()).await;
    }

    /// Announces to all replicas that this replica's projector has stopped; repeated each time that it fails.
    pub async fn announce_stop(&self, client: &async_nats::Client, model: &str, stopped: &StopReason) {
        self.record_stop(model, stopped.clone());
        if let Ok(message) = serde_json::to_vec(stopped) {
            let _ = client.publish(format!("{STOPPED_SUBJECT}.{model}"), message.into()).await;
        }
    }

    fn record_stop(&self, model: &str, stopped: StopReason) {
        if let Some(progress) = self.models.get(model) {
            *lock(&progress.stopped) = Some((stopped, Instant::now()));
        }
    }

    /// Records an announced position, which shows that the projector runs.
    fn record_announced(&self, model: &str, sequence: u64) {
        self.advance(model, sequence);
        if let Some(progress) = self.models.get(model) {
            *lock(&progress.stopped) = None;
        }
    }

    /// Why a model has stopped; `None` if it runs.
    pub fn stop_reason(&self, model: &str) -> Option<StopReason> {
        let stopped = lock(&self.models.get(model)?.stopped).clone();
        stopped.filter(|(_, at)| at.elapsed() < STOP_REASON_TTL).map(|(reason, _)| reason)
    }

    /// The quarantine of a model, as last read from its checkpoint.
    pub fn quarantine(&self, model: &str) -> Quarantine {
        self.models.get(model).map(|progress| lock(&progress.quarantine).clone()).unwrap_or_default()
    }

    /// The running build of a model, as last read from its checkpoint.
    pub fn build(&self, model: &str) -> Option<BuildStatus> {
        self.models.get(model).and_then(|progress| lock(&progress.build).clone())
    }

    /// Receives the leader's announcements until cancelled.
    ///
    /// # Errors
    /// The subscription could not be made.
    pub async fn listen(
        &self,
        client: async_nats::Client,
        cancel: CancellationToken,
    ) -> Result<(), async_nats::SubscribeError> {
        let positions = client.subscribe(format!("{PROGRESS_SUBJECT}.*")).await?;
        let mut messages = futures::stream::select(positions, client.subscribe(format!("{STOPPED_SUBJECT}.*")).await?);
        while let Some(Some(message)) = cancel.run_until_cancelled(messages.next()).await {
            let model = message.subject.rsplit('.').next().unwrap_or_default();
            if message.subject.starts_with(STOPPED_SUBJECT) {
                if let Ok(stopped) = serde_json::from_slice(&message.payload) {
                    self.record_stop(model, stopped);
                }
            } else if let Some(sequence) = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok())
            {
                self.record_announced(model, sequence);
            }
        }
        Ok(())
    }

    /// Waits until a model has a position; `false` after the timeout.
    pub async fn wait_until<M: ReadModel>(self: &Arc<Self>, sequence: u64, timeout: Duration) -> bool {
        let Some(progress) = self.models.get(M::NAME) else { return false };
        let mut position = progress.position.subscribe();
        if *position.borrow() >= sequence {
            return true;
        }
        let (awaited, polled) = (Arc::clone(self), Arc::clone(self));
        progress.poll.ensure(
            CHECKPOINT_POLL_INTERVAL,
            move || awaited.models.get(M::NAME).is_some_and(|progress| progress.position.receiver_count() > 0),
            move || {
                let polled = Arc::clone(&polled);
                async move { polled.read_checkpoint::<M>().await }
            },
        );
        let reached = position.wait_for(|position| *position >= sequence);
        tokio::time::timeout(timeout, reached).await.is_ok_and(|reached| reached.is_ok())
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use dockhost_projections::StoredModel;
    use dockhost_projections::sessions::Sessions;
    use dockhost_projections::users::Users;

    use super::*;

    /// With a database that does not answer.
    async fn progress() -> Arc<ProjectionProgress> {
        crate::common::install_crypto();
        let unavailable = "mongodb://127.0.0.1:1/?directConnection=true";
        Arc::new(ProjectionProgress::new(MongoStore::connect(unavailable, "none").await.unwrap()))
    }

    #[tokio::test]
    async fn projection_progress_position_never_goes_back_and_belongs_to_one_model() {
        let progress = progress().await;
        for sequence in [5, 3, 7, 7] {
            progress.advance(Users::NAME, sequence);
        }
        progress.advance("unknown", 9);
        let positions = [Users::NAME, Sessions::NAME, "unknown"].map(|model| progress.position(model));
        assert_eq!(positions, [7, 0, 0]);
    }

    #[tokio::test]
    async fn projection_progress_stop_reason_ends_with_an_announced_position() {
        let progress = progress().await;
        let newer = ProjectionError::FoldChanged { model: Users::NAME, stored: 2, ours: 1 };
        progress.record_stop(Users::NAME, StopReason::of(Users::NAME, &newer));
        let stopped = progress.stop_reason(Users::NAME).unwrap();
        assert_eq!(stopped.run.as_deref(), Some("dockhost rebuild --projection users"));
        assert_eq!(progress.stop_reason(Sessions::NAME), None);
        // A position in a checkpoint does not show that the projector runs.
        progress.advance(Users::NAME, 7);
        assert!(progress.stop_reason(Users::NAME).is_some());
        progress.record_announced(Users::NAME, 7);
        assert_eq!(progress.stop_reason(Users::NAME), None);
    }

    #[test]
    fn stop_reason_names_no_command_if_a_rebuild_does_not_help() {
        let older = ProjectionError::FoldChanged { model: Users::NAME, stored: 1, ours: 2 };
        for error in [older, ProjectionError::History("unavailable".into())] {
            assert_eq!(StopReason::of(Users::NAME, &error).run, None, "{error}");
        }
    }

    #[tokio::test]
    async fn projection_progress_build_is_shown_until_its_reports_stop() {
        let progress = progress().await;
        let mut checkpoint: Checkpoint = serde_json::from_value(serde_json::json!({
            "_id": "users", "incarnation": "one", "sequence": 7, "foldVersion": 1, "collection": "users",
            "building": "users_v2",
            "build": { "collection": "users_v2", "foldVersion": 2, "reports": 3, "done": 5, "total": 9 },
        }))
        .unwrap();
        progress.record_checkpoint(Users::NAME, checkpoint.clone());
        assert_eq!(progress.build(Users::NAME).map(|build| (build.done, build.total)), Some((5, 9)));
        checkpoint.building = None;
        progress.record_checkpoint(Users::NAME, checkpoint);
        assert_eq!(progress.build(Users::NAME), None);
    }

    #[tokio::test]
    async fn projection_progress_lost_documents_lower_the_position_until_they_are_folded_again() {
        let progress = progress().await;
        let checkpoint = |sequence: u64| -> Checkpoint {
            serde_json::from_value(serde_json::json!({
                "_id": "users", "incarnation": "one", "sequence": sequence, "foldVersion": 1, "collection": "users",
            }))
            .unwrap()
        };
        let state = || (progress.position(Users::NAME), progress.is_incomplete(Users::NAME));
        progress.record_loss(Users::NAME, 0, 0, None);
        assert_eq!(state(), (0, false), "an empty log has no documents to lose");
        progress.advance(Users::NAME, 7);
        progress.record_loss(Users::NAME, 7, 7, Some(&checkpoint(7)));
        assert_eq!(state(), (7, false));
        progress.record_loss(Users::NAME, 7, 7, None);
        assert_eq!(state(), (0, true), "the database was dropped");
        progress.record_loss(Users::NAME, 0, 8, Some(&checkpoint(3)));
        progress.advance(Users::NAME, 3);
        assert_eq!(state(), (3, true));
        progress.record_loss(Users::NAME, 3, 8, Some(&checkpoint(1)));
        assert_eq!(state(), (1, true), "and again");
        progress.advance(Users::NAME, 8);
        assert_eq!(state(), (8, false));
    }

    #[tokio::test]
    async fn projection_progress_wait_ends_at_the_position_or_the_timeout() {
        let progress = progress().await;
        progress.advance(Users::NAME, 7);
        let long = Duration::from_secs(20);
        assert!(progress.wait_until::<Users>(7, Duration::ZERO).await);
        assert!(!progress.wait_until::<Users>(8, Duration::from_millis(20)).await);
        let (reached, ()) = tokio::join!(progress.wait_until::<Users>(9, long), async {
            progress.advance(Users::NAME, 8);
            progress.advance(Users::NAME, 10);
        });
        assert!(reached);
    }
}
