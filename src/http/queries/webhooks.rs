//! `GET /api/v2/user/webhooks`: the caller's webhooks for what concerns them.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::Account;
use dockhost_domain::ids::{UserId, WebhookId};
use dockhost_domain::webhook::{Webhook, Webhooks};

use crate::http::admin::list::{self, ArrayPage};
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentUser, Query};
use crate::http::response::documented::{CALLER, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::WebhookWithDeliveries;
use crate::http::webhooks;

error_responses!(WebhooksErrors: CALLER, &[Code::ValidationFailed, Code::DatabaseUnavailable]);

/// List your webhooks
///
/// Those for what concerns you, the oldest first, with how far their deliveries are; without their secrets. If you are no
/// administrator any more, also those that you registered as one.
#[utoipa::path(
    get,
    path = "/api/v2/user/webhooks",
    operation_id = "listWebhooks",
    tag = "Webhooks",
    security(("userToken" = []), ("userCookie" = [])),
    params(ArrayPage),
    responses(
        (status = 200, description = "The webhooks.", body = Success<Vec<WebhookWithDeliveries>>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("Link" = String, description = "If there are more items: the next page, as `<?limit=…&cursor=…>; rel=\"next\"`."),
        )),
        WebhooksErrors,
    ),
)]
pub async fn get(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Query(page): Query<ArrayPage>,
) -> Result<Reply<Vec<WebhookWithDeliveries>>, ApiError> {
    let is_admin = app.executor.state::<Account>(user_id).await?.state.is_admin();
    list_of(&app, user_id, &page, |webhook| webhook.filter.is_none() || !is_admin).await
}

/// A page of a user's webhooks that are selected.
///
/// # Errors
/// `validation_failed`, `database_unavailable`, those of a state.
pub async fn list_of(
    app: &App,
    user_id: UserId,
    page: &ArrayPage,
    is_selected: impl Fn(&Webhook) -> bool,
) -> Result<Reply<Vec<WebhookWithDeliveries>>, ApiError> {
    let page = page.page::<WebhookId>()?;
    let current = app.executor.confirmed::<Webhooks>(user_id).await?;
    let all = current.state.iter().filter(|(_, webhook)| is_selected(webhook));
    let (shown, next) = list::part(page.as_ref(), all, |(id, _)| *id, |(id, _), after| id > after);
    let reply = Reply::ok("your webhooks", webhooks::with_deliveries(app, shown).await?);
    Ok(reply.next_page(page.as_ref(), next).position(app.position(current.sequence)))
}

#[cfg(test)]
mod tests {
    use dockhost_domain::ids::WebhookId;
    use dockhost_domain::webhook::{AddWebhook, EventFilter};
    use serde_json::json;

    use crate::common::clock;
    use crate::http::testing::{TestApp, origin};
    use crate::webhooks::signature;

    #[tokio::test]
    async fn webhook_of_a_former_administrator_is_listed_with_their_own() {
        let app = TestApp::new().await;
        let ada = app.user("ada").await;
        let webhook_id = WebhookId::from_uuid(clock::fresh_uuid());
        let url = "https://example.org/hook".parse().unwrap();
        let filter = Some(EventFilter::default());
        let add = AddWebhook { webhook_id, url, signing_secret: signature::generate(), filter, after: 0 };
        app.app.executor.execute(ada.id, origin(), add).await.unwrap();
        let listed = async || app.get("/api/v2/user/webhooks").token(&ada.token).send().await;
        assert_eq!(listed().await.data()[0]["id"], json!(webhook_id));
        app.make_admin(ada.id).await;
        assert_eq!(listed().await.data(), &json!([]));
    }
}
