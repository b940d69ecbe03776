//! How far the read models are, as this replica knows it.
//!
//! In: the leader's word after each batch, or that a model stopped (core NATS, not stored), whichever replica leads.
//! Out: a wait, with a bound, until a model holds a sequence; and why one stands still, or what it holds back. Word that
//! was missed costs nothing but the bound: the checkpoint in the database is looked at as well.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dockhost_projections::backends::Backends;
use dockhost_projections::instances::Instances;
use dockhost_projections::model::ReadModel;
use dockhost_projections::sessions::Sessions;
use dockhost_projections::store::MongoStore;
use dockhost_projections::users::Users;
use dockhost_projections::{ProjectionError, Quarantine, StoreError};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Where the leader says how far a model is: `dockhost.projected.<model>`, the sequence as text.
const SUBJECT: &str = "dockhost.projected";
/// How often a waiter looks at the checkpoint itself.
const LOOK: Duration = Duration::from_millis(200);

/// How long the word that a model stopped counts: longer than its projector takes to fail again.
const STOPPED_FOR: Duration = Duration::from_secs(15);
/// Where the leader says that a model stopped: `dockhost.stopped.<model>`, as JSON.
const STOPS: &str = "dockhost.stopped";

/// Why a model stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// What is wrong; nothing personal.
    pub why: String,
    /// The command that mends it, if one does.
    pub run: Option<String>,
}

impl Stopped {
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
struct Known {
    position: watch::Sender<u64>,
    stopped: Mutex<Option<(Stopped, Instant)>>,
    held: Mutex<Quarantine>,
}

/// How far the read models are.
pub struct Positions {
    store: MongoStore,
    known: BTreeMap<&'static str, Known>,
}

/// The models, by the kind of aggregate that each folds.
pub const MODELS: [(&str, &str); 4] = [
    (Users::NAME, Users::KIND),
    (Backends::NAME, Backends::KIND),
    (Instances::NAME, Instances::KIND),
    (Sessions::NAME, Sessions::KIND),
];

impl Positions {
    /// Nothing known yet.
    pub fn new(store: MongoStore) -> Self {
        Self { store, known: MODELS.iter().map(|(model, _)| (*model, Known::default())).collect() }
    }

    /// How far a model is known to be.
    pub fn of(&self, model: &str) -> u64 {
        self.known.get(model).map_or(0, |known| *known.position.borrow())
    }

    /// Looks at the checkpoints themselves. What can't be read now stays as it is known.
    pub async fn refresh(&self) {
        tokio::join!(self.look::<Users>(), self.look::<Backends>(), self.look::<Instances>(), self.look::<Sessions>());
    }

    async fn look<M: ReadModel>(&self) {
        if let Ok(Some(checkpoint)) = self.store.checkpoint::<M>().await {
            self.note(M::NAME, checkpoint.sequence);
            if let Some(known) = self.known.get(M::NAME) {
                *lock(&known.held) = checkpoint.quarantine;
            }
        }
    }

    /// Takes the leader's word. Never goes back.
    pub fn note(&self, model: &str, sequence: u64) {
        if let Some(known) = self.known.get(model) {
            known.position.send_if_modified(|known| {
                let news = sequence > *known;
                *known = sequence.max(*known);
                news
            });
        }
    }

    /// Tells all replicas, this one included.
    pub async fn announce(&self, client: &async_nats::Client, model: &str, sequence: u64) {
        self.goes_on(model, sequence);
        // Lost word costs a waiter one look at the checkpoint.
        let _ = client.publish(format!("{SUBJECT}.{model}"), sequence.to_string().into()).await;
    }

    /// Tells all replicas that a model stopped; said anew each time that its projector fails.
    pub async fn announce_stop(&self, client: &async_nats::Client, model: &str, stopped: &Stopped) {
        self.note_stop(model, stopped.clone());
        if let Ok(word) = serde_json::to_vec(stopped) {
            let _ = client.publish(format!("{STOPS}.{model}"), word.into()).await;
        }
    }

    fn note_stop(&self, model: &str, stopped: Stopped) {
        if let Some(known) = self.known.get(model) {
            *lock(&known.stopped) = Some((stopped, Instant::now()));
        }
    }

