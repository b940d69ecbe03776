//! `POST /api/v2/user/webhooks/{webhookId}/secret`: gives a webhook another secret.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::webhook::RotateSecret;

use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentUser, Path, Repeatable};
use crate::http::response::documented::{CALLER_OF_COMMAND, COMMAND, REPEATABLE, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::webhooks::{self, WebhookWithSecret};
use crate::webhooks::signature;

/// How long deliveries are signed with the secret before as well.
const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);

error_responses!(RotateWebhookSecretErrors: CALLER_OF_COMMAND, COMMAND, REPEATABLE, &[Code::NotFound]);

/// Replace a webhook's secret
///
/// For 24 hours, deliveries are signed with the new secret and with the one before: time to give the receiver the new one. Do
/// it twice to end the one before at once.
#[utoipa::path(
    post,
    path = "/api/v2/user/webhooks/{webhookId}/secret",
    operation_id = "rotateWebhookSecret",
    tag = "Webhooks",
    security(("userToken" = []), ("userCookie" = [])),
    params(("webhookId" = Uuid, Path, description = "The webhook's id."), Repeatable),
    responses(
        (status = 200, description = "The new secret.", body = Success<WebhookWithSecret>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the change in the log."),
        )),
        RotateWebhookSecretErrors,
    ),
)]
pub async fn post(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Path(webhook): Path<String>,
    key: Repeatable,
) -> Result<Reply<WebhookWithSecret>, ApiError> {
    let (webhook_id, signing_secret) = (webhooks::id_of(&webhook)?, signature::generate());
    let former_until = clock::now().after(OVERLAP);
    let rotate = RotateSecret { webhook_id, signing_secret, former_until };
    let done = webhooks::execute(&app, user_id, key.origin(&app, Actor::User(user_id)), rotate).await?;
    let data = webhooks::with_secret(webhook_id, &done)?;
    Ok(Reply::ok("the webhook has a new secret", data).position(app.position(done.current.sequence)))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use serde_json::json;

    use crate::http::testing::{Answer, TestApp};

    #[tokio::test]
    async fn secret_of_a_repeated_request_is_the_one_that_signs_now() {
        let app = TestApp::new().await;
        let ada = app.user("ada").await;
        let post = |path: &str, key: &str| {
            let body = if path.ends_with("/secret") { json!({}) } else { json!({ "url": "https://example.org/hook" }) };
            app.post(path, body).token(&ada.token).header("idempotency-key", key).send()
        };
        let path = "/api/v2/user/webhooks";
        let created = post(path, "create").await;
        assert_eq!(created.status, 201, "{created:?}");
        let one = format!("{path}/{}", created.data()["webhook"]["id"].as_str().unwrap());
        let secret = format!("{one}/secret");
        let (first, second) = (post(&secret, "1").await, post(&secret, "2").await);
        let of = |answer: &Answer| answer.data()["signingSecret"].clone();
        assert!(of(&created) != of(&first) && of(&first) != of(&second), "{first:?} {second:?}");
        let events = app.log.events().len();
        for (path, key) in [(path, "create"), (&*secret, "1"), (&*secret, "2")] {
            let again = post(path, key).await;
            assert_eq!((of(&again), &again.data()["webhook"]), (of(&second), &second.data()["webhook"]), "{key}");
        }
        assert_eq!(app.log.events().len(), events);

        assert_eq!(app.request(Method::DELETE, &one).token(&ada.token).send().await.status, 200);
        for (path, key) in [(path, "create"), (&*secret, "2")] {
            assert_eq!(post(path, key).await.error(), (404, "not_found"), "{key}");
        }
    }
}
