//! `POST /api/v2/admin/backends/{backendId}/key`: issues another API key to a backend.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::backend::IssueKey;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::backends::Backends;
use serde::Serialize;
use utoipa::ToSchema;

use super::change_backend::backend_id;
use crate::auth::api_key::ApiKeyId;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, Path, Repeatable};
use crate::http::response::documented::{ADMIN_OF_COMMAND, COMMAND, REPEATABLE, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::Backend;

/// A backend and its new key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuedKey {
    backend: Backend,
    /// The key of the backend's agent. It is not shown again to administrators.
    #[serde(rename = "DOCKHOST_API_KEY")]
    api_key: String,
    /// Until when the key before is valid, too; absent if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, nullable = false)]
    previous_valid_until: Option<Timestamp>,
}

error_responses!(IssueKeyErrors: ADMIN_OF_COMMAND, COMMAND, REPEATABLE, &[Code::NotFound]);

/// Issue a backend's key
///
/// For a backend whose key was revoked, has leaked, or whose password is lost. The key before it is valid no longer, and the
/// connections with it are closed.
#[utoipa::path(
    post,
    path = "/api/v2/admin/backends/{backendId}/key",
    operation_id = "issueBackendKey",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("backendId" = Uuid, Path, description = "The backend's id."), Repeatable),
    responses(
        (status = 200, description = "The backend's only valid key.", body = Success<IssuedKey>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        IssueKeyErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(backend): Path<String>,
    key: Repeatable,
) -> Result<Reply<IssuedKey>, ApiError> {
    issue(&app, key.origin(&app, Actor::Admin(admin)), &backend, IssueKey::default()).await
}

/// Issues a key and answers with it.
pub(super) async fn issue(
    app: &App,
    origin: Origin,
    backend: &str,
    command: IssueKey,
) -> Result<Reply<IssuedKey>, ApiError> {
    let backend_id = backend_id(backend)?;
    let not_found = || ApiError::not_found("backend");
    let done = app
        .executor
        .execute(backend_id, origin, command)
        .await
        .map_err(|error| from_execute(error, |_| not_found()))?;
    let sequence = done.current.sequence;
    app.wait_until_projected::<Backends>(sequence).await;
    let machine = done.current.state.machine.as_ref().ok_or_else(not_found)?;
    let key = ApiKeyId { backend_id, version: machine.key_version() };
    let api_key = app.api_keys.derive(key, machine.enrolled_at).map_err(|error| ApiError::internal(&error))?;
    let previous_valid_until = machine.previous_key.map(|key| key.until);
    let data = IssuedKey { backend: Backend::new(backend_id, machine, &app.heartbeats), api_key, previous_valid_until };
    Ok(Reply::ok("the backend has another key", data).position(app.position(sequence)))
}

#[cfg(test)]
mod tests {
    use dockhost_domain::backend::Backend;
    use serde_json::json;

    use crate::common::clock;
    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn issue_backend_key_replaces_each_earlier_key_revoked_or_not() {
        let app = TestApp::new().await;
        let (boss, backend) = (app.admin("boss").await, app.connected_backend("lab-1", 5).await);
        let post = |what: &str| {
            let path = format!("/api/v2/admin/backends/{}/{what}", backend.id);
            app.post(&path, json!({})).token(&boss.token).send()
        };
        let valid = || async {
            let state = app.app.executor.state::<Backend>(backend.id).await.unwrap();
            (0..9).find(|version| state.state.key_validity(*version, clock::now()).is_some())
        };
        assert_eq!(valid().await, Some(1));
        for expected in [2, 3] {
            let issued = post("key").await;
            let key = app.app.api_keys.read(issued.data()["DOCKHOST_API_KEY"].as_str().unwrap()).unwrap();
            assert_eq!((key.backend_id, key.version, valid().await), (backend.id, expected, Some(expected)));
            assert_eq!(issued.data()["backend"]["keyRevoked"], false);
            let revoked = post("revoke").await;
            assert_eq!((revoked.status, &revoked.data()["keyRevoked"]), (200, &json!(true)), "{revoked:?}");
            assert_eq!(valid().await, None);
        }
    }

    /// It says what the backend holds, and so is not for whom the key was taken from.
    #[tokio::test]
    async fn revoke_backend_key_ends_what_its_token_can_read() {
        let app = TestApp::new().await;
        let (boss, backend) = (app.admin("boss").await, app.connected_backend("lab-1", 5).await);
        let get = || app.get("/api/v2/backend").token(&backend.token).send();
        assert_eq!(get().await.status, 200);
        let path = format!("/api/v2/admin/backends/{}/revoke", backend.id);
        assert_eq!(app.post(&path, json!({})).token(&boss.token).send().await.status, 200);
        app.app.follower.wait_until_applied(app.log.events().len() as u64).await;
        assert_eq!(get().await.error(), (401, "unauthorized"));
    }
}
