//! How far the read models are, as this replica knows it.
//!
//! In: the leader's word after each batch (core NATS, not stored), whichever replica leads. Out: a wait, with a bound,
//! until a model holds a sequence. Word that was missed costs nothing but the bound: the checkpoint in the database is
//! looked at as well.

use std::collections::BTreeMap;
use std::time::Duration;

use dockhost_projections::backends::Backends;
use dockhost_projections::instances::Instances;
use dockhost_projections::model::ReadModel;
use dockhost_projections::sessions::Sessions;
use dockhost_projections::store::MongoStore;
use dockhost_projections::users::Users;
use futures::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Where the leader says how far a model is: `dockhost.projected.<model>`, the sequence as text.
const SUBJECT: &str = "dockhost.projected";
/// How often a waiter looks at the checkpoint itself.
const LOOK: Duration = Duration::from_millis(200);

/// How far the read models are.
pub struct Positions {
    store: MongoStore,
    known: BTreeMap<&'static str, watch::Sender<u64>>,
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
        Self { store, known: MODELS.iter().map(|(model, _)| (*model, watch::channel(0).0)).collect() }
    }

    /// How far a model is known to be.
    pub fn of(&self, model: &str) -> u64 {
        self.known.get(model).map_or(0, |known| *known.borrow())
    }

    /// Looks at the checkpoints themselves. What can't be read now stays as it is known.
    pub async fn refresh(&self) {
        tokio::join!(self.look::<Users>(), self.look::<Backends>(), self.look::<Instances>(), self.look::<Sessions>());
    }

    async fn look<M: ReadModel>(&self) {
        if let Ok(Some(checkpoint)) = self.store.checkpoint::<M>().await {
            self.note(M::NAME, checkpoint.sequence);
        }
    }

    /// Takes the leader's word. Never goes back.
    pub fn note(&self, model: &str, sequence: u64) {
        if let Some(known) = self.known.get(model) {
            known.send_if_modified(|known| {
                let news = sequence > *known;
                *known = sequence.max(*known);
                news
            });
        }
    }

    /// Tells all replicas, this one included.
    pub async fn announce(&self, client: &async_nats::Client, model: &str, sequence: u64) {
        self.note(model, sequence);
        // Lost word costs a waiter one look at the checkpoint.
        let _ = client.publish(format!("{SUBJECT}.{model}"), sequence.to_string().into()).await;
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
        let mut messages = client.subscribe(format!("{SUBJECT}.*")).await?;
        while let Some(Some(message)) = cancel.run_until_cancelled(messages.next()).await {
            let model = message.subject.rsplit('.').next().unwrap_or_default();
            let sequence = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok());
            if let Some(sequence) = sequence {
                self.note(model, sequence);
            }
        }
        Ok(())
    }

    /// Waits until a model holds a sequence; `false` if it doesn't within the bound.
    pub async fn reached<M: ReadModel>(&self, sequence: u64, within: Duration) -> bool {
        let Some(known) = self.known.get(M::NAME) else { return false };
        let mut word = known.subscribe();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that nobody answers for: only the leader's word counts.
    async fn positions() -> Positions {
        crate::install_crypto();
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
