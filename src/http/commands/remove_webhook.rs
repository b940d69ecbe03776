//! `DELETE /api/v2/user/webhooks/{webhookId}`: removes a webhook.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::webhook::RemoveWebhook;

use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentUser, Path};
use crate::http::response::documented::{CALLER_OF_COMMAND, COMMAND, error_responses};
use crate::http::response::{ApiError, Code, Null, Reply, Success};
use crate::http::webhooks;

error_responses!(RemoveWebhookErrors: CALLER_OF_COMMAND, COMMAND, &[Code::NotFound]);

/// Remove a webhook
///
/// Nothing more is sent. What was not delivered is not sent by another webhook either.
#[utoipa::path(
    delete,
    path = "/api/v2/user/webhooks/{webhookId}",
    operation_id = "removeWebhook",
    tag = "Webhooks",
    security(("userToken" = []), ("userCookie" = [])),
    params(("webhookId" = Uuid, Path, description = "The webhook's id.")),
    responses(
        (status = 200, description = "The webhook is removed.", body = Success<Null>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the removal in the log."),
        )),
        RemoveWebhookErrors,
    ),
)]
pub async fn delete(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Path(webhook): Path<String>,
) -> Result<Reply<Null>, ApiError> {
    let webhook_id = webhooks::id_of(&webhook)?;
    let origin = app.origin(Actor::User(user_id));
    let done = webhooks::execute(&app, user_id, origin, RemoveWebhook { webhook_id }).await?;
    Ok(Reply::ok("the webhook is removed", Null).position(app.position(done.current.sequence)))
}
