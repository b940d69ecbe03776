//! A webhook, as its user sees it.

use dockhost_domain::ids::{BackendId, InstanceId, UserId, WebhookId};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::webhook::{self, DisabledReason, EventFilter};
use dockhost_projections::store::{DeliveryAttempt, Failing, WebhookProgress};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::app::App;

/// A webhook. Its secret is shown only when it is made.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    #[schema(value_type = Uuid)]
    id: WebhookId,
    url: String,
    /// Of an administrator's webhook for the events of everybody: which of them. Null of one for what concerns its user.
    #[schema(required)]
    filter: Option<WebhookFilter>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Why nothing is sent any more; null if something is.
    #[schema(required)]
    disabled_reason: Option<WebhookDisabledReason>,
    /// Until when deliveries are signed with the secret before as well; null if the secret was never replaced.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    former_secret_until: Option<Timestamp>,
}

/// Which events an administrator's webhook is sent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookFilter {
    #[schema(value_type = Option<Uuid>, required)]
    user: Option<UserId>,
    #[schema(value_type = Option<Uuid>, required)]
    machine: Option<BackendId>,
    #[schema(value_type = Option<Uuid>, required)]
    instance: Option<InstanceId>,
    #[schema(required)]
    r#type: Option<String>,
}

/// Why nothing is sent to a webhook any more: `failing` if every attempt failed for days, `gone` if the receiver answered 410.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WebhookDisabledReason {
    Failing,
    Gone,
}

/// How its deliveries are: `active`; `failing` while attempts fail; `disabled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WebhookStatus {
    Active,
    Failing,
    Disabled,
}

/// A webhook, and how far its deliveries are.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookWithDeliveries {
    #[serde(flatten)]
    webhook: Webhook,
    status: WebhookStatus,
    /// Everything up to this position is delivered; null before the first look at the log.
    #[schema(required)]
    position: Option<String>,
    /// When the receiver took the last one.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    delivered_at: Option<Timestamp>,
    /// What fails, while attempts fail.
    #[schema(required)]
    failing: Option<WebhookFailure>,
}

/// What fails.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookFailure {
    /// When the first attempt failed.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Attempts that failed since then.
    attempts: u32,
    /// When the next one is made.
    #[schema(value_type = String, format = DateTime)]
    next_attempt_at: Timestamp,
    /// Why the last one failed.
    error: String,
}

/// An attempt to deliver.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The header `webhook-id`, the same at each attempt.
    message_id: String,
    /// The position of the event.
    position: String,
    /// The status that the receiver answered.
    #[schema(required)]
    status: Option<u16>,
    /// How long it took, in milliseconds.
    millis: u64,
    /// Why it failed; null if the receiver took it.
    #[schema(required)]
    error: Option<String>,
}

impl From<DisabledReason> for WebhookDisabledReason {
    fn from(reason: DisabledReason) -> Self {
        match reason {
            DisabledReason::Failing => Self::Failing,
            DisabledReason::Gone => Self::Gone,
        }
    }
}

impl From<&EventFilter> for WebhookFilter {
    fn from(EventFilter { user, machine, instance, kind }: &EventFilter) -> Self {
        Self { user: *user, machine: *machine, instance: *instance, r#type: kind.as_ref().map(ToString::to_string) }
    }
}

impl From<&Failing> for WebhookFailure {
    fn from(Failing { since, attempts, next_attempt, error }: &Failing) -> Self {
        Self { since: *since, attempts: *attempts, next_attempt_at: *next_attempt, error: error.clone() }
    }
}

impl Webhook {
    /// The webhook.
    pub fn new(id: WebhookId, webhook: &webhook::Webhook) -> Self {
        Self {
            id,
            url: webhook.url.plain().map(ToString::to_string).unwrap_or_default(),
            filter: webhook.filter.as_ref().map(Into::into),
            created_at: webhook.created_at,
            disabled_reason: webhook.disabled.map(Into::into),
            former_secret_until: webhook.former.as_ref().map(|former| former.until),
        }
    }
}

impl WebhookWithDeliveries {
    /// The webhook, and how far it is, if that is known.
    pub fn new(app: &App, id: WebhookId, webhook: &webhook::Webhook, progress: Option<&WebhookProgress>) -> Self {
        // Of other deliveries: it was begun again, and no leader has looked yet.
        let progress = progress.filter(|progress| progress.began_with == webhook.beginning.event);
        let failing = progress.and_then(|progress| progress.failing.as_ref());
        let failing = failing.filter(|_| webhook.disabled.is_none());
        let status = match (webhook.disabled, failing) {
            (Some(_), _) => WebhookStatus::Disabled,
            (None, Some(_)) => WebhookStatus::Failing,
            (None, None) => WebhookStatus::Active,
        };
        Self {
            webhook: Webhook::new(id, webhook),
            status,
            position: progress.map(|progress| app.position(progress.position)),
            delivered_at: progress.and_then(|progress| progress.delivered_at),
            failing: failing.map(Into::into),
        }
    }
}

impl DeliveryView {
    /// The attempt.
    pub fn new(app: &App, attempt: DeliveryAttempt) -> Self {
        let DeliveryAttempt { at, sequence, message_id, millis, status, error } = attempt;
        Self { at, message_id, position: app.position(sequence), status, millis, error }
    }
}
