//! `POST /api/v2/user/webhooks`: registers a webhook for what concerns the caller.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::webhook::WebhookUrl;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentUser, Repeatable};
use crate::http::response::documented::{BODY, CALLER_OF_COMMAND, COMMAND, REPEATABLE, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::webhooks::{self, WebhookWithSecret};

/// Where deliveries go.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "url": "https://example.org/hooks/dockhost" })))]
pub struct WebhookRequest {
    /// `https`, or `http` to a network that the operator allows; without user name, password and fragment.
    #[garde(skip)]
    #[schema(value_type = String, pattern = r"^https?://[!-~]{1,2040}$")]
    url: WebhookUrl,
}

impl WebhookRequest {
    /// The URL.
    pub fn into_url(self) -> WebhookUrl {
        self.url
    }
}

error_responses!(
    CreateWebhookErrors: CALLER_OF_COMMAND, BODY, COMMAND, REPEATABLE, &[Code::NotFound, Code::TooManyWebhooks]
);

/// Register a webhook
///
/// From now on, what `GET /api/v2/user/events` tells is sent to the URL, each message as one signed POST. `docs/API.md` in the
/// repository explains how to verify it.
#[utoipa::path(
    post,
    path = "/api/v2/user/webhooks",
    operation_id = "createWebhook",
    tag = "Webhooks",
    security(("userToken" = []), ("userCookie" = [])),
    params(Repeatable),
    request_body = WebhookRequest,
    responses(
        (status = 201, description = "The webhook.", body = Success<WebhookWithSecret>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of its registration in the log."),
        )),
        CreateWebhookErrors,
    ),
)]
pub async fn post(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    key: Repeatable,
    Body(request): Body<WebhookRequest>,
) -> Result<Reply<WebhookWithSecret>, ApiError> {
    webhooks::create(&app, &key, Actor::User(user_id), user_id, request.into_url(), None).await
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use dockhost_domain::webhook::MAX_WEBHOOKS;
    use serde_json::json;

    use crate::http::testing::{Answer, TestApp};

    const PATH: &str = "/api/v2/user/webhooks";

    async fn create(app: &TestApp, token: &str) -> Answer {
        app.post(PATH, json!({ "url": "https://example.org/hook" })).token(token).send().await
    }

    #[tokio::test]
    async fn webhook_secret_is_shown_once_and_to_nobody_else() {
        let app = TestApp::new().await;
        let (ada, eve, boss) = (app.user("ada").await, app.user("eve").await, app.admin("boss").await);
        let created = create(&app, &ada.token).await;
        assert_eq!(created.status, 201, "{created:?}");
        let secret = created.data()["signingSecret"].as_str().unwrap();
        assert!(secret.starts_with("whsec_"), "{secret}");
        let id = created.data()["webhook"]["id"].as_str().unwrap().to_owned();
        let listed = app.get(PATH).token(&ada.token).send().await;
        assert_eq!(listed.data()[0]["id"], *id);
        assert_eq!(listed.data()[0]["status"], "active");
        let one = app.get(&format!("{PATH}/{id}")).token(&ada.token).send().await;
        assert_eq!(one.data(), &listed.data()[0]);
        let export = app.get("/api/v2/user/me/export").token(&ada.token).send().await;
        assert!(export.data().to_string().contains("https://example.org/hook"), "{export:?}");
        app.settle().await;
        let audit = app.get("/api/v2/admin/audit?type=webhook").token(&boss.token).send().await;
        assert_eq!(audit.data()["items"].as_array().unwrap().len(), 1, "{audit:?}");
        assert!(!audit.data().to_string().contains("example.org/hook"), "{audit:?}");
        for shown in [listed, one, export, audit] {
            assert!(!format!("{shown:?}").contains(secret), "{shown:?}");
        }
        for (method, path) in [
            (Method::GET, format!("{PATH}/{id}")),
            (Method::GET, format!("{PATH}/{id}/deliveries")),
            (Method::POST, format!("{PATH}/{id}/ping")),
            (Method::POST, format!("{PATH}/{id}/resume")),
            (Method::POST, format!("{PATH}/{id}/secret")),
            (Method::DELETE, format!("{PATH}/{id}")),
        ] {
            let answer = app.request(method, &path).token(&eve.token).send().await;
            assert_eq!(answer.error(), (404, "not_found"), "{path}");
        }
    }

    #[tokio::test]
    async fn webhook_url_that_can_not_be_called_is_refused() {
        let app = TestApp::new().await;
        let ada = app.user("ada").await;
        for url in [
            "http://example.org/hook",
            "https://127.0.0.1/hook",
            "https://0x7f.1/hook",
            "https://[::ffff:10.0.0.1]/hook",
            "https://169.254.169.254/latest/meta-data",
            "https://ada:secret@example.org/",
            "https://exa mple.org/",
            "ftp://example.org/",
        ] {
            let answer = app.post(PATH, json!({ "url": url })).token(&ada.token).send().await;
            assert_eq!(answer.error(), (422, "validation_failed"), "{url}: {answer:?}");
            assert_eq!(answer.details()[0]["field"], "url", "{answer:?}");
        }
    }

    #[tokio::test]
    async fn webhooks_of_a_user_are_limited() {
        let app = TestApp::new().await;
        let ada = app.user("ada").await;
        for _ in 0..MAX_WEBHOOKS {
            assert_eq!(create(&app, &ada.token).await.status, 201);
        }
        assert_eq!(create(&app, &ada.token).await.error(), (409, "too_many_webhooks"));
        let first = app.get(PATH).token(&ada.token).send().await.data()[0]["id"].as_str().unwrap().to_owned();
        let removed = app.request(Method::DELETE, &format!("{PATH}/{first}")).token(&ada.token).send().await;
        assert_eq!(removed.status, 200, "{removed:?}");
        assert_eq!(create(&app, &ada.token).await.status, 201);
    }
}
