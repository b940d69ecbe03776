//! `GET /api/v2/operations/{id}`: the outcome of a command, for seven days.
//!
//! It is read from the aggregate's state, not from a read model, so it is as current as the command itself.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::ids::OperationId;
use dockhost_domain::tenancy::Tenancy;

use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentUser, Path};
use crate::http::group_of::limits_of;
use crate::http::response::documented::{CALLER, STATE, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::Operation;

error_responses!(OperationErrors: CALLER, STATE, &[Code::NotFound]);

/// Get an operation
///
/// The outcome of a command on an instance, for 7 days.
#[utoipa::path(
    get,
    path = "/api/v2/operations/{id}",
    operation_id = "getOperation",
    tag = "Instances",
    security(("userToken" = []), ("userCookie" = [])),
    params(("id" = Uuid, Path, description = "The operation's id, from the header `Location` of a 202.")),
    responses(
        (status = 200, description = "The operation.", body = Success<Operation>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        OperationErrors,
    ),
)]
pub async fn get(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Reply<Operation>, ApiError> {
    let not_found = || ApiError::not_found("operation");
    let id: OperationId = id.parse().map_err(|_| not_found())?;
    let mut cached = app.executor.state::<Tenancy>(user_id).await?;
    if cached.state.operation(id).is_none() {
        cached = app.executor.confirmed::<Tenancy>(user_id).await?;
    }
    let operation = cached.state.operation(id).ok_or_else(not_found)?;
    let instance = cached.state.instance(operation.instance_id);
    let data = Operation::new(&app, user_id, id, operation, instance, limits_of(&app, user_id).await?);
    Ok(Reply::ok("your operation", data).position(app.position(cached.sequence)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn get_operation_failed_has_the_reasons() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        let create = app.post("/api/v2/user/instance", json!({ "name": "web" })).token(&user.token);
        let accepted = create.header("prefer", "respond-async").send().await;
        let location = accepted.header("location").unwrap();
        let get = || app.get(location).token(&user.token).send();
        let pending = get().await;
        let id = location.rsplit('/').next().unwrap();
        let expected = json!({ "id": id, "kind": "create", "status": "pending", "instance": accepted.data() });
        assert_eq!(pending.data(), &expected);
        let instance = accepted.data()["instanceId"].as_str().unwrap().parse().unwrap();
        app.refuse(user.id, instance).await;
        let failed = get().await;
        let (data, error) = (failed.data(), &failed.data()["error"]);
        assert_eq!((&data["status"], &data["instance"]["status"]), (&json!("failed"), &json!("failed")));
        assert_eq!(error["code"], "operation_failed");
        assert_eq!(error["reasons"], data["instance"]["failure"]);
        assert_eq!(error["reasons"][0]["reason"], error["message"]);
    }

    #[tokio::test]
    async fn get_operation_superseded_says_so() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        app.running_instance(&user, "web").await;
        let put = |path: &str| {
            let request = app.put(&format!("/api/v2/user/instance/{path}"), json!({ "instanceId": "web" }));
            request.token(&user.token).header("prefer", "respond-async").send()
        };
        let stop = put("stop").await;
        put("resume").await;
        let operation = app.get(stop.header("location").unwrap()).token(&user.token).send().await;
        assert_eq!(operation.data()["status"], "superseded", "{operation:?}");
    }

    #[tokio::test]
    async fn get_operation_unknown_answers_not_found() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let (ada, eve) = (app.user("ada").await, app.user("eve").await);
        let create = app.post("/api/v2/user/instance", json!({})).token(&ada.token);
        let location = create.header("prefer", "respond-async").send().await.header("location").unwrap().to_owned();
        for path in [&location, "/api/v2/operations/some", "/api/v2/operations/%ff"] {
            assert_eq!(app.get(path).token(&eve.token).send().await.error(), (404, "not_found"), "{path}");
        }
    }
}
