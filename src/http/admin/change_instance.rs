//! `PATCH /api/v2/admin/instances/{id}`: changes the name and the settings of an instance of anyone.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::InstanceId;
use dockhost_domain::minutes::Minutes;
use dockhost_domain::names::InstanceName;
use dockhost_domain::reported::ShortText;
use dockhost_domain::tenancy::{AdministerSettings, ChangeSettings, Tenancy};
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::instances::Instances;
use serde::Deserialize;
use utoipa::ToSchema;

use super::administer::owner;
use crate::common::clock;
use crate::http::app::App;
use crate::http::commands::change_instance::rejected;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, IfMatch, IfNoneMatch, Path, given};
use crate::http::group_of::limits_of;
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, COMMAND, ON_VERSION, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::version::{OnVersion, Version};
use crate::http::views::{Instance, OnLost};

/// What to change, as a JSON merge patch: what is absent stays as it is.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "expiresAt": "2099-07-15T18:00:00Z", "reason": "The course goes on." })))]
pub struct ChangeAnyInstanceRequest {
    /// Unique among its owner's instances; neither `stop` nor `resume` nor a UUID.
    #[garde(skip)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 63, pattern = "^[a-z][a-z0-9-]*$")]
    name: Option<InstanceName>,
    /// What happens if its backend is lost or drained; null for `wait`.
    #[serde(default, deserialize_with = "given")]
    #[garde(skip)]
    #[schema(value_type = Option<OnLost>)]
    on_lost: Option<Option<OnLost>>,
    /// When it is stopped, in the future; null for never. The group of its owner may end it earlier.
    #[serde(default, deserialize_with = "given")]
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<Timestamp>>,
    /// After how many minutes without an SSH connection it is stopped; null for never. A change begins the count anew.
    #[serde(default, deserialize_with = "given")]
    #[garde(skip)]
    #[schema(value_type = Option<u32>, minimum = 5, maximum = 527_040)]
    autostop_minutes: Option<Option<Minutes>>,
    /// What the owner is told.
    #[garde(skip)]
    #[schema(
        value_type = Option<String>,
        max_length = 256,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]*$"
    )]
    reason: Option<ShortText>,
}

error_responses!(
    ChangeAnyInstanceErrors: ADMIN_OF_COMMAND, BODY, COMMAND, ON_VERSION,
    &[Code::NotFound, Code::InstanceDeleting, Code::NameTaken, Code::DatabaseUnavailable]
);

/// Change anyone's instance
///
/// As its owner can, with a reason that the owner sees in `administrator` until the desired state changes. It is not restarted.
#[utoipa::path(
    patch,
    path = "/api/v2/admin/instances/{id}",
    operation_id = "changeAnyInstance",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("id" = Uuid, Path, description = "The instance's id."), IfMatch),
    request_body = Option<ChangeAnyInstanceRequest>,
    responses(
        (status = 200, description = "The instance as it is now.", body = Success<Instance>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the change in the log."),
            ("ETag" = String, description = "For `If-Match` and `If-None-Match`."),
        )),
        ChangeAnyInstanceErrors,
    ),
)]
pub async fn patch(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    if_match: IfMatch,
    Body(request): Body<ChangeAnyInstanceRequest>,
) -> Result<Reply<Instance>, ApiError> {
    let not_found = || ApiError::not_found("instance");
    let instance_id: InstanceId = id.parse().map_err(|_| not_found())?;
    let owner = owner(&app, instance_id).await?;
    let ChangeAnyInstanceRequest { name, on_lost, expires_at, autostop_minutes: autostop, reason } = request;
    let on_lost = on_lost.map(|on_lost| on_lost.unwrap_or_default().into());
    let change = ChangeSettings { instance_id, name, on_lost, expires_at, autostop, now: clock::now() };
    let reason = reason.map(String::from).filter(|reason| !reason.is_empty());
    let version = move |state: &Tenancy| state.instance(instance_id).map(Version::of);
    let command = OnVersion { if_match, version, command: AdministerSettings { change, reason } };
    let done = app
        .executor
        .execute(owner, app.origin(Actor::Admin(admin)), command)
        .await
        .map_err(|error| from_execute(error, |refused| refused.answer(rejected)))?;
    app.wait_until_projected::<Instances>(done.current.sequence).await;
    let instance = done.current.state.instance(instance_id).ok_or_else(not_found)?;
    let view = Instance::new(&app, owner, instance_id, instance, limits_of(&app, owner).await?);
    let reply = Reply::ok("the instance is changed", view).version(Version::of(instance), IfNoneMatch::default());
    Ok(reply.position(app.position(done.current.sequence)))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use dockhost_domain::envelope::Actor;
    use serde_json::{Value, json};

    use crate::http::testing::{Answer, TestApp};

    async fn patch(app: &TestApp, token: &str, id: &str, body: Value) -> Answer {
        let path = format!("/api/v2/admin/instances/{id}");
        app.request(Method::PATCH, &path).json(body).token(token).send().await
    }

    #[tokio::test]
    async fn instance_of_another_is_changed_with_the_reason_shown_to_its_owner() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        let id = app.running_instance(&ada, "web").await.to_string();
        let db = app.running_instance(&ada, "db").await.to_string();
        let end = "2099-07-15T18:00:00.000Z";
        let body = json!({ "name": "shop", "expiresAt": end, "autostopMinutes": 60, "onLost": "recreate", "reason": "as you asked" });
        let changed = patch(&app, &boss.token, &id, body).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_eq!(app.log.events().last().unwrap().envelope.origin.actor, Actor::Admin(boss.id));
        let shown = app.get("/api/v2/user/instance/shop").token(&ada.token).send().await.data().clone();
        let members = ["name", "expiresAt", "autostopMinutes", "onLost"].map(|member| shown[member].clone());
        assert_eq!(members, [json!("shop"), json!(end), json!(60), json!("recreate")]);
        let note = &shown["administrator"];
        assert_eq!((&note["wanted"], &note["reason"]), (&json!("running"), &json!("as you asked")));
        let history = app.get("/api/v2/user/instance/shop/history").token(&ada.token).send().await;
        let last = history.data()["items"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(last["actor"]["kind"], "admin", "{history:?}");

        let events = app.log.events().len();
        assert_eq!(patch(&app, &boss.token, &id, json!({ "reason": "nothing else" })).await.status, 200);
        assert_eq!(patch(&app, &boss.token, &db, json!({ "name": "shop" })).await.error(), (409, "name_taken"));
        let past = json!({ "expiresAt": "2001-01-01T00:00:00Z" });
        assert_eq!(patch(&app, &boss.token, &id, past).await.error(), (422, "validation_failed"));
        assert_eq!(app.log.events().len(), events);
    }

    #[tokio::test]
    async fn instance_unknown_to_administrators_is_not_changed() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        for id in ["web", "0193b3a0-0000-7000-8000-000000000001"] {
            assert_eq!(
                patch(&app, &boss.token, id, json!({ "name": "shop" })).await.error(),
                (404, "not_found"),
                "{id}"
            );
        }
    }
}
