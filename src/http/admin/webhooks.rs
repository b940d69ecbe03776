//! `GET /api/v2/admin/webhooks`: the caller's webhooks for the events of everybody.

use std::sync::Arc;

use axum::extract::State;

use super::list::ArrayPage;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, Query};
use crate::http::queries::webhooks::list_of;
use crate::http::response::documented::{ADMIN, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::WebhookWithDeliveries;

error_responses!(AdminWebhooksErrors: ADMIN, &[Code::ValidationFailed, Code::DatabaseUnavailable]);

/// List your webhooks for all events
///
/// Those that you registered for the events of everybody, the oldest first, with how far their deliveries are.
#[utoipa::path(
    get,
    path = "/api/v2/admin/webhooks",
    operation_id = "listAdminWebhooks",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(ArrayPage),
    responses(
        (status = 200, description = "The webhooks.", body = Success<Vec<WebhookWithDeliveries>>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("Link" = String, description = "If there are more items: the next page, as `<?limit=…&cursor=…>; rel=\"next\"`."),
        )),
        AdminWebhooksErrors,
    ),
)]
pub async fn get(
    CurrentAdmin { user_id }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Query(page): Query<ArrayPage>,
) -> Result<Reply<Vec<WebhookWithDeliveries>>, ApiError> {
    list_of(&app, user_id, &page, |webhook| webhook.filter.is_some()).await
}
