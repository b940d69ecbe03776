//! Delivers what happens to webhooks.
//!
//! The role follows the events of all webhooks, and runs one task for each ([`delivery`]); that of a disabled one only waits for the
//! erasure of its user. Each has its own position, window and waits, so that a receiver that is slow or away delays no other
//! ([`slots`]), and is started again on its own ([`restarts`]). A new leader goes on from the stored checkpoints ([`checkpoint`]).

mod checkpoint;
mod delivery;
mod restarts;
mod slots;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dockhost_domain::ids::{UserId, WebhookId};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::webhook::{Webhook, Webhooks};
use dockhost_projections::store::MongoStore;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::common::clock;
use crate::common::error::Cause;
use crate::common::log_throttle::LogThrottle;
use crate::event_log::{Delivery as LogDelivery, EventLog, Filter, LogError};
use crate::execute::Executor;
use crate::metrics::Metrics;
use crate::replica::follower::Follower;
use crate::webhooks::sender::Sender;
use crate::webhooks::source::MessageSource;
use checkpoint::Superseded;
use delivery::Deliveries;
use restarts::run_again;
use slots::SendSlots;

/// How often the age of the oldest message that waits is measured.
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);

/// What the role needs from the layers above, and its settings.
#[derive(Clone)]
pub struct WebhookPorts {
    /// Reads what is sent.
    pub source: Arc<dyn MessageSource>,
    /// Sends it.
    pub sender: Arc<Sender>,
    /// A webhook whose attempts all fail for this long is disabled.
    pub give_up_after: Duration,
}

/// The role.
pub struct DeliverWebhooks {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// Reads the webhooks, and disables them.
    pub executor: Arc<Executor>,
    /// Knows when an event has been applied.
    pub follower: Arc<Follower>,
    /// The checkpoints.
    pub store: MongoStore,
    /// Counts deliveries.
    pub metrics: Arc<Metrics>,
    /// What is sent, and how.
    pub ports: WebhookPorts,
}

/// What the tasks share.
struct Shared {
    executor: Arc<Executor>,
    follower: Arc<Follower>,
    store: MongoStore,
    metrics: Arc<Metrics>,
    ports: WebhookPorts,
    slots: SendSlots,
    log: Arc<dyn EventLog>,
    /// Since which sequence of the log there are checkpoints.
    known_since: u64,
    /// Since when the oldest message of each webhook waits, of those that have one.
    waiting: Mutex<BTreeMap<WebhookId, Timestamp>>,
    /// Limits what is logged about tasks that fail.
    lines: LogThrottle,
}

impl Shared {
    /// Notes since when the oldest message of a webhook waits.
    fn note_oldest(&self, id: WebhookId, since: Option<Timestamp>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match since {
            Some(since) => waiting.insert(id, since),
            None => waiting.remove(&id),
        };
    }

    fn measure(&self) {
        let oldest = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).values().min().copied();
        let waits = oldest.map_or(Duration::ZERO, |since| clock::now().since(since));
        self.metrics.webhooks.set_oldest(waits);
    }
}

/// Once this server does not lead any more, another one measures.
impl Drop for Shared {
    fn drop(&mut self) {
        self.metrics.webhooks.set_oldest(Duration::ZERO);
    }
}

