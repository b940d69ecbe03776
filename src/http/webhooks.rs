//! What the endpoints of webhooks share.

use std::sync::Arc;

use dockhost_domain::aggregate::Command;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::{UserId, WebhookId};
use dockhost_domain::webhook::{
    AddWebhook, EventFilter, NoSuchWebhook, TooManyWebhooks, Webhook as State, WebhookUrl, Webhooks,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::extract::Repeatable;
use super::response::error::from_execute;
use super::response::{ApiError, Code, Reply};
use super::views::{Webhook, WebhookWithDeliveries};
use crate::auth::shares::Shares;
use crate::common::clock;
use crate::execute::Executed;
use crate::webhooks::progress::ProgressStore;
use crate::webhooks::sender::Sender;
use crate::webhooks::signature;

/// Test deliveries of one user at once.
const MAX_TESTS: usize = 1;

/// What the endpoints of webhooks work with.
pub struct WebhookAccess {
    /// Makes test deliveries.
    pub sender: Arc<Sender>,
    /// How far deliveries are.
    pub progress: Arc<dyn ProgressStore>,
    /// Who makes test deliveries.
    pub tests: Shares<UserId>,
}

/// A webhook and its secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookWithSecret {
    webhook: Webhook,
    /// What deliveries are signed with. It is not shown again.
    signing_secret: String,
}

impl WebhookAccess {
    /// With this sender and these checkpoints.
    pub fn new(sender: Arc<Sender>, progress: Arc<dyn ProgressStore>) -> Self {
        Self { sender, progress, tests: Shares::new(MAX_TESTS) }
    }

    /// Refuses a URL that can never be called.
    ///
    /// # Errors
    /// `validation_failed`.
    pub fn check(&self, url: &WebhookUrl) -> Result<(), ApiError> {
        self.sender.refusal(url).map_or(Ok(()), |problem| Err(ApiError::invalid_field("url", problem)))
    }
}

/// There is none, or it is somebody else's.
pub fn not_found() -> ApiError {
    ApiError::not_found("webhook")
}

/// The id in a path.
///
/// # Errors
/// `not_found`.
pub fn id_of(text: &str) -> Result<WebhookId, ApiError> {
    text.parse().map_err(|_| not_found())
}

/// Registers a webhook of a user: for what concerns them, or for the events of everybody that a filter selects.
///
/// # Errors
/// `validation_failed`, `too_many_webhooks`, those of a command.
pub async fn create(
    app: &App,
    key: &Repeatable,
    actor: Actor,
    user_id: UserId,
    url: WebhookUrl,
    filter: Option<EventFilter>,
) -> Result<Reply<WebhookWithSecret>, ApiError> {
    app.webhooks.check(&url)?;
    let (webhook_id, signing_secret) = (WebhookId::from_uuid(clock::fresh_uuid()), signature::generate());
    let after = app.follower.position();
    let add = AddWebhook { webhook_id, url, signing_secret, filter, after };
    let origin = key.origin_of_new(app, actor, webhook_id.uuid());
    let done = app.executor.execute(user_id, origin, add).await.map_err(|error| {
        from_execute(error, |rejection: TooManyWebhooks| ApiError::new(Code::TooManyWebhooks, rejection.to_string()))
    })?;
    let data = with_secret(done.created(webhook_id, WebhookId::from_uuid), &done)?;
    Ok(Reply::created("the webhook is registered", data).position(app.position(done.current.sequence)))
}

/// A webhook after a command, and the secret that it has now: a repeated request may come after another rotation.
///
/// # Errors
/// `not_found` if the request is repeated after the webhook was removed.
pub fn with_secret(id: WebhookId, done: &Executed<Webhooks>) -> Result<WebhookWithSecret, ApiError> {
    let webhook = done.current.state.get(id).ok_or_else(not_found)?;
    let signing_secret = webhook.signing_secret.plain().ok_or_else(not_found)?.expose().to_owned();
    Ok(WebhookWithSecret { webhook: Webhook::new(id, webhook), signing_secret })
}

/// A webhook after a command.
///
/// # Errors
/// `not_found` if the request is repeated after the webhook was removed.
pub fn after_command(id: WebhookId, done: &Executed<Webhooks>) -> Result<Webhook, ApiError> {
    let webhook = done.current.state.get(id).ok_or_else(not_found)?;
    Ok(Webhook::new(id, webhook))
}

/// Executes a command on a webhook of its user.
///
/// # Errors
/// `not_found`, those of a command.
pub async fn execute<C>(app: &App, user_id: UserId, origin: Origin, command: C) -> Result<Executed<Webhooks>, ApiError>
where
    C: Command<Aggregate = Webhooks, Rejection = NoSuchWebhook> + 'static,
{
    let done = app.executor.execute(user_id, origin, command).await;
    done.map_err(|error| from_execute(error, |NoSuchWebhook| not_found()))
}

/// These webhooks, with how far their deliveries are.
///
/// # Errors
/// `database_unavailable`.
pub async fn with_deliveries(
    app: &App,
    webhooks: Vec<(WebhookId, &State)>,
) -> Result<Vec<WebhookWithDeliveries>, ApiError> {
    let ids = webhooks.iter().map(|(id, _)| *id).collect();
    let progress = app.webhooks.progress.progress(ids).await.map_err(|error| ApiError::database(&error))?;
    let view = |(id, webhook)| WebhookWithDeliveries::new(app, id, webhook, progress.get(&id));
    Ok(webhooks.into_iter().map(view).collect())
}
