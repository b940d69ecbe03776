//! `POST /api/v2/user/webhooks/{webhookId}/resume`: goes on with deliveries, from where they stopped or from another position.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::webhook::ResumeWebhook;
use serde::Deserialize;

use crate::http::admin::list;
use crate::http::app::App;
use crate::http::consistency::{LogPosition, sequence_of};
use crate::http::extract::{CurrentUser, Path, Query, Repeatable};
use crate::http::response::documented::{CALLER_OF_COMMAND, COMMAND, REPEATABLE, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::Webhook;
use crate::http::webhooks;

/// Where to go on.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ResumeParameters {
    /// Everything after this position is sent, again if it was sent before: the `id` of a message, or the
    /// `Dockhost-Position` of an answer. Without it, deliveries go on where they stopped.
    #[param(pattern = r"^\S+\.[0-9]+$")]
    from: Option<String>,
}

error_responses!(
    ResumeWebhookErrors: CALLER_OF_COMMAND, COMMAND, REPEATABLE, &[Code::ValidationFailed, Code::NotFound]
);

/// Resume a webhook
///
/// A webhook that was disabled goes on. With `from`, one that is not disabled goes on from there.
#[utoipa::path(
    post,
    path = "/api/v2/user/webhooks/{webhookId}/resume",
    operation_id = "resumeWebhook",
    tag = "Webhooks",
    security(("userToken" = []), ("userCookie" = [])),
    params(("webhookId" = Uuid, Path, description = "The webhook's id."), ResumeParameters, Repeatable),
    responses(
        (status = 200, description = "The webhook as it is now.", body = Success<Webhook>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        ResumeWebhookErrors,
    ),
)]
pub async fn post(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Path(webhook): Path<String>,
    key: Repeatable,
    Query(ResumeParameters { from }): Query<ResumeParameters>,
) -> Result<Reply<Webhook>, ApiError> {
    let webhook_id = webhooks::id_of(&webhook)?;
    let position = |from: &str| {
        sequence_of(&app, from).map_err(|_| list::invalid("from", "is not a position in this log".to_owned()))
    };
    let after = from.as_deref().map(position).transpose()?;
    let origin = key.origin(&app, Actor::User(user_id));
    let done = webhooks::execute(&app, user_id, origin, ResumeWebhook { webhook_id, after }).await?;
    let data = webhooks::after_command(webhook_id, &done)?;
    Ok(Reply::ok("the webhook goes on", data).position(app.position(done.current.sequence)))
}

#[cfg(test)]
mod tests {
    use dockhost_domain::envelope::{Actor, Origin};
    use dockhost_domain::webhook::{DisableWebhook, DisabledReason, Webhooks};
    use serde_json::{Value, json};

    use crate::http::testing::TestApp;
    use crate::http::webhooks::id_of;

    #[tokio::test]
    async fn webhook_that_was_disabled_goes_on_once_it_is_resumed() {
        let app = TestApp::new().await;
        let ada = app.user("ada").await;
        let created = app.post("/api/v2/user/webhooks", json!({ "url": "https://example.org" })).token(&ada.token);
        let created = created.send().await;
        let path = format!("/api/v2/user/webhooks/{}", created.data()["webhook"]["id"].as_str().unwrap());
        let webhook_id = id_of(path.rsplit('/').next().unwrap()).unwrap();
        let webhooks = app.app.executor.state::<Webhooks>(ada.id).await.unwrap();
        let began_with = webhooks.state.get(webhook_id).unwrap().beginning.event;
        let disable = DisableWebhook { webhook_id, began_with, reason: DisabledReason::Gone };
        let origin = Origin::new(Actor::System, "test");
        app.app.executor.execute(ada.id, origin, disable).await.unwrap();
        let shown = app.get(&path).token(&ada.token).send().await;
        assert_eq!((&shown.data()["status"], &shown.data()["disabledReason"]), (&json!("disabled"), &json!("gone")));
        for from in ["", "7", "another-log.7"] {
            let refused = app.post(&format!("{path}/resume?from={from}"), json!({})).token(&ada.token).send().await;
            assert_eq!(refused.error(), (422, "validation_failed"), "{from}");
        }
        let resumed = app.post(&format!("{path}/resume"), json!({})).token(&ada.token).send().await;
        assert_eq!((resumed.status, &resumed.data()["disabledReason"]), (200, &Value::Null), "{resumed:?}");
        let from = app.app.position(3);
        let resumed = app.post(&format!("{path}/resume?from={from}"), json!({})).token(&ada.token).send().await;
        assert_eq!(resumed.status, 200, "{resumed:?}");
        let webhooks = app.app.executor.state::<Webhooks>(ada.id).await.unwrap();
        assert_eq!(webhooks.state.get(webhook_id).unwrap().beginning.after, 3);
    }
}
