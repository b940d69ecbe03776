//! `PATCH /api/v2/user/webhooks/{webhookId}`: sends deliveries to another URL.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::webhook::{ChangeWebhook, WebhookUrl};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentUser, Path};
use crate::http::response::documented::{BODY, CALLER_OF_COMMAND, COMMAND, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::Webhook;
use crate::http::webhooks;

/// What to change.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "url": "https://example.org/hooks/second" })))]
pub struct ChangeWebhookRequest {
    /// As in the request that registers a webhook.
    #[garde(skip)]
    #[schema(value_type = String, pattern = r"^https?://[!-~]{1,2040}$")]
    url: WebhookUrl,
}

error_responses!(ChangeWebhookErrors: CALLER_OF_COMMAND, BODY, COMMAND, &[Code::NotFound]);

/// Change a webhook
///
/// Deliveries go to another URL, with the same secret, from where they are. If they failed, the next attempt is made at once.
#[utoipa::path(
    patch,
    path = "/api/v2/user/webhooks/{webhookId}",
    operation_id = "changeWebhook",
    tag = "Webhooks",
    security(("userToken" = []), ("userCookie" = [])),
    params(("webhookId" = Uuid, Path, description = "The webhook's id.")),
    request_body = ChangeWebhookRequest,
    responses(
        (status = 200, description = "The webhook as it is now.", body = Success<Webhook>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        ChangeWebhookErrors,
    ),
)]
pub async fn patch(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Path(webhook): Path<String>,
    Body(ChangeWebhookRequest { url }): Body<ChangeWebhookRequest>,
) -> Result<Reply<Webhook>, ApiError> {
    let webhook_id = webhooks::id_of(&webhook)?;
    app.webhooks.check(&url)?;
    let origin = app.origin(Actor::User(user_id));
    let done = webhooks::execute(&app, user_id, origin, ChangeWebhook { webhook_id, url }).await?;
    let data = webhooks::after_command(webhook_id, &done)?;
    Ok(Reply::ok("the webhook is changed", data).position(app.position(done.current.sequence)))
}
