//! The webhooks of a user: URLs to which the leader sends what happens, signed with a secret of each.
//!
//! The log has what a webhook is. How far its deliveries are is not here, but in a checkpoint of its own: an event for each
//! delivery would be delivered in turn. A checkpoint belongs to one [`Beginning`], which the event sets that begins the
//! deliveries, or begins them again from another position.

mod decide;
mod event_type;
mod url;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Meta};
use crate::event::Event;
use crate::ids::{BackendId, EventId, InstanceId, UserId, WebhookId};
use crate::personal::Personal;
use crate::subject::AggregateId;
use crate::timestamp::Timestamp;

pub use decide::{
    AddWebhook, ChangeWebhook, DisableWebhook, MAX_WEBHOOKS, NoSuchWebhook, RemoveWebhook, ResumeWebhook, RotateSecret,
    TooManyWebhooks,
};
pub use event_type::{EventType, InvalidEventType};
pub use url::{InvalidUrl, WebhookUrl};

/// The events of a user's webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum WebhooksEvent {
    /// The user registered a webhook.
    #[serde(rename = "dockhost.webhook.added.v1")]
    Added(Added),
    /// It has another URL.
    #[serde(rename = "dockhost.webhook.changed.v1")]
    Changed(Changed),
    /// It has another secret; the one before stays valid for a while.
    #[serde(rename = "dockhost.webhook.secret-rotated.v1")]
    SecretRotated(SecretRotated),
    /// Its deliveries go on, from where they stopped or from another position.
    #[serde(rename = "dockhost.webhook.resumed.v1")]
    Resumed(Resumed),
    /// Its deliveries stopped, because the receiver does not take them.
    #[serde(rename = "dockhost.webhook.disabled.v1")]
    Disabled(Disabled),
    /// The user removed it.
    #[serde(rename = "dockhost.webhook.removed.v1")]
    Removed(Removed),
}

/// The user registered a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Added {
    /// The new webhook.
    pub webhook_id: WebhookId,
    /// Where deliveries go.
    pub url: Personal<WebhookUrl>,
    /// What they are signed with.
    pub signing_secret: Personal<SigningSecret>,
    /// Of an administrator's webhook for the events of everybody: which of them. Without it, what concerns its user is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<EventFilter>,
    /// The log's sequence after which deliveries begin.
    pub after: u64,
}

/// It has another URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// Where deliveries go from now on.
    pub url: Personal<WebhookUrl>,
}

/// It has another secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRotated {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// What deliveries are signed with from now on.
    pub signing_secret: Personal<SigningSecret>,
    /// Until when they are signed with the one before as well.
    pub former_until: Timestamp,
}

/// Its deliveries go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resumed {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// The log's sequence after which they go on; none for where they stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// Its deliveries stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disabled {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// Why.
    pub reason: DisabledReason,
}

/// The user removed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// The webhook.
    pub webhook_id: WebhookId,
}

/// Why the deliveries of a webhook stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DisabledReason {
    /// Every attempt failed for days.
    Failing,
    /// The receiver answered 410: it does not want any more.
    Gone,
}

/// Which events an administrator's webhook is sent; each member narrows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventFilter {
    /// About this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// That name this backend, or that its agent caused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<BackendId>,
    /// That change this instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// Of this type, or of a type that begins with it.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<EventType>,
}

/// What deliveries are signed with: `whsec_` and a key in base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SigningSecret(String);

impl SigningSecret {
    /// Wraps the text of a secret.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[SECRET]")
    }
}

/// Where the deliveries of a webhook begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Beginning {
    /// The event that says so.
    pub event: EventId,
    /// The log's sequence after which they begin.
    pub after: u64,
}

/// A secret that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FormerSecret {
    /// The secret.
    pub signing_secret: Personal<SigningSecret>,
    /// Until when deliveries are signed with it as well.
    pub until: Timestamp,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Where deliveries go.
    pub url: Personal<WebhookUrl>,
    /// What they are signed with.
    pub signing_secret: Personal<SigningSecret>,
    /// What they were signed with before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<FormerSecret>,
    /// Which events of everybody; none for what concerns its user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<EventFilter>,
    /// Where deliveries begin.
    pub beginning: Beginning,
    /// Why they stopped, if they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<DisabledReason>,
    /// When it was registered.
    pub created_at: Timestamp,
}

impl Webhook {
    /// The secrets that deliveries are signed with at this time, the current one first. None of them once they are erased.
    pub fn secrets(&self, now: Timestamp) -> impl Iterator<Item = &SigningSecret> {
        let former = self.former.as_ref().filter(|former| now < former.until);
        self.signing_secret.plain().into_iter().chain(former.and_then(|former| former.signing_secret.plain()))
    }
}

/// The webhooks of one user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhooks {
    all: BTreeMap<WebhookId, Webhook>,
}

impl Webhooks {
    /// All of them, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (WebhookId, &Webhook)> {
        self.all.iter().map(|(id, webhook)| (*id, webhook))
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: WebhookId) -> Option<&Webhook> {
        self.all.get(&id)
    }
}

impl Aggregate for Webhooks {
    type Id = UserId;
    type Event = WebhooksEvent;

    const FOLD_DIGESTS: &'static [&'static str] = &["9851f09422aaf3fb1d05816b6a6d2840af832fa1fdc916c4fa5120adf5dc7eaf"];

    fn subject(id: UserId) -> AggregateId {
        AggregateId::Webhooks(id)
    }

    fn event(event: &Event) -> Option<&WebhooksEvent> {
        if let Event::Webhooks(event) = event { Some(event) } else { None }
    }

    fn evolve(&mut self, event: &WebhooksEvent, meta: &Meta) {
        match event {
            WebhooksEvent::Added(Added { webhook_id, url, signing_secret, filter, after }) => {
                let webhook = Webhook {
                    url: url.clone(),
                    signing_secret: signing_secret.clone(),
                    former: None,
                    filter: filter.clone(),
                    beginning: Beginning { event: meta.id, after: *after },
                    disabled: None,
                    created_at: meta.time,
                };
                self.all.insert(*webhook_id, webhook);
            }
            WebhooksEvent::Changed(Changed { webhook_id, url }) => {
                if let Some(webhook) = self.all.get_mut(webhook_id) {
                    webhook.url = url.clone();
                }
            }
            WebhooksEvent::SecretRotated(SecretRotated { webhook_id, signing_secret, former_until }) => {
                if let Some(webhook) = self.all.get_mut(webhook_id) {
                    let former = std::mem::replace(&mut webhook.signing_secret, signing_secret.clone());
                    webhook.former = Some(FormerSecret { signing_secret: former, until: *former_until });
                }
            }
            WebhooksEvent::Resumed(Resumed { webhook_id, after }) => {
                if let Some(webhook) = self.all.get_mut(webhook_id) {
                    webhook.disabled = None;
                    if let Some(after) = after {
                        webhook.beginning = Beginning { event: meta.id, after: *after };
                    }
                }
            }
            WebhooksEvent::Disabled(Disabled { webhook_id, reason }) => {
                if let Some(webhook) = self.all.get_mut(webhook_id) {
                    webhook.disabled = Some(*reason);
                }
            }
            WebhooksEvent::Removed(Removed { webhook_id }) => {
                self.all.remove(webhook_id);
            }
        }
    }
}
