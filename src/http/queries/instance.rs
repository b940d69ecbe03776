//! `GET /api/v2/user/instance/{instanceId}`: one of the caller's instances, now or at an earlier time. Another user's is
//! answered like one that does not exist.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::ids::UserId;
use dockhost_projections::instances::{InstanceRef, Instances};
use serde::Deserialize;

use crate::http::app::App;
use crate::http::consistency::{self, LogPosition, Stale};
use crate::http::extract::{CurrentUser, IfNoneMatch, Path, Query, ReadPosition};
use crate::http::group_of::limits_of;
use crate::http::past::moment::Moment;
use crate::http::response::details::StaleDetails;
use crate::http::response::documented::{CALLER, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Details, Reply, Success};
use crate::http::version::Version;
use crate::http::views::Instance;

/// When.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct InstanceParameters {
    /// An RFC 3339 time, or the `Dockhost-Position` of an earlier answer: the instance as it was then.
    #[param(example = "2026-11-22T10:00:15.000Z")]
    at: Option<String>,
}

impl InstanceParameters {
    /// The instance as it is.
    pub const fn now() -> Self {
        Self { at: None }
    }

    /// The instance as it was at a position.
    pub const fn at(position: String) -> Self {
        Self { at: Some(position) }
    }
}

// 405 answers the ids `stop` and `resume`, which are paths of their own.
error_responses!(InstanceErrors: CALLER, READ_MODEL, &[Code::NotFound, Code::MethodNotAllowed, Code::ValidationFailed]);

/// Get an instance
///
/// With `at`, as it was then: what this answered at that time, as far as the log tells. Heartbeats are not in the log, so a
/// backend that was not heard of is shown as connected until it was recorded as lost, and without `lastSeen`. There is no `ETag`
/// then.
#[utoipa::path(
    get,
    path = "/api/v2/user/instance/{instanceId}",
    operation_id = "getInstance",
    tag = "Instances",
    security(("userToken" = []), ("userCookie" = [])),
    params(
        ("instanceId" = String, Path, description = "The instance's id or its name."),
        InstanceParameters,
        IfNoneMatch,
        ReadPosition,
    ),
    responses(
        (status = 200, description = "The instance.", body = Success<Instance>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("ETag" = String, description = "For `If-Match` and `If-None-Match`."),
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        (status = 304, description = "You have this answer."),
        InstanceErrors,
    ),
)]
pub async fn get(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Path(id_or_name): Path<String>,
    position: ReadPosition,
    known: IfNoneMatch,
    Query(parameters): Query<InstanceParameters>,
) -> Result<Reply<Instance>, ApiError> {
    let reference = reference(&id_or_name)?;
    if let Some(at) = &parameters.at {
        return get_past(&app, user_id, &reference, position, at).await;
    }
    let shown =
        consistency::read::<Instances, _>(&app, position, || app.store.instance_of(user_id, &reference)).await?;
    let (since, position) = (shown.stale_since, shown.position(&app, shown.value.iter().map(|document| document.seq)));
    let document = shown.value.ok_or_else(|| missing(since))?;
    let group = limits_of(&app, user_id).await?;
    let view = Instance::new(&app, user_id, document.instance_id, &document.state, group).stale(since);
    let reply = Reply::ok("your instance", view).version(Version::of(&document.state), known);
    Ok(reply.stale(since).position(position))
}

/// The instance at an earlier time, from the log.
async fn get_past(
    app: &App,
    owner: UserId,
    reference: &InstanceRef,
    position: ReadPosition,
    at: &str,
) -> Result<Reply<Instance>, ApiError> {
    let moment = Moment::parse(app, at)?;
    let named = if let Moment::Position(sequence) = moment { sequence } else { 0 };
    consistency::wait_until_applied(app, position.0.unwrap_or(0).max(named)).await?;
    let permit = app.log_reader.permit(owner).await?;
    let past = moment.instance(app, &permit, owner, reference).await?;
    let view = past.instance.ok_or_else(|| missing(past.unreadable))?;
    let position = app.position(named.max(past.sequence));
    Ok(Reply::ok("your instance as it was", view).stale(past.unreadable).position(position))
}

/// The instance that a path names.
///
/// # Errors
/// `not_found`.
pub fn reference(id_or_name: &str) -> Result<InstanceRef, ApiError> {
    match (id_or_name.parse(), id_or_name.parse()) {
        (Ok(id), _) => Ok(InstanceRef::Id(id)),
        (_, Ok(name)) => Ok(InstanceRef::Name(name)),
        _ => Err(ApiError::not_found("instance")),
    }
}

/// There is no such instance, unless it is in the events from `since` on, which are missing.
pub fn missing(since: Option<u64>) -> ApiError {
    let not_found = ApiError::not_found("instance");
    match since {
        Some(since) => not_found.with(Details::Stale(StaleDetails { stale: Stale { since } })),
        None => not_found,
    }
}

