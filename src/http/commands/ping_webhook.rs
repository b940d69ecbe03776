//! `POST /api/v2/user/webhooks/{webhookId}/ping`: sends a test message.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use dockhost_domain::webhook::{SigningSecret, Webhooks};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::common::clock;
use crate::http::app::App;
use crate::http::extract::{CurrentUser, Path};
use crate::http::response::documented::{CALLER_OF_COMMAND, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::webhooks;
use crate::webhooks::sender::Delivery;

/// What became of the test message.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ping {
    /// The header `webhook-id`.
    message_id: String,
    /// The status that the receiver answered.
    #[schema(required)]
    status: Option<u16>,
    /// How long it took, in milliseconds.
    millis: u64,
    /// Why it failed; null if the receiver took it.
    #[schema(required)]
    error: Option<String>,
}

const RETRY_AFTER: Duration = Duration::from_secs(1);

error_responses!(PingWebhookErrors: CALLER_OF_COMMAND, &[Code::NotFound]);

/// Test a webhook
///
/// Sends a message `ping` to the URL, signed as any other, and answers when the receiver has answered, after 10 seconds at the
/// latest. It is sent to a disabled webhook as well, and enables none.
#[utoipa::path(
    post,
    path = "/api/v2/user/webhooks/{webhookId}/ping",
    operation_id = "pingWebhook",
    tag = "Webhooks",
    security(("userToken" = []), ("userCookie" = [])),
    params(("webhookId" = Uuid, Path, description = "The webhook's id.")),
    responses((status = 200, description = "What became of it.", body = Success<Ping>), PingWebhookErrors),
)]
pub async fn post(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Path(webhook): Path<String>,
) -> Result<Reply<Ping>, ApiError> {
    let webhook_id = webhooks::id_of(&webhook)?;
    let all = app.executor.confirmed::<Webhooks>(user_id).await?.state;
    let webhook = all.get(webhook_id).ok_or_else(webhooks::not_found)?;
    let url = webhook.url.plain().ok_or_else(webhooks::not_found)?;
    let _place = app.webhooks.tests.wait(user_id).await.ok_or_else(|| {
        let message = "another test message of yours is still on its way; wait for its answer";
        ApiError::new(Code::RateLimited, message).retry_after(RETRY_AFTER)
    })?;
    let (now, message_id) = (clock::now(), clock::fresh_uuid().to_string());
    let secrets: Vec<SigningSecret> = webhook.secrets(now).cloned().collect();
    let body = json!({ "event": "ping", "data": { "webhookId": webhook_id } }).to_string();
    let delivery = Delivery { url, secrets: &secrets, message_id: &message_id, time: now, body: body.as_bytes() };
    let outcome = app.webhooks.sender.send(delivery).await;
    let ping = Ping { status: outcome.status(), millis: outcome.millis(), error: outcome.error(), message_id };
    Ok(Reply::ok("the test message was sent, or could not be", ping))
}
