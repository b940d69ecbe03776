//! The deliveries of one webhook.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dockhost_domain::account::Account;
use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::{UserId, WebhookId};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::webhook::{DisableWebhook, DisabledReason, SigningSecret, Webhook, WebhookUrl};
use dockhost_projections::store::DeliveryAttempt;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Shared;
use super::checkpoint::Checkpoint;
use super::slots::Behaviour;
use crate::common::clock;
use crate::common::error::Cause;
use crate::event_log::{Filter, LogError};
use crate::webhooks::backoff::{self, AfterFailure, after_failure};
use crate::webhooks::beginning::{self, Log};
use crate::webhooks::sender::{Delivery, Failure, Outcome};
use crate::webhooks::source::{Batch, Outgoing};
use crate::webhooks::window::Window;

/// The longest wait during which messages are kept: they occupy memory, and the people whom they are about may be erased meanwhile.
const MAX_KEPT: Duration = Duration::from_secs(60);

/// The task of a webhook.
pub struct Deliveries {
    /// What all tasks share.
    pub shared: Arc<Shared>,
    /// Whose webhook it is.
    pub owner: UserId,
    /// The webhook.
    pub id: WebhookId,
    /// The same, as the log says.
    pub webhook: Webhook,
    /// Whether the log has just changed it: then the next attempt is made at once.
    pub is_changed: AtomicBool,
}

/// Whether a user may be told of what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permission {
    Granted,
    /// The account is disabled, or its user no administrator any more: it may come back.
    Suspended,
    /// The user was erased.
    Erased,
}

/// An attempt that has ended.
struct Attempted {
    message: Outgoing,
    began: Timestamp,
    outcome: Outcome,
}

impl Deliveries {
    /// Delivers until the user is erased.
    ///
    /// # Errors
    /// [`Superseded`](super::checkpoint::Superseded), or what it needs can't be reached.
    pub async fn run(&self) -> Result<(), Cause> {
        while self.permission_once(|now| now != Permission::Suspended).await? == Permission::Granted {
            tokio::select! {
                delivered = self.deliver() => return delivered,
                changed = self.permission_once(|now| now != Permission::Granted) => {
                    changed?;
                }
            }
            self.shared.note_oldest(self.id, None);
        }
        // The user was erased.
        Ok(self.shared.store.remove_webhook_progress(&[self.id]).await?)
    }

    /// The user's permission, as soon as it is as wanted.
    async fn permission_once(&self, is_wanted: impl Fn(Permission) -> bool) -> Result<Permission, LogError> {
        let watcher = self.shared.follower.watch(Account::subject(self.owner));
        let check = || async {
            let account = self.shared.executor.state::<Account>(self.owner).await?.state;
            let now = permission(&account, self.webhook.filter.is_some());
            Ok::<_, LogError>(is_wanted(now).then_some(now))
        };
        watcher.wait_for(check).await
    }

    /// Delivers for ever, unless something fails or the webhook is disabled.
    async fn deliver(&self) -> Result<(), Cause> {
        let url = self.webhook.url.plain().filter(|_| self.webhook.disabled.is_none());
        let Some(url) = url else { return pending().await };
        let mut checkpoint = self.take_over().await?;
        let mut window = Window::after(checkpoint.progress.position);
        let mut reading = None;
        let mut attempts = FuturesUnordered::new();
        loop {
            let wait = checkpoint.progress.failing.as_ref().map(|failing| failing.next_attempt.since(clock::now()));
            if let Some(wait) = wait
                && wait > MAX_KEPT
                && attempts.is_empty()
            {
                reading = None;
                window.release();
                sleep(wait).await;
                continue;
            }
            let batches = reading.get_or_insert_with(|| self.read(window.position()));
            if wait.is_none_or(|wait| wait.is_zero()) {
                let last_took = checkpoint.progress.attempts.first().map(|last| Duration::from_millis(last.millis));
                let behaviour = Behaviour::of(wait.is_some(), last_took);
                while let Some(message) = window.next(wait.is_some()) {
                    attempts.push(self.attempt(url, message, behaviour));
                }
            }
            let disabled = tokio::select! {
                Some(attempted) = attempts.next(), if !attempts.is_empty() => {
                    let mut disabled = self.settle(&mut checkpoint, &mut window, attempted);
                    while let Some(Some(attempted)) = attempts.next().now_or_never() {
                        disabled = self.settle(&mut checkpoint, &mut window, attempted).or(disabled);
                    }
                    checkpoint.save().await?;
                    disabled
                }
                batch = batches.recv(), if window.has_room() => {
                    let batch: Batch = batch.ok_or("nothing reads the messages of a webhook any more")?;
                    window.add(batch);
                    checkpoint.progress.position = window.position();
                    checkpoint.save_quiet().await?;
                    None
                }
                () = sleep(wait.unwrap_or_default()), if wait.is_some_and(|wait| !wait.is_zero()) => None,
            };
            self.shared.note_oldest(self.id, window.oldest().and_then(|oldest| oldest.happened_at));
            if let Some(reason) = disabled {
                return self.disable(reason).await;
            }
        }
    }

