//! `PATCH /api/v2/user/instance/{instanceId}`: changes the name of an instance, what happens to it if its backend is lost, and
//! until when it may run. It is not restarted.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::aggregate::{Command as _, CommandClass};
use dockhost_domain::envelope::Actor;
use dockhost_domain::minutes::Minutes;
use dockhost_domain::names::InstanceName;
use dockhost_domain::tenancy::{ChangeSettings, SettingsRejected, Tenancy};
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::instances::Instances;
use serde::Deserialize;
use utoipa::ToSchema;

use super::create_instance::expires_in_the_past;
use super::named_instance::Named;
use super::own_instance;
use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, IfMatch, IfNoneMatch, InstanceUser, Path, given};
use crate::http::group_of::limits_of;
use crate::http::response::documented::{BODY, CALLER_OF_COMMAND, COMMAND, ON_VERSION, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::version::Version;
use crate::http::views::{Instance, OnLost};

/// What to change, as a JSON merge patch: what is absent stays as it is.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "name": "shop", "onLost": "recreate", "expiresAt": "2099-07-15T18:00:00Z" })))]
pub struct ChangeInstanceRequest {
    /// Unique among your instances; neither `stop` nor `resume` nor a UUID. The host name inside the container stays until the
    /// instance is created again on another backend.
    #[garde(skip)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 63, pattern = "^[a-z][a-z0-9-]*$")]
    name: Option<InstanceName>,
    /// What happens if its backend is lost or drained; null for `wait`.
    #[serde(default, deserialize_with = "given")]
    #[garde(skip)]
    #[schema(value_type = Option<OnLost>)]
    on_lost: Option<Option<OnLost>>,
    /// When it is stopped, in the future; null for never.
    #[serde(default, deserialize_with = "given")]
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<Timestamp>>,
    /// After how many minutes without an SSH connection it is stopped; null for never. A change begins the count anew.
    #[serde(default, deserialize_with = "given")]
    #[garde(skip)]
    #[schema(value_type = Option<u32>, minimum = 5, maximum = 527_040)]
    autostop_minutes: Option<Option<Minutes>>,
}

error_responses!(
    ChangeInstanceErrors: CALLER_OF_COMMAND, BODY, COMMAND, ON_VERSION,
    &[Code::NotFound, Code::MethodNotAllowed, Code::InstanceDeleting, Code::NameTaken]
);

/// The answer to a change that the domain rejects.
pub fn rejected(rejection: SettingsRejected) -> ApiError {
    match rejection {
        SettingsRejected::NotFound => ApiError::not_found("instance"),
        SettingsRejected::Deleting => ApiError::new(Code::InstanceDeleting, rejection.to_string()),
        SettingsRejected::ExpiresInThePast => expires_in_the_past(),
        SettingsRejected::NameTaken => ApiError::new(Code::NameTaken, rejection.to_string()),
    }
}

/// Change an instance
///
/// Its name, what happens if its backend is lost, and until when it may run. It is not restarted. With a later `expiresAt`, or none, an
/// instance that was stopped because its time to live was over can be resumed.
#[utoipa::path(
    patch,
    path = "/api/v2/user/instance/{instanceId}",
    operation_id = "changeInstance",
    tag = "Instances",
    security(("userToken" = []), ("userCookie" = [])),
    params(("instanceId" = String, Path, description = "The instance's id or its name."), IfMatch),
    request_body = Option<ChangeInstanceRequest>,
    responses(
        (status = 200, description = "The instance as it is now.", body = Success<Instance>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the change in the log."),
            ("ETag" = String, description = "For `If-Match` and `If-None-Match`."),
        )),
        ChangeInstanceErrors,
    ),
)]
pub async fn patch(
    InstanceUser { user_id }: InstanceUser,
    State(app): State<Arc<App>>,
    Path(id_or_name): Path<String>,
    if_match: IfMatch,
    Body(request): Body<ChangeInstanceRequest>,
) -> Result<Reply<Instance>, ApiError> {
    let ChangeInstanceRequest { name, on_lost, expires_at, autostop_minutes: autostop } = request;
    let on_lost = on_lost.map(|on_lost| on_lost.unwrap_or_default().into());
    let origin = app.origin(Actor::User(user_id));
    let decide = move |instance_id, state: &Tenancy| {
        let (name, now) = (name.clone(), clock::now());
        ChangeSettings { instance_id, name, on_lost, expires_at, autostop, now }.decide(state)
    };
    let instance = Named::by(&id_or_name)?;
    let (id, done) =
        own_instance::execute(&app.executor, user_id, origin, CommandClass::Growth, (instance, if_match), decide)
            .await
            .map_err(|error| from_execute(error, |refusal| refusal.answer(rejected)))?;
    app.wait_until_projected::<Instances>(done.current.sequence).await;
    let instance = done.current.state.instance(id).ok_or_else(|| ApiError::not_found("instance"))?;
    let view = Instance::new(&app, user_id, id, instance, limits_of(&app, user_id).await?);
    let reply = Reply::ok("the instance is changed", view).version(Version::of(instance), IfNoneMatch::default());
    Ok(reply.position(app.position(done.current.sequence)))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use dockhost_domain::envelope::Actor;
    use dockhost_domain::ids::UserId;
    use dockhost_domain::tenancy::ChangeSettings;
    use dockhost_domain::timestamp::Timestamp;
    use dockhost_domain::wire::{Phase, ReportKind};
    use serde_json::{Value, json};

    use crate::common::clock;
    use crate::http::testing::{Answer, Caller, TestApp, observation};

    const END: &str = "2099-07-15T18:00:00.000Z";

    async fn patch(app: &TestApp, by: &Caller<UserId>, instance: &str, body: Value) -> Answer {
        let path = format!("/api/v2/user/instance/{instance}");
        app.request(Method::PATCH, &path).json(body).token(&by.token).send().await
    }

    #[tokio::test]
    async fn instance_changed_keeps_the_rest_and_its_history_shows_each_change() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        let id = app.running_instance(&user, "web").await.to_string();
        let shown = |answer: &Answer| {
            let data = answer.data();
            (data["status"].clone(), data["onLost"].clone(), data["expiresAt"].clone(), data["stopsAt"].clone())
        };
        let changed = patch(&app, &user, "web", json!({ "expiresAt": END })).await;
        let moved_at = app.log.events().last().unwrap().envelope.meta.time;
        let stops_at = json!({ "at": END, "reason": "timeToLive", "movedBy": "changed", "movedAt": moved_at });
        assert_eq!(shown(&changed), (json!("running"), json!("wait"), json!(END), stops_at), "{changed:?}");
        assert_eq!(changed.data()["generation"], 1);
        let changed = patch(&app, &user, &id, json!({ "onLost": "recreate" })).await;
        assert_eq!((&changed.data()["onLost"], &changed.data()["expiresAt"]), (&json!("recreate"), &json!(END)));
        let changed = patch(&app, &user, "web", json!({ "onLost": null, "expiresAt": null })).await;
        assert_eq!(shown(&changed), (json!("running"), json!("wait"), Value::Null, Value::Null), "{changed:?}");
        let events = app.log.events();
        for body in [json!({}), json!({ "onLost": "wait" }), json!({ "expiresAt": null })] {
            assert_eq!(patch(&app, &user, "web", body).await.status, 200);
        }
        assert_eq!(app.log.events().len(), events.len(), "nothing changes");
        assert_eq!(events.last().unwrap().envelope.origin.actor, Actor::User(user.id));

        let history = app.get("/api/v2/user/instance/web/history").token(&user.token).send().await;
        let steps = history.data()["items"].as_array().unwrap();
        let changes: Vec<_> = steps[2..].iter().map(|step| (&step["actor"]["kind"], &step["changes"])).collect();
        let change =
            |member, before: Value, after: Value| json!({ "member": member, "before": before, "after": after });
        let [first, second, third] = [
            json!([change("expiresAt", Value::Null, json!(END))]),
            json!([change("onLost", json!("wait"), json!("recreate"))]),
            json!([change("expiresAt", json!(END), Value::Null), change("onLost", json!("recreate"), json!("wait"))]),
        ];
        let by = json!("user");
        assert_eq!(changes, [(&by, &first), (&by, &second), (&by, &third)]);
    }

    #[tokio::test]
    async fn instance_renamed_has_the_new_name_everywhere_and_frees_the_old_one() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let (user, eve) = (app.user("ada").await, app.user("eve").await);
        let id = app.running_instance(&user, "web").await.to_string();
        app.running_instance(&user, "db").await;
        app.running_instance(&eve, "shop").await;
        assert_eq!(patch(&app, &user, "web", json!({ "name": "db" })).await.error(), (409, "name_taken"));
        let events = app.log.events().len();
        let renamed = patch(&app, &user, "web", json!({ "name": "shop", "onLost": "recreate" })).await;
        let data = renamed.data();
        assert_eq!(
            (&data["name"], &data["onLost"], &data["status"]),
            (&json!("shop"), &json!("recreate"), &json!("running"))
        );
        assert_eq!(patch(&app, &user, "shop", json!({ "name": "shop" })).await.status, 200);
        assert_eq!(app.log.events().len(), events + 1, "one event for both, and none for what is so");
        let get = async |name: &str| {
            let answer = app.get(&format!("/api/v2/user/instance/{name}")).token(&user.token).send().await;
            (answer.status, answer.data()["instanceId"].clone())
        };
        assert_eq!(get("web").await.0, 404);
        assert_eq!(get("shop").await, (200, json!(id)));
        assert_eq!(patch(&app, &user, "db", json!({ "name": "web" })).await.status, 200, "the old name is free");
        let history = app.get("/api/v2/user/instance/shop/history").token(&user.token).send().await;
        let last = history.data()["items"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(last["changes"][0], json!({ "member": "name", "before": "web", "after": "shop" }), "{history:?}");
    }

    #[tokio::test]
    async fn instances_renamed_to_one_name_at_once_get_it_once() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let user = app.user("ada").await;
        for name in ["a", "b", "c"] {
            app.running_instance(&user, name).await;
        }
        let renames =
            futures::future::join_all(["a", "b", "c"].map(|one| patch(&app, &user, one, json!({ "name": "shop" }))));
        let statuses: Vec<_> = renames.await.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 2, "{statuses:?}");
    }

    #[tokio::test]
    async fn instance_changed_since_the_caller_saw_it_is_left_alone() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        app.running_instance(&user, "web").await;
        app.running_instance(&user, "db").await;
        let get = || app.get("/api/v2/user/instance/web").token(&user.token);
        let shown = get().send().await;
        let etag = shown.header("etag").unwrap().to_owned();
        let again = get().header("if-none-match", &etag).send().await;
        assert_eq!((again.status, again.header("etag")), (304, Some(&*etag)), "{again:?}");
        // Another instance is no reason to refuse.
        assert_eq!(patch(&app, &user, "db", json!({ "onLost": "recreate" })).await.status, 200);
        let commands = |etag: &str| {
            [
                (Method::PATCH, "/web", json!({ "onLost": "recreate" })),
                (Method::PUT, "/web/keys", json!({ "keys": ["default"] })),
                (Method::PUT, "/stop", json!({ "instanceId": "web" })),
                (Method::PUT, "/resume", json!({ "instanceId": "web" })),
                (Method::DELETE, "", json!({ "instanceId": "web" })),
            ]
            .map(|(method, path, body)| {
                let request =
                    app.request(method, &format!("/api/v2/user/instance{path}")).json(body).token(&user.token);
                request.header("if-match", etag).header("prefer", "respond-async").send()
            })
        };
        let [first, ..] = commands(&etag);
        let first = first.await;
        assert_eq!(first.status, 200, "{first:?}");
        assert_eq!(get().header("if-none-match", &etag).send().await.status, 200, "it is another answer now");
        let events = app.log.events().len();
        for command in commands(&etag) {
            let refused = command.await;
            assert_eq!(refused.error(), (412, "precondition_failed"), "{refused:?}");
        }
        assert_eq!(app.log.events().len(), events);
        let now = first.header("etag").unwrap();
        assert_eq!(now.split('.').next(), get().send().await.header("etag").unwrap().split('.').next());
        let [_, _, _, _, delete] = commands(now);
        assert_eq!(delete.await.status, 202);
        let unknown = app.put("/api/v2/user/instance/stop", json!({ "instanceId": "other" })).token(&user.token);
        assert_eq!(unknown.header("if-match", now).send().await.error(), (404, "not_found"));
    }

    /// Of several changes of one version, one is made.
    #[tokio::test]
    async fn instance_changes_of_one_version_at_once_are_one() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        app.running_instance(&user, "web").await;
        let shown = app.get("/api/v2/user/instance/web").token(&user.token).send().await;
        let etag = shown.header("etag").unwrap();
        let changes = futures::future::join_all((1..=8).map(|n| {
            let change =
                app.request(Method::PATCH, "/api/v2/user/instance/web").json(json!({ "autostopMinutes": 10 * n }));
            change.token(&user.token).header("if-match", etag).send()
        }));
        let mut statuses: Vec<_> = changes.await.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [&[200][..], &[412; 7]].concat());
    }

    #[tokio::test]
    async fn autostop_changed_counts_from_the_change() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        app.running_instance(&user, "web").await;
        let changed = patch(&app, &user, "web", json!({ "autostopMinutes": 30 })).await;
        assert_eq!((changed.status, &changed.data()["autostopMinutes"]), (200, &json!(30)), "{changed:?}");
        let moved_at = app.log.events().last().unwrap().envelope.meta.time;
        let at = moved_at.after(std::time::Duration::from_secs(30 * 60));
        let expected = json!({ "at": at, "reason": "autostop", "movedBy": "changed", "movedAt": moved_at });
        assert_eq!(changed.data()["stopsAt"], expected);
        let changed = patch(&app, &user, "web", json!({ "autostopMinutes": null })).await;
        assert_eq!((&changed.data()["autostopMinutes"], &changed.data()["stopsAt"]), (&Value::Null, &Value::Null));
    }

    #[tokio::test]
    async fn instance_change_that_is_invalid_or_of_another_is_refused() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let (user, eve) = (app.user("ada").await, app.user("eve").await);
        let id = app.running_instance(&user, "web").await;
        for body in [
            json!({ "expiresAt": clock::now() }),
            json!({ "expiresAt": "tomorrow" }),
            json!({ "onLost": "move" }),
            json!({ "autostopMinutes": 4 }),
            json!({ "name": "Not a name" }),
            json!({ "name": "stop" }),
            json!({ "unknown": true }),
        ] {
            let answer = patch(&app, &user, "web", body.clone()).await;
            assert_eq!(answer.error(), (422, "validation_failed"), "{body}");
        }
        assert_eq!(patch(&app, &eve, "web", json!({})).await.error(), (404, "not_found"));
        assert_eq!(patch(&app, &eve, &id.to_string(), json!({})).await.error(), (404, "not_found"));
        app.request(Method::DELETE, "/api/v2/user/instance?instanceId=web")
            .header("prefer", "respond-async")
            .token(&user.token)
            .send()
            .await;
        let deleting = patch(&app, &user, "web", json!({ "onLost": "recreate" })).await;
        assert_eq!(deleting.error(), (409, "instance_deleting"));
    }

    #[tokio::test]
    async fn instance_that_has_expired_is_resumed_only_after_its_time_to_live_is_extended() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let (boss, user) = (app.admin("boss").await, app.user("ada").await);
        let id = app.running_instance(&user, "web").await;
        let past = Some(Some(Timestamp::from_millis(1000)));
        let expire = ChangeSettings {
            instance_id: id,
            name: None,
            on_lost: None,
            expires_at: past,
            autostop: None,
            now: Timestamp::from_millis(0),
        };
        app.app.executor.execute(user.id, app.app.origin(Actor::User(user.id)), expire).await.unwrap();
        app.put("/api/v2/user/instance/stop", json!({ "instanceId": "web" }))
            .header("prefer", "respond-async")
            .token(&user.token)
            .send()
            .await;
        app.report(user.id, id, ReportKind::InstanceStatus(observation(Phase::Stopped))).await;
        let resume = || {
            let request = app.put("/api/v2/user/instance/resume", json!({ "instanceId": "web" }));
            request.header("prefer", "respond-async").token(&user.token).send()
        };
        assert_eq!(resume().await.error(), (409, "instance_expired"));
        let by_admin = app.post(&format!("/api/v2/admin/instances/{id}/resume"), json!({})).token(&boss.token);
        assert_eq!(by_admin.send().await.error(), (409, "instance_expired"));
        assert_eq!(patch(&app, &user, "web", json!({ "expiresAt": END })).await.status, 200);
        assert_eq!(resume().await.status, 202);
    }
}
