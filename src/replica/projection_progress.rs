//! How far the read models are, as this replica knows it.
//!
//! In: the leader's word after each batch, or that a model stopped (core NATS, not stored), whichever replica leads.
//! Out: a wait, with a bound, until a model holds a sequence; and why one stands still, or what it holds back. Word that
//! was missed costs nothing but the bound: the checkpoint in the database is looked at as well.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dockhost_projections::store::{Checkpoint, MongoStore};
use dockhost_projections::{MODELS, ProjectionError, Quarantine, ReadModel, StoreError, read_checkpoints};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Where the leader says how far a model is: `dockhost.projected.<model>`, the sequence as text.
const PROGRESS_SUBJECT: &str = "dockhost.projected";
/// How often a waiter looks at the checkpoint itself.
const CHECKPOINT_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How long a stop reason is valid: longer than a projector needs to restart and fail again (a pause of up to 30 s).
const STOP_REASON_TTL: Duration = Duration::from_secs(60);
/// Where the leader says that a model stopped: `dockhost.stopped.<model>`, as JSON.
const STOPPED_SUBJECT: &str = "dockhost.stopped";

/// Why a model stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReason {
    /// What is wrong; nothing personal.
    pub why: String,
    /// The command that mends it, if one does.
    pub run: Option<String>,
}

impl StopReason {
    /// Of a model whose projector ended by this error. The causes below it may quote documents: they are for the log.
    pub fn of(model: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let anew = matches!(
            error.downcast_ref(),
            Some(
                ProjectionError::FoldChanged { .. }
                    | ProjectionError::ForeignLog { .. }
                    | ProjectionError::Store(StoreError::Malformed { .. })
            )
        );
        Self { why: error.to_string(), run: anew.then(|| format!("dockhost rebuild --projection {model}")) }
    }
}

/// What is known of one model.
#[derive(Default)]
struct ModelProgress {
    position: watch::Sender<u64>,
    stopped: Mutex<Option<(StopReason, Instant)>>,
    quarantine: Mutex<Quarantine>,
}

/// How far the read models are.
pub struct ProjectionProgress {
    store: MongoStore,
    models: BTreeMap<&'static str, ModelProgress>,
}

impl ProjectionProgress {
    /// Nothing known yet.
    pub fn new(store: MongoStore) -> Self {
        Self { store, models: MODELS.iter().map(|model| (model.name, ModelProgress::default())).collect() }
    }

    /// How far a model is known to be.
    pub fn position(&self, model: &str) -> u64 {
        self.models.get(model).map_or(0, |known| *known.position.borrow())
    }

    /// Looks at the checkpoints themselves. What can't be read now stays as it is known.
    pub async fn refresh(&self) {
        for (model, checkpoint) in read_checkpoints(&self.store).await.unwrap_or_default() {
            if let Some(checkpoint) = checkpoint {
                self.record_checkpoint(model.name, checkpoint);
            }
        }
    }

    async fn read_checkpoint<M: ReadModel>(&self) {
        if let Ok(Some(checkpoint)) = self.store.checkpoint::<M>().await {
            self.record_checkpoint(M::NAME, checkpoint);
        }
    }

    fn record_checkpoint(&self, model: &str, checkpoint: Checkpoint) {
        self.advance(model, checkpoint.sequence);
        if let Some(known) = self.models.get(model) {
            *lock(&known.quarantine) = checkpoint.quarantine;
        }
    }

    /// Takes the leader's word. Never goes back.
    pub fn advance(&self, model: &str, sequence: u64) {
        if let Some(known) = self.models.get(model) {
            known.position.send_if_modified(|known| {
                let news = sequence > *known;
                *known = sequence.max(*known);
                news
            });
        }
    }

    /// Tells all replicas, this one included.
    pub async fn announce(&self, client: &async_nats::Client, model: &str, sequence: u64) {
        self.record_announced(model, sequence);
        // Lost word costs a waiter one look at the checkpoint.
        let _ = client.publish(format!("{PROGRESS_SUBJECT}.{model}"), sequence.to_string().into()).await;
    }

    /// Tells all replicas that a model stopped; said anew each time that its projector fails.
    pub async fn announce_stop(&self, client: &async_nats::Client, model: &str, stopped: &StopReason) {
        self.record_stop(model, stopped.clone());
        if let Ok(word) = serde_json::to_vec(stopped) {
            let _ = client.publish(format!("{STOPPED_SUBJECT}.{model}"), word.into()).await;
        }
    }

