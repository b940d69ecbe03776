//! `POST /api/v2/admin/webhooks`: registers a webhook for the events of everybody.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::webhook::{EventFilter, EventType, WebhookUrl};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, Repeatable};
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, COMMAND, REPEATABLE, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::webhooks::{self, WebhookWithSecret};

/// Where deliveries go, and which events are sent: all, or those that each given member selects.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "url": "https://example.org/hooks/dockhost", "type": "instance.failed" })))]
pub struct AdminWebhookRequest {
    /// As in *Register a webhook*.
    #[garde(skip)]
    #[schema(value_type = String, pattern = r"^https?://[!-~]{1,2040}$")]
    url: WebhookUrl,
    /// Those about this user: account, sessions and instances.
    #[garde(skip)]
    #[schema(value_type = Option<Uuid>)]
    user: Option<UserId>,
    /// Those that name this backend, or that its agent caused.
    #[garde(skip)]
    #[schema(value_type = Option<Uuid>)]
    machine: Option<BackendId>,
    /// Those that change this instance.
    #[garde(skip)]
    #[schema(value_type = Option<Uuid>)]
    instance: Option<InstanceId>,
    /// Those of this type, or of all types that begin with it: `dockhost.instance.failed.v2`, `instance.failed`, `instance`.
    #[garde(skip)]
    #[schema(value_type = Option<String>, max_length = 64, pattern = r"^[a-z][a-z0-9.-]*$")]
    r#type: Option<EventType>,
}

error_responses!(
    CreateAdminWebhookErrors: ADMIN_OF_COMMAND, BODY, COMMAND, REPEATABLE, &[Code::NotFound, Code::TooManyWebhooks]
);

/// Register a webhook for all events
///
/// From now on, what `GET /api/v2/admin/events` tells is sent to the URL, as long as you are an administrator. The webhook is
/// yours: everything else about it is at `/api/v2/user/webhooks/{webhookId}`.
#[utoipa::path(
    post,
    path = "/api/v2/admin/webhooks",
    operation_id = "createAdminWebhook",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(Repeatable),
    request_body = AdminWebhookRequest,
    responses(
        (status = 201, description = "The webhook.", body = Success<WebhookWithSecret>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of its registration in the log."),
        )),
        CreateAdminWebhookErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { user_id }: CurrentAdmin,
    State(app): State<Arc<App>>,
    key: Repeatable,
    Body(AdminWebhookRequest { url, user, machine, instance, r#type: kind }): Body<AdminWebhookRequest>,
) -> Result<Reply<WebhookWithSecret>, ApiError> {
    let filter = EventFilter { user, machine, instance, kind };
    webhooks::create(&app, &key, Actor::Admin(user_id), user_id, url, Some(filter)).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn webhook_of_an_administrator_is_listed_apart_with_its_filter() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let body = json!({ "url": "https://example.org/hook", "type": "instance.failed", "user": boss.id });
        let created = app.post("/api/v2/admin/webhooks", body).token(&boss.token).send().await;
        assert_eq!(created.status, 201, "{created:?}");
        let filter = json!({ "user": boss.id, "machine": null, "instance": null, "type": "instance.failed" });
        assert_eq!(created.data()["webhook"]["filter"], filter);
        let own = app.get("/api/v2/user/webhooks").token(&boss.token).send().await;
        assert_eq!(own.data(), &json!([]));
        let all = app.get("/api/v2/admin/webhooks").token(&boss.token).send().await;
        assert_eq!(all.data()[0]["filter"], filter, "{all:?}");
        let other = app.admin("other").await;
        let all = app.get("/api/v2/admin/webhooks").token(&other.token).send().await;
        assert_eq!(all.data(), &json!([]), "those of the caller");
    }
}