#[cfg(test)]
mod tests {
    use dockhost_domain::backend::MarkLost;
    use dockhost_domain::ids::UserId;
    use dockhost_domain::reported::ShortText;
    use dockhost_domain::subject::AggregateId;
    use dockhost_domain::timestamp::Timestamp;
    use dockhost_domain::wire::{EngineState, MachineStatus, Phase, ReportKind};
    use serde_json::json;

    use crate::common::clock;
    use crate::http::testing::{Answer, Caller, TestApp, agent_error, observation};

    #[tokio::test]
    async fn get_instance_by_id_or_name_shows_the_same_as_the_command() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        let id = app.running_instance(&user, "web").await.to_string();
        let stop = app.put("/api/v2/user/instance/stop", json!({ "instanceId": "web" }));
        let command = stop.token(&user.token).header("prefer", "respond-async").send().await;
        for reference in ["web", &id] {
            let answer = app.get(&format!("/api/v2/user/instance/{reference}")).token(&user.token).send().await;
            assert_eq!((answer.status, answer.data()), (200, command.data()), "{reference}");
        }
    }

    #[tokio::test]
    async fn get_instance_whose_engine_is_down_is_unreachable() {
        let app = TestApp::new().await;
        let backend = app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        app.running_instance(&user, "web").await;
        let get = async || {
            let answer = app.get("/api/v2/user/instance/web").token(&user.token).send().await;
            (answer.data()["status"].clone(), answer.data()["backend"]["status"].clone())
        };
        assert_eq!(get().await, (json!("running"), json!("connected")));
        let down = EngineState::Down { reason: ShortText::cleaned("it stopped") };
        app.beat(backend.id, MachineStatus { engine: Some(down), ..MachineStatus::default() });
        assert_eq!(get().await, (json!("unreachable"), json!("degraded")));
        app.beat(backend.id, MachineStatus { engine: Some(EngineState::Ready), ..MachineStatus::default() });
        assert_eq!(get().await, (json!("running"), json!("connected")));
    }

    #[tokio::test]
    async fn get_instance_of_another_user_answers_like_an_unknown_one() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let (ada, eve) = (app.user("ada").await, app.user("eve").await);
        let id = app.running_instance(&ada, "web").await.to_string();
        let get = async |reference: &str| {
            let request = app.get(&format!("/api/v2/user/instance/{reference}")).token(&eve.token);
            request.header("x-request-id", "same").send().await
        };
        let unknown = get("no-such-name").await;
        assert_eq!((unknown.error(), unknown.details()), ((404, "not_found"), &json!({})));
        for reference in ["web", &id, "%2A", "%00", "%ff%fe", "a.b", "%7B%22$ne%22:null%7D"] {
            assert_eq!(get(reference).await.error(), (404, "not_found"), "{reference}");
        }
        assert_eq!(get("web").await.body, unknown.body);
        assert_eq!(get("stop").await.error(), (405, "method_not_allowed"));
    }

    #[tokio::test]
    async fn get_instance_says_what_it_lacks() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        app.running_instance(&user, "web").await;
        app.store.set_stale_since(7);
        let get = |name: &str| app.get(&format!("/api/v2/user/instance/{name}")).token(&user.token).send();
        let stale = json!({ "since": 7 });
        let found = get("web").await;
        assert_eq!((found.header("dockhost-stale"), &found.data()["stale"]), (Some("7"), &stale));
        // It may be in the events that the read model lacks.
        let missing = get("other").await;
        assert_eq!((missing.error(), &missing.details()["stale"]), ((404, "not_found"), &stale));
    }

    /// What `GET` answered after each step of a life, with its position.
    struct Recording<'a> {
        app: &'a TestApp,
        user: &'a Caller<UserId>,
        path: String,
        answers: Vec<(String, Answer)>,
    }

    impl Recording<'_> {
        async fn record(&mut self) {
            let answer = self.app.get(&self.path).token(&self.user.token).send().await;
            let position = self.app.app.position(self.app.log.last());
            self.answers.push((position, answer));
        }
    }

    #[tokio::test]
    async fn get_instance_at_a_position_is_what_it_answered_then() {
        let app = TestApp::new().await;
        let (lab, spare) = (app.connected_backend("lab-1", 9).await, app.connected_backend("lab-2", 9).await);
        let (user, other) = (app.user("ada").await, app.user("bob").await);
        app.running_instance(&other, "web").await;
        app.running_instance(&user, "db").await;
        let id = app.request_instance(&user, "web").await;
        for path in [format!("/api/v2/user/instance/{id}"), "/api/v2/user/instance/web".to_owned()] {
            let before = app.get(&format!("{path}?at={}", app.app.position(1))).token(&user.token).send().await;
            assert_eq!(before.error(), (404, "not_found"));
        }
        let path = format!("/api/v2/user/instance/{id}");
        let mut run = Recording { app: &app, user: &user, path, answers: vec![] };
        run.record().await;
        let change = async |what: &str| {
            let change = app.put(&format!("/api/v2/user/instance/{what}"), json!({ "instanceId": "web" }));
            change.token(&user.token).header("prefer", "respond-async").send().await;
        };
        // The first backend refuses it; it is placed on the other one, and runs.
        app.refuse(user.id, id).await;
        run.record().await;
        app.report(user.id, id, ReportKind::InstanceCreated(observation(Phase::Running))).await;
        run.record().await;
        change("stop").await;
        run.record().await;
        app.report(user.id, id, ReportKind::InstanceStatus(observation(Phase::Stopped))).await;
        run.record().await;
        // Its backend is lost, and comes back.
        for backend in [&lab, &spare] {
            app.execute(backend.id, MarkLost { silent_for_seconds: 20 }).await;
        }
        run.record().await;
        for backend in [&lab, &spare] {
            app.connect(backend.id).await;
        }
        run.record().await;
        change("resume").await;
        run.record().await;
        app.report(user.id, id, ReportKind::InstanceFailed(agent_error())).await;
        run.record().await;
        let delete = app.delete(&run.path.replace("/instance/", "/instance?instanceId="));
        delete.token(&user.token).header("prefer", "respond-async").send().await;
        run.record().await;
        app.report(user.id, id, ReportKind::InstanceDeleted).await;
        run.record().await;
        // The name is free again.
        app.running_instance(&user, "web").await;

        let statuses: Vec<_> = run.answers.iter().map(|(_, answer)| answer.data()["status"].clone()).collect();
        let expected = [
            "creating",
            "creating",
            "running",
            "stopping",
            "stopped",
            "unreachable",
            "stopped",
            "resuming",
            "failed",
            "deleting",
        ];
        assert_eq!(statuses[..expected.len()], expected.map(|status| json!(status)));
        for (position, recorded) in &run.answers {
            for path in [&run.path, "/api/v2/user/instance/web"] {
                let past = app.get(&format!("{path}?at={position}")).token(&user.token).send().await;
                let mut then = recorded.data().clone();
                // Heartbeats are not in the log.
                if let Some(members) = then.as_object_mut() {
                    members.remove("lastSeen");
                }
                assert_eq!((past.error(), past.data()), (recorded.error(), &then), "{path} at {position}");
                if past.status == 200 {
                    assert_eq!(past.header("dockhost-position"), Some(position.as_str()));
                }
            }
        }
    }

    #[tokio::test]
    async fn get_instance_at_a_time_includes_what_happened_until_then() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let user = app.user("ada").await;
        let id = app.running_instance(&user, "web").await;
        let created = app.get("/api/v2/user/instance/web").token(&user.token).send().await;
        let created_at: Timestamp = created.data()["createdAt"].as_str().unwrap().parse().unwrap();
        let at = async |time: Timestamp| {
            app.get(&format!("/api/v2/user/instance/{id}?at={time}")).token(&user.token).send().await
        };
        let just_before = Timestamp::from_millis(created_at.millis() - 1);
        assert_eq!(at(just_before).await.error(), (404, "not_found"));
        assert_eq!(at(created_at).await.data()["createdAt"], created.data()["createdAt"]);
        assert_eq!(at(clock::now()).await.data(), created.data());
    }

    #[tokio::test]
    async fn get_instance_at_no_moment_of_this_log_is_refused() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let (ada, eve) = (app.user("ada").await, app.user("eve").await);
        app.running_instance(&ada, "web").await;
        let get = async |at: &str, token: &str| {
            app.get(&format!("/api/v2/user/instance/web?at={at}")).token(token).send().await
        };
        for at in ["", "7", "yesterday", "another-log.1", "memory.", "memory.-1", "memory.x", "9999-01-01T00:00:00Z"] {
            let answer = get(at, &ada.token).await;
            assert_eq!(answer.error(), (422, "validation_failed"), "{at}");
            assert_eq!(answer.details()[0]["field"], "at");
        }
        let now = app.app.position(app.log.last());
        assert_eq!(get(&now, &ada.token).await.status, 200);
        assert_eq!(get(&now, &eve.token).await.error(), (404, "not_found"), "another user's");
        let ahead = app.app.position(999_999);
        // The clock jumps over the wait.
        tokio::time::pause();
        assert_eq!(get(&ahead, &ada.token).await.error(), (503, "not_caught_up"));
    }

    #[tokio::test]
    async fn get_instance_at_a_moment_after_an_unreadable_event_says_what_it_lacks() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let user = app.user("ada").await;
        app.running_instance(&user, "web").await;
        let unreadable = app.log.put_unreadable(&AggregateId::Tenancy(user.id).to_string(), "unknown variant");
        let get = async |name: &str| {
            let position = app.app.position(unreadable);
            app.get(&format!("/api/v2/user/instance/{name}?at={position}")).token(&user.token).send().await
        };
        let stale = json!({ "since": unreadable });
        let (found, missing) = (get("web").await, get("other").await);
        assert_eq!((found.status, &found.data()["stale"]), (200, &stale));
        assert_eq!((missing.error(), &missing.details()["stale"]), ((404, "not_found"), &stale));
    }
}