    fn record_stop(&self, model: &str, stopped: StopReason) {
        if let Some(known) = self.models.get(model) {
            *lock(&known.stopped) = Some((stopped, Instant::now()));
        }
    }

    /// The leader's own word of a position: the model does not stand still.
    fn record_announced(&self, model: &str, sequence: u64) {
        self.advance(model, sequence);
        if let Some(known) = self.models.get(model) {
            *lock(&known.stopped) = None;
        }
    }

    /// Why a model stands still, if its projector said so a moment ago.
    pub fn stop_reason(&self, model: &str) -> Option<StopReason> {
        let said = lock(&self.models.get(model)?.stopped).clone();
        said.filter(|(_, at)| at.elapsed() < STOP_REASON_TTL).map(|(stopped, _)| stopped)
    }

    /// What a model holds back, as its checkpoint was read last.
    pub fn quarantine(&self, model: &str) -> Quarantine {
        self.models.get(model).map(|known| lock(&known.quarantine).clone()).unwrap_or_default()
    }

    /// Listens to the leader until cancelled.
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

    /// Waits until a model holds a sequence; `false` if it doesn't within the bound.
    pub async fn wait_until<M: ReadModel>(&self, sequence: u64, within: Duration) -> bool {
        let Some(known) = self.models.get(M::NAME) else { return false };
        let mut word = known.position.subscribe();
        let look = async {
            loop {
                tokio::time::sleep(CHECKPOINT_POLL_INTERVAL).await;
                self.read_checkpoint::<M>().await;
            }
        };
        let heard = word.wait_for(|known| *known >= sequence);
        let reached = async {
            tokio::select! {
                heard = heard => heard.is_ok(),
                () = look => false,
            }
        };
        tokio::time::timeout(within, reached).await.unwrap_or(false)
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

    /// A store that nobody answers for: only the leader's word counts.
    async fn progress() -> ProjectionProgress {
        crate::common::install_crypto();
        let nobody = "mongodb://127.0.0.1:1/?directConnection=true";
        ProjectionProgress::new(MongoStore::connect(nobody, "none").await.unwrap())
    }

    #[tokio::test]
    async fn a_position_never_goes_back_and_belongs_to_one_model() {
        let progress = progress().await;
        for sequence in [5, 3, 7, 7] {
            progress.advance(Users::NAME, sequence);
        }
        progress.advance("unheard-of", 9);
        assert_eq!(
            (progress.position(Users::NAME), progress.position(Sessions::NAME), progress.position("unheard-of")),
            (7, 0, 0)
        );
    }

    #[tokio::test]
    async fn a_model_stands_still_until_its_projector_says_how_far_it_is() {
        let progress = progress().await;
        let changed = ProjectionError::FoldChanged { model: Users::NAME, stored: 1, ours: 2 };
        progress.record_stop(Users::NAME, StopReason::of(Users::NAME, &changed));
        let stopped = progress.stop_reason(Users::NAME).unwrap();
        assert_eq!(stopped.run.as_deref(), Some("dockhost rebuild --projection users"));
        assert_eq!(progress.stop_reason(Sessions::NAME), None);
        // A checkpoint that somebody looked at says nothing of its projector.
        progress.advance(Users::NAME, 7);
        assert!(progress.stop_reason(Users::NAME).is_some());
        progress.record_announced(Users::NAME, 7);
        assert_eq!(progress.stop_reason(Users::NAME), None);
        let away = ProjectionError::History("away".into());
        assert_eq!(StopReason::of(Users::NAME, &away).run, None, "a rebuild would not help");
    }

    #[tokio::test]
    async fn who_waits_is_told_by_the_leaders_word_or_by_the_bound() {
        let progress = progress().await;
        progress.advance(Users::NAME, 7);
        let long = Duration::from_secs(20);
        assert!(progress.wait_until::<Users>(7, Duration::ZERO).await, "what is there needs no waiting");
        assert!(!progress.wait_until::<Users>(8, Duration::from_millis(20)).await);
        let (reached, ()) = tokio::join!(progress.wait_until::<Users>(9, long), async {
            progress.advance(Users::NAME, 8);
            progress.advance(Users::NAME, 10);
        });
        assert!(reached);
    }
}