/// The task of one webhook.
struct Running {
    owner: UserId,
    webhook: Webhook,
    cancel: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Running {
    /// Ends the task. Afterwards it sends and stores nothing.
    async fn stop(self) {
        self.cancel.cancel();
        // It fails if the task panicked, which the task has reported.
        let _ = self.task.await;
    }
}

/// The tasks of all webhooks.
struct Tasks {
    shared: Arc<Shared>,
    running: BTreeMap<WebhookId, Running>,
    superseded: mpsc::Sender<Superseded>,
}

impl DeliverWebhooks {
    /// Runs until cancelled.
    ///
    /// # Errors
    /// When the broker or the database can't be reached, or another leader has taken over.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Cause> {
        let end = self.log.end(Filter::All).await?;
        self.store.limit_webhook_progress(&self.log.incarnation().to_string(), end).await?;
        let known_since = self.store.begin_webhook_progress(end).await?;
        // Before the log is read, which then has each of these webhooks, or its removal.
        let mut known = self.store.webhooks_with_progress().await?;
        let mut events = self.log.follow(0, Filter::Kind("webhooks"));
        let shared = Arc::new(Shared {
            executor: self.executor,
            follower: self.follower,
            store: self.store,
            metrics: self.metrics,
            ports: self.ports,
            slots: SendSlots::default(),
            log: self.log,
            known_since,
            waiting: Mutex::default(),
            lines: LogThrottle::per_minute(),
        });
        let (superseded, mut ends) = mpsc::channel(1);
        let mut tasks = Tasks { shared: Arc::clone(&shared), running: BTreeMap::new(), superseded };
        let (mut changed, mut last, mut is_caught_up): (BTreeSet<UserId>, _, _) = (BTreeSet::new(), 0, false);
        let mut measures = interval(MEASURE_INTERVAL);
        measures.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                Some(superseded) = ends.recv() => return Err(superseded.into()),
                _ = measures.tick() => shared.measure(),
                delivery = events.next() => match delivery {
                    Some(LogDelivery::Event(recorded)) => {
                        if let AggregateId::Webhooks(owner) = recorded.envelope.aggregate {
                            changed.insert(owner);
                            last = recorded.sequence;
                        }
                    }
                    Some(LogDelivery::CaughtUp) => {
                        shared.follower.wait_until_applied(last).await;
                        tasks.remove_others(std::mem::take(&mut known), &changed).await?;
                        is_caught_up = true;
                    }
                    // Its user has webhooks, of which it is not known how they are.
                    Some(LogDelivery::Unreadable { sequence, subject, .. }) => {
                        if let Ok(AggregateId::Webhooks(owner)) = subject.parse() {
                            changed.insert(owner);
                            last = sequence;
                        }
                    }
                    Some(LogDelivery::Barrier(_) | LogDelivery::Idle) => {}
                    None => return Err("the log can't be followed".into()),
                },
            }
            if is_caught_up && !changed.is_empty() {
                shared.follower.wait_until_applied(last).await;
                for owner in std::mem::take(&mut changed) {
                    tasks.update(owner).await?;
                }
            }
        }
    }
}

impl Tasks {
    /// Removes the checkpoints of those webhooks that nobody has any more: they were removed while no server led.
    async fn remove_others(&self, known: Vec<WebhookId>, owners: &BTreeSet<UserId>) -> Result<(), Cause> {
        let mut existing = BTreeSet::new();
        for owner in owners {
            match self.shared.executor.state::<Webhooks>(*owner).await {
                Ok(webhooks) => existing.extend(webhooks.state.iter().map(|(id, _)| id)),
                // It is not known which webhooks it has.
                Err(LogError::Frozen { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        let removed: Vec<_> = known.into_iter().filter(|id| !existing.contains(id)).collect();
        Ok(self.shared.store.remove_webhook_progress(&removed).await?)
    }

    /// Starts, restarts and ends the tasks of a user's webhooks, so that each is as the log says.
    async fn update(&mut self, owner: UserId) -> Result<(), Cause> {
        let webhooks = match self.shared.executor.state::<Webhooks>(owner).await {
            Ok(webhooks) => webhooks.state,
            Err(LogError::Frozen { .. }) => {
                tracing::warn!(%owner, "the webhooks of this user have an event that can't be read; they are not changed");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let is_outdated = |id: WebhookId, running: &Running| {
            running.owner == owner && webhooks.get(id).is_none_or(|webhook| *webhook != running.webhook)
        };
        let outdated: Vec<_> = self.running.extract_if(.., |id, running| is_outdated(*id, running)).collect();
        let mut changed = BTreeSet::new();
        for (id, running) in outdated {
            running.stop().await;
            self.shared.note_oldest(id, None);
            if webhooks.get(id).is_some() {
                changed.insert(id);
            } else {
                self.shared.store.remove_webhook_progress(&[id]).await?;
            }
        }
        for (id, webhook) in webhooks.iter() {
            if !self.running.contains_key(&id) {
                self.start(owner, id, webhook.clone(), changed.contains(&id));
            }
        }
        Ok(())
    }

    fn start(&mut self, owner: UserId, id: WebhookId, webhook: Webhook, is_changed: bool) {
        let (cancel, superseded) = (CancellationToken::new(), self.superseded.clone());
        let (shared, is_changed) = (Arc::clone(&self.shared), AtomicBool::new(is_changed));
        let deliveries = Deliveries { shared, owner, id, webhook: webhook.clone(), is_changed };
        let cancelled = cancel.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let run = run_again(id, &deliveries.shared.lines, || deliveries.run());
            if let Some(Err(error)) = cancelled.run_until_cancelled(run).await {
                // The role ends at the first one.
                let _ = superseded.send(error).await;
            }
        }));
        self.running.insert(id, Running { owner, webhook, cancel, task });
    }
}