    /// The leader's own word of a position: the model does not stand still.
    fn goes_on(&self, model: &str, sequence: u64) {
        self.note(model, sequence);
        if let Some(known) = self.known.get(model) {
            *lock(&known.stopped) = None;
        }
    }

    /// Why a model stands still, if its projector said so a moment ago.
    pub fn stopped(&self, model: &str) -> Option<Stopped> {
        let said = lock(&self.known.get(model)?.stopped).clone();
        said.filter(|(_, at)| at.elapsed() < STOPPED_FOR).map(|(stopped, _)| stopped)
    }

    /// What a model holds back, as its checkpoint was read last.
    pub fn held(&self, model: &str) -> Quarantine {
        self.known.get(model).map(|known| lock(&known.held).clone()).unwrap_or_default()
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
        let positions = client.subscribe(format!("{SUBJECT}.*")).await?;
        let mut messages = futures::stream::select(positions, client.subscribe(format!("{STOPS}.*")).await?);
        while let Some(Some(message)) = cancel.run_until_cancelled(messages.next()).await {
            let model = message.subject.rsplit('.').next().unwrap_or_default();
            if message.subject.starts_with(STOPS) {
                if let Ok(stopped) = serde_json::from_slice(&message.payload) {
                    self.note_stop(model, stopped);
                }
            } else if let Some(sequence) = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok())
            {
                self.goes_on(model, sequence);
            }
        }
        Ok(())
    }

    /// Waits until a model holds a sequence; `false` if it doesn't within the bound.
    pub async fn reached<M: ReadModel>(&self, sequence: u64, within: Duration) -> bool {
        let Some(known) = self.known.get(M::NAME) else { return false };
        let mut word = known.position.subscribe();
        let look = async {
            loop {
                tokio::time::sleep(LOOK).await;
                self.look::<M>().await;
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
    use super::*;

    /// A store that nobody answers for: only the leader's word counts.
    async fn positions() -> Positions {
        crate::common::install_crypto();
        let nobody = "mongodb://127.0.0.1:1/?directConnection=true";
        Positions::new(MongoStore::connect(nobody, "none").await.unwrap())
    }

    #[tokio::test]
    async fn a_position_never_goes_back_and_belongs_to_one_model() {
        let positions = positions().await;
        for sequence in [5, 3, 7, 7] {
            positions.note(Users::NAME, sequence);
        }
        positions.note("unheard-of", 9);
        assert_eq!((positions.of(Users::NAME), positions.of(Sessions::NAME), positions.of("unheard-of")), (7, 0, 0));
    }

    #[tokio::test]
    async fn a_model_stands_still_until_its_projector_says_how_far_it_is() {
        let positions = positions().await;
        let changed = ProjectionError::FoldChanged { model: Users::NAME, stored: 1, ours: 2 };
        positions.note_stop(Users::NAME, Stopped::of(Users::NAME, &changed));
        let stopped = positions.stopped(Users::NAME).unwrap();
        assert_eq!(stopped.run.as_deref(), Some("dockhost rebuild --projection users"));
        assert_eq!(positions.stopped(Sessions::NAME), None);
        // A checkpoint that somebody looked at says nothing of its projector.
        positions.note(Users::NAME, 7);
        assert!(positions.stopped(Users::NAME).is_some());
        positions.goes_on(Users::NAME, 7);
        assert_eq!(positions.stopped(Users::NAME), None);
        let away = ProjectionError::History("away".into());
        assert_eq!(Stopped::of(Users::NAME, &away).run, None, "a rebuild would not help");
    }

    #[tokio::test]
    async fn who_waits_is_told_by_the_leaders_word_or_by_the_bound() {
        let positions = positions().await;
        positions.note(Users::NAME, 7);
        let long = Duration::from_secs(20);
        assert!(positions.reached::<Users>(7, Duration::ZERO).await, "what is there needs no waiting");
        assert!(!positions.reached::<Users>(8, Duration::from_millis(20)).await);
        let (reached, ()) = tokio::join!(positions.reached::<Users>(9, long), async {
            positions.note(Users::NAME, 8);
            positions.note(Users::NAME, 10);
        });
        assert!(reached);
    }
}
