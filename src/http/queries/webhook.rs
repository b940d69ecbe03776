//! `GET /api/v2/user/webhooks/{webhookId}`: one of the caller's webhooks.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::webhook::Webhooks;

use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentUser, Path};
use crate::http::response::documented::{CALLER, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::WebhookWithDeliveries;
use crate::http::webhooks;

error_responses!(WebhookErrors: CALLER, &[Code::NotFound, Code::DatabaseUnavailable]);

/// Get a webhook
///
/// One of yours, also one that you registered as an administrator, with how far its deliveries are; without its secret.
#[utoipa::path(
    get,
    path = "/api/v2/user/webhooks/{webhookId}",
    operation_id = "getWebhook",
    tag = "Webhooks",
    security(("userToken" = []), ("userCookie" = [])),
    params(("webhookId" = Uuid, Path, description = "The webhook's id.")),
    responses(
        (status = 200, description = "The webhook.", body = Success<WebhookWithDeliveries>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        WebhookErrors,
    ),
)]
pub async fn get(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Path(webhook): Path<String>,
) -> Result<Reply<WebhookWithDeliveries>, ApiError> {
    let id = webhooks::id_of(&webhook)?;
    let all = app.executor.confirmed::<Webhooks>(user_id).await?;
    let webhook = all.state.get(id).ok_or_else(webhooks::not_found)?;
    let shown = webhooks::with_deliveries(&app, vec![(id, webhook)]).await?.into_iter().next();
    let shown = shown.ok_or_else(webhooks::not_found)?;
    Ok(Reply::ok("your webhook", shown).position(app.position(all.sequence)))
}

#[cfg(test)]
mod tests {
    use dockhost_domain::webhook::Webhooks;
    use dockhost_projections::store::{DeliveryAttempt, Failing, WebhookProgress};
    use serde_json::{Value, json};

    use crate::common::clock;
    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn webhook_that_fails_shows_why_and_when_it_is_tried_again() {
        let app = TestApp::new().await;
        let ada = app.user("ada").await;
        let id = app.webhook(ada.id).await;
        let now = clock::now();
        let beginning = app.app.executor.state::<Webhooks>(ada.id).await.unwrap().state.get(id).unwrap().beginning;
        let error = "the receiver answered with status 500".to_owned();
        let attempt = DeliveryAttempt {
            at: now,
            sequence: 8,
            message_id: "eight".to_owned(),
            millis: 12,
            status: Some(500),
            error: Some(error.clone()),
        };
        let progress = WebhookProgress {
            log: "test".to_owned(),
            began_with: beginning.event,
            position: 7,
            delivered_at: None,
            failing: Some(Failing { since: now, attempts: 3, next_attempt: now, error: error.clone() }),
            attempts: vec![attempt],
        };
        app.store.put_webhook_progress(id, progress);
        let path = format!("/api/v2/user/webhooks/{id}");
        let shown = app.get(&path).token(&ada.token).send().await;
        let failing = json!({ "since": now, "attempts": 3, "nextAttemptAt": now, "error": error });
        assert_eq!((&shown.data()["status"], &shown.data()["failing"]), (&json!("failing"), &failing), "{shown:?}");
        assert_eq!(shown.data()["position"], app.app.position(7));
        let deliveries = app.get(&format!("{path}/deliveries")).token(&ada.token).send().await;
        let delivery = &deliveries.data()[0];
        assert_eq!((&delivery["messageId"], &delivery["status"]), (&json!("eight"), &json!(500)), "{deliveries:?}");

        // Begun again: nothing is known of that yet.
        let resumed = app.post(&format!("{path}/resume?from={}", app.app.position(1)), json!({})).token(&ada.token);
        assert_eq!(resumed.send().await.status, 200);
        let shown = app.get(&path).token(&ada.token).send().await;
        assert_eq!((&shown.data()["status"], &shown.data()["position"]), (&json!("active"), &Value::Null), "{shown:?}");
    }
}
