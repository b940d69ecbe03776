//! `POST /api/v2/admin/backends/{backendId}/drain`: cordons a backend and stops what runs on it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use dockhost_domain::backend::StartDrain;
use dockhost_domain::envelope::Actor;
use serde::Deserialize;
use utoipa::ToSchema;

use super::change_backend::change;
use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, Path, Repeatable};
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, COMMAND, REPEATABLE, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::Backend;

const DEFAULT_WITHIN: u32 = 60 * 60;

/// How to drain a backend.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "withinSeconds": 600, "retire": false })))]
pub struct DrainRequest {
    /// After this time the drain ends with what has not stopped; the default is an hour.
    #[garde(range(min = 10, max = 604_800))]
    #[schema(minimum = 10, maximum = 604_800, default = 3600)]
    within_seconds: Option<u32>,
    /// Whether to remove the backend afterwards, as soon as it has no instances, also stopped ones.
    #[garde(skip)]
    #[schema(default = false)]
    retire: Option<bool>,
}

error_responses!(DrainErrors: ADMIN_OF_COMMAND, BODY, COMMAND, REPEATABLE, &[Code::NotFound]);

/// Drain a backend
///
/// It is cordoned, and its instances are stopped; their owners read why, and can delete them, but not resume them until the
/// drain is undone. While a drain is under way, a repeated request changes nothing, except that it can add `retire`. The body
/// may be absent.
#[utoipa::path(
    post,
    path = "/api/v2/admin/backends/{backendId}/drain",
    operation_id = "drainBackend",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("backendId" = Uuid, Path, description = "The backend's id."), Repeatable),
    request_body = Option<DrainRequest>,
    responses(
        (status = 200, description = "The backend is being drained.", body = Success<Backend>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        DrainErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(backend): Path<String>,
    key: Repeatable,
    Body(DrainRequest { within_seconds, retire }): Body<DrainRequest>,
) -> Result<Reply<Backend>, ApiError> {
    let within = Duration::from_secs(within_seconds.unwrap_or(DEFAULT_WITHIN).into());
    let command = StartDrain { deadline: clock::now().after(within), retire: retire.unwrap_or_default() };
    change(&app, key.origin(&app, Actor::Admin(admin)), &backend, command, "the backend is being drained").await
}

#[cfg(test)]
mod tests {
    use dockhost_domain::backend::EndDrain;
    use dockhost_domain::timestamp::Timestamp;
    use dockhost_domain::wire::{Phase, ReportKind};
    use serde_json::{Value, json};

    use crate::http::testing::{TestApp, observation};

    #[tokio::test]
    async fn drain_and_undrain_are_repeatable_and_show_in_the_backend() {
        let app = TestApp::new().await;
        let (boss, backend) = (app.admin("boss").await, app.connected_backend("lab-1", 5).await);
        let post = |what: &str, body: Value| {
            let path = format!("/api/v2/admin/backends/{}/{what}", backend.id);
            app.post(&path, body).token(&boss.token).send()
        };
        assert_eq!(post("drain", json!({ "withinSeconds": 9 })).await.error(), (422, "validation_failed"));
        let first = post("drain", json!({ "withinSeconds": 60 })).await;
        let drain = &first.data()["drain"];
        assert_eq!((first.status, &first.data()["cordoned"], &drain["retire"]), (200, &json!(true), &json!(false)));
        let events = app.log.events().len();
        assert_eq!(&post("drain", json!({})).await.data()["drain"], drain, "a repeated one changes nothing");
        assert_eq!(app.log.events().len(), events);
        assert_eq!(post("drain", json!({ "retire": true })).await.data()["drain"]["retire"], true);
        for _ in 0..2 {
            let undone = post("undrain", json!({})).await;
            let shown = (&undone.data()["drain"], &undone.data()["cordoned"]);
            assert_eq!((undone.status, shown), (200, (&Value::Null, &json!(false))), "{undone:?}");
        }
    }

    #[tokio::test]
    async fn drained_backend_gets_no_instances_and_none_of_its_instances_is_resumed() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        let backend = app.connected_backend("lab-1", 5).await;
        let instance = app.running_instance(&ada, "web").await;
        let change = |what: &str| {
            let put = app.put(&format!("/api/v2/user/instance/{what}"), json!({ "instanceId": "web" }));
            put.token(&ada.token).header("prefer", "respond-async").send()
        };
        assert_eq!(change("stop").await.status, 202);
        app.report(ada.id, instance, ReportKind::InstanceStatus(observation(Phase::Stopped))).await;
        let path = format!("/api/v2/admin/backends/{}/drain", backend.id);
        assert_eq!(app.post(&path, json!({})).token(&boss.token).send().await.status, 200);
        app.app.follower.wait_until_applied(app.log.events().len() as u64).await;
        assert_eq!(change("resume").await.error(), (409, "backend_draining"));
        let create = app.post("/api/v2/user/instance", json!({ "name": "db" })).token(&ada.token).send().await;
        assert_eq!(create.details()["reasons"], json!({ "cordoned": 1 }), "{create:?}");
        let undrain = format!("/api/v2/admin/backends/{}/undrain", backend.id);
        assert_eq!(app.post(&undrain, json!({})).token(&boss.token).send().await.status, 200);
        app.app.follower.wait_until_applied(app.log.events().len() as u64).await;
        assert_eq!(change("resume").await.status, 202);
    }

    #[tokio::test]
    async fn get_drain_says_what_is_left_and_what_has_stopped() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        let backend = app.connected_backend("lab-1", 5).await;
        let path = format!("/api/v2/admin/backends/{}/drain", backend.id);
        let get = || app.get(&path).token(&boss.token).send();
        assert_eq!(get().await.error(), (404, "not_found"));
        let web = app.running_instance(&ada, "web").await;
        assert_eq!(app.post(&path, json!({})).token(&boss.token).send().await.status, 200);
        let progress = |answer: &Value| ["left", "stopped", "stayed"].map(|count| answer[count].clone());
        let before = get().await;
        assert_eq!((before.status, &before.data()["status"]), (200, &json!("draining")), "{before:?}");
        assert_eq!(progress(before.data()), [json!(1), json!(0), json!(0)]);
        let expected = json!([{ "instanceId": web, "userId": ada.id, "state": "running", "reason": null }]);
        assert_eq!(before.data()["instances"], expected);
        let stop = app.put("/api/v2/user/instance/stop", json!({ "instanceId": "web" }));
        stop.token(&ada.token).header("prefer", "respond-async").send().await;
        app.report(ada.id, web, ReportKind::InstanceStatus(observation(Phase::Stopped))).await;
        let started: Timestamp = serde_json::from_value(before.data()["startedAt"].clone()).unwrap();
        app.execute(backend.id, EndDrain { started_at: started, left: 0 }).await;
        let after = get().await;
        assert_eq!((&after.data()["status"], &after.data()["instances"]), (&json!("ended"), &json!([])), "{after:?}");
        assert_eq!(progress(after.data()), [json!(0), json!(1), json!(0)]);
    }
}
