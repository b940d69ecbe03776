//! `GET /api/v2/user/instance/{instanceId}`: one of the caller's instances. Another user's is answered like one that
//! does not exist.

use std::sync::Arc;

use axum::extract::State;
use dockhost_projections::instances::{InstanceRef, Instances};

use crate::http::app::App;
use crate::http::consistency::{self, LogPosition, Stale};
use crate::http::extract::{CurrentUser, Path, ReadPosition};
use crate::http::response::details::StaleDetails;
use crate::http::response::documented::{CALLER, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Details, Reply, Success};
use crate::http::views::Instance;

// 405 answers the ids `stop` and `resume`, which are paths of their own.
error_responses!(InstanceErrors: CALLER, READ_MODEL, &[Code::NotFound, Code::MethodNotAllowed]);

/// Get an instance
#[utoipa::path(
    get,
    path = "/api/v2/user/instance/{instanceId}",
    operation_id = "getInstance",
    tag = "Instances",
    security(("userToken" = []), ("userCookie" = [])),
    params(("instanceId" = String, Path, description = "The instance's id or its name."), ReadPosition),
    responses(
        (status = 200, description = "The instance.", body = Success<Instance>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        InstanceErrors,
    ),
)]
pub async fn get(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Path(id_or_name): Path<String>,
    position: ReadPosition,
) -> Result<Reply<Instance>, ApiError> {
    let reference = match (id_or_name.parse(), id_or_name.parse()) {
        (Ok(id), _) => InstanceRef::Id(id),
        (_, Ok(name)) => InstanceRef::Name(name),
        _ => return Err(ApiError::not_found("instance")),
    };
    let shown =
        consistency::read::<Instances, _>(&app, position, || app.store.instance_of(user_id, &reference)).await?;
    let (since, position) = (shown.stale_since, shown.position(&app, shown.value.iter().map(|document| document.seq)));
    let document = shown.value.ok_or_else(|| {
        let not_found = ApiError::not_found("instance");
        match since {
            // It may be in the missing events.
            Some(since) => not_found.with(Details::Stale(StaleDetails { stale: Stale { since } })),
            None => not_found,
        }
    })?;
    let view = Instance::new(&app, user_id, document.instance_id, &document.state).stale(since);
    Ok(Reply::ok("your instance", view).stale(since).position(position))
}

#[cfg(test)]
mod tests {
    use dockhost_domain::reported::ShortText;
    use dockhost_domain::wire::{EngineState, MachineStatus};
    use serde_json::json;

    use crate::http::testing::TestApp;

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
}
