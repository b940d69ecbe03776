//! `GET /api/v2/user/webhooks/{webhookId}/deliveries`: the last attempts to deliver.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::webhook::Webhooks;

use crate::http::app::App;
use crate::http::extract::{CurrentUser, Path};
use crate::http::response::documented::{CALLER, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::DeliveryView;
use crate::http::webhooks;

error_responses!(DeliveriesErrors: CALLER, &[Code::NotFound, Code::DatabaseUnavailable]);

/// List a webhook's last deliveries
///
/// The last 20 attempts, the newest first, also those that failed. Test messages are not among them.
#[utoipa::path(
    get,
    path = "/api/v2/user/webhooks/{webhookId}/deliveries",
    operation_id = "listWebhookDeliveries",
    tag = "Webhooks",
    security(("userToken" = []), ("userCookie" = [])),
    params(("webhookId" = Uuid, Path, description = "The webhook's id.")),
    responses((status = 200, description = "The attempts.", body = Success<Vec<DeliveryView>>), DeliveriesErrors),
)]
pub async fn get(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Path(webhook): Path<String>,
) -> Result<Reply<Vec<DeliveryView>>, ApiError> {
    let id = webhooks::id_of(&webhook)?;
    let all = app.executor.confirmed::<Webhooks>(user_id).await?.state;
    all.get(id).ok_or_else(webhooks::not_found)?;
    let progress = app.webhooks.progress.progress(vec![id]).await.map_err(|error| ApiError::database(&error))?;
    let attempts = progress.into_values().flat_map(|progress| progress.attempts);
    Ok(Reply::ok("the last deliveries", attempts.map(|attempt| DeliveryView::new(&app, attempt)).collect()))
}
