//! How far the read models are, as this replica knows it.
//!
//! The leader announces each new position, and that a projector has stopped, by core NATS messages. Lost messages only cost
//! time: while somebody waits for a model, its checkpoint is polled as well, once for all who wait.

use std::collections::{BTreeMap, VecDeque};
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
use super::projection_lag::Lag;
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

/// The oldest state of the log that an answer may show without being marked as stale.
pub const MAX_STALENESS: Duration = Duration::from_secs(5);

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
    due: Mutex<DueEvents>,
    lag: Mutex<Lag>,
}

/// Which events the documents must have by now.
#[derive(Debug, Default)]
struct DueEvents {
    /// The last event of the model's kind that is at least [`MAX_STALENESS`] old.
    due: Option<u64>,
    /// Later ones, and since when this replica knows them.
    recent: VecDeque<(Instant, u64)>,
}

impl DueEvents {
    /// Records the last event at this time. Those before the first call count as old.
    fn record(&mut self, now: Instant, latest: u64) {
        let due = self.due.get_or_insert(latest);
        while let Some((_, sequence)) = self.recent.pop_front_if(|(since, _)| now - *since >= MAX_STALENESS) {
            *due = sequence;
        }
        if self.recent.back().map_or(*due, |(_, sequence)| *sequence) < latest {
            self.recent.push_back((now, latest));
        }
    }
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
        let log = follower.executor().log().incarnation();
        for (model, checkpoint) in read_checkpoints(&self.store).await.unwrap_or_default() {
            // Documents of another log show nothing of this one.
            let checkpoint = checkpoint.filter(|checkpoint| checkpoint.incarnation == *log);
            let (known, latest) = (before.get(model.name).copied().unwrap_or(0), follower.last_sequence_of(model.kind));
            self.record_loss(model.name, known, latest, checkpoint.as_ref().map(|checkpoint| checkpoint.sequence));
            if let Some(checkpoint) = checkpoint {
                self.record_checkpoint(model.name, checkpoint);
            }
        }
    }

    /// Reads the checkpoints regularly until cancelled, so that lost documents are noticed also while nothing happens.
    pub async fn watch(self: Arc<Self>, follower: Arc<Follower>, cancel: CancellationToken) {
        loop {
            if follower.is_live() {
                self.record_due(&follower);
            }
            self.refresh(&follower).await;
            if cancel.run_until_cancelled(tokio::time::sleep(WATCH_INTERVAL)).await.is_none() {
                return;
            }
        }
    }

    fn record_due(&self, follower: &Follower) {
        for model in MODELS {
            if let Some(progress) = self.models.get(model.name) {
                let (now, latest) = (Instant::now(), follower.last_sequence_of(model.kind));
                lock(&progress.due).record(now, latest);
                lock(&progress.lag).record(now, latest, self.position(model.name));
            }
        }
    }

    /// The last event that an answer must show by now, else it is stale: one that is [`MAX_STALENESS`] old.
    pub fn due(&self, model: &str) -> u64 {
        self.models.get(model).and_then(|progress| lock(&progress.due).due).unwrap_or(0)
    }

    /// The age of the oldest event that a model lacks, to the second.
    pub fn lag(&self, model: &str) -> Duration {
        self.models.get(model).map_or(Duration::ZERO, |progress| lock(&progress.lag).age(Instant::now()))
    }

    /// Records that the documents of a model were lost or replaced by older ones, if its checkpoint is gone or behind the
    /// `known` position, which must have been read before it. `latest` is the last event of the model's kind.
    pub fn record_loss(&self, model: &str, known: u64, latest: u64, stored: Option<u64>) {
        let Some(progress) = self.models.get(model) else { return };
        let sequence = stored.unwrap_or(0);
        if sequence >= known && (stored.is_some() || latest == 0) {
            return;
        }
        if known > 0 {
            tracing::warn!(
                model,
                known,
                sequence,
                "a read model went back: its documents were lost or replaced; answers are marked as stale until it holds \
                 the log again"
            );
        }
        *lock(&progress.incomplete_until) = latest;
        progress.position.send_replace(sequence);
    }

    /// Whether the documents of a model were lost and are not all folded again.
    pub fn is_incomplete(&self, model: &str) -> bool {
        self.position(model) < self.incomplete_until(model)
    }

    /// After a loss of the documents: the position from which on they are complete again.
    pub fn incomplete_until(&self, model: &str) -> u64 {
        self.models.get(model).map_or(0, |progress| *lock(&progress.incomplete_until))
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

    pub(crate) fn record_stop(&self, model: &str, stopped: StopReason) {
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
        let state = || (progress.position(Users::NAME), progress.is_incomplete(Users::NAME));
        progress.record_loss(Users::NAME, 0, 0, None);
        assert_eq!(state(), (0, false), "an empty log has no documents to lose");
        progress.advance(Users::NAME, 7);
        progress.record_loss(Users::NAME, 7, 7, Some(7));
        assert_eq!(state(), (7, false));
        progress.record_loss(Users::NAME, 7, 7, None);
        assert_eq!(state(), (0, true), "the database was dropped");
        progress.record_loss(Users::NAME, 0, 8, Some(3));
        progress.advance(Users::NAME, 3);
        assert_eq!(state(), (3, true));
        progress.record_loss(Users::NAME, 3, 8, Some(1));
        assert_eq!(state(), (1, true), "and again");
        progress.advance(Users::NAME, 8);
        assert_eq!(state(), (8, false));
    }

    #[test]
    fn due_events_are_those_known_for_the_longest_staleness() {
        let (start, mut due) = (Instant::now(), DueEvents::default());
        let mut at = |seconds: u64, latest: u64| {
            due.record(start + Duration::from_secs(seconds), latest);
            due.due
        };
        assert_eq!(at(0, 7), Some(7), "this replica can't know how old they are");
        assert_eq!(at(1, 8), Some(7));
        assert_eq!(at(3, 9), Some(7));
        assert_eq!(at(5, 9), Some(7));
        assert_eq!(at(6, 9), Some(8));
        assert_eq!(at(20, 9), Some(9));
        assert_eq!(at(21, 10), Some(9));
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