    /// The messages after this position.
    fn read(&self, after: u64) -> mpsc::Receiver<Batch> {
        self.shared.ports.source.read(self.owner, self.webhook.filter.clone(), after)
    }

    async fn take_over(&self) -> Result<Checkpoint, Cause> {
        let Shared { store, log, known_since, .. } = &*self.shared;
        let stored = store.webhook_progress(&[self.id]).await?.remove(&self.id);
        let (version, stored) = stored.unzip();
        let (incarnation, end) = (log.incarnation().to_string(), log.end(Filter::All).await?);
        let log = Log { incarnation: &incarnation, end, known_since: *known_since };
        let mut progress = beginning::progress(&self.webhook.beginning, stored.as_ref(), log);
        let is_changed = self.is_changed.swap(false, Ordering::Relaxed);
        let at_start = |failing| backoff::at_start(failing, is_changed, clock::now(), rand::random());
        progress.failing = progress.failing.map(at_start);
        Checkpoint::take_over(store.clone(), self.id, version, progress).await
    }

    async fn attempt(&self, url: &WebhookUrl, message: Outgoing, behaviour: Behaviour) -> Attempted {
        let _slot = self.shared.slots.take(behaviour).await;
        let began = clock::now();
        let secrets: Vec<SigningSecret> = self.webhook.secrets(began).cloned().collect();
        let delivery =
            Delivery { url, secrets: &secrets, message_id: &message.message_id, time: began, body: &message.body };
        let outcome = self.shared.ports.sender.send(delivery).await;
        Attempted { message, began, outcome }
    }

    /// Records what became of an attempt; returns why the webhook is to be disabled, if it is.
    fn settle(&self, checkpoint: &mut Checkpoint, window: &mut Window, attempted: Attempted) -> Option<DisabledReason> {
        let Attempted { message, began, outcome } = attempted;
        let now = clock::now();
        let error = outcome.result.err();
        self.shared.metrics.webhooks.record_delivery(error.map_or("delivered", Failure::as_str));
        checkpoint.note(DeliveryAttempt {
            at: began,
            sequence: message.sequence,
            message_id: message.message_id,
            millis: outcome.millis(),
            status: outcome.status(),
            error: outcome.error(),
        });
        let Some(failure) = error else {
            let is_oldest = window.oldest().is_some_and(|oldest| oldest.sequence == message.sequence);
            window.delivered(message.sequence);
            let progress = &mut checkpoint.progress;
            (progress.position, progress.delivered_at) = (window.position(), Some(now));
            // A receiver that takes others, but not the oldest one, fails.
            if is_oldest {
                progress.failing = None;
            }
            return None;
        };
        window.failed(message.sequence);
        let before = checkpoint.progress.failing.as_ref();
        // It was on its way when another one failed: that is one failure of the receiver.
        if before.is_some_and(|before| began < before.next_attempt) {
            return None;
        }
        match after_failure(before, failure, now, rand::random(), self.shared.ports.give_up_after) {
            AfterFailure::Retry(failing) => {
                tracing::debug!(webhook = %self.id, attempts = failing.attempts, error = failing.error, "delivery failed");
                checkpoint.progress.failing = Some(failing);
                None
            }
            AfterFailure::Disable(reason) => {
                // Once it is resumed, it has as long again.
                checkpoint.progress.failing = None;
                Some(reason)
            }
        }
    }

    /// Disables the webhook, and waits until the event of that ends this task.
    async fn disable(&self, reason: DisabledReason) -> Result<(), Cause> {
        let disable = DisableWebhook { webhook_id: self.id, began_with: self.webhook.beginning.event, reason };
        let origin = Origin::new(Actor::System, format!("webhook:{}", self.id));
        self.shared.executor.execute(self.owner, origin, disable).await?;
        tracing::info!(webhook = %self.id, ?reason, "webhook disabled");
        self.shared.note_oldest(self.id, None);
        pending().await
    }
}

fn permission(account: &Account, needs_admin: bool) -> Permission {
    match &account.profile {
        _ if account.erased => Permission::Erased,
        Some(profile) if profile.disabled.is_none() && (!needs_admin || account.is_admin()) => Permission::Granted,
        _ => Permission::Suspended,
    }
}
