//! `POST /api/v2/admin/backends/{backendId}/rotate`: issues another API key, and accepts the one before for a while.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use dockhost_domain::backend::IssueKey;
use dockhost_domain::envelope::Actor;
use serde::Deserialize;
use utoipa::ToSchema;

use super::issue_backend_key::{IssuedKey, issue};
use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, Path, Repeatable};
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, COMMAND, REPEATABLE, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

const DEFAULT_VALID_FOR: u32 = 24 * 60 * 60;

/// How long the key before stays valid.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "validForSeconds": 86_400 })))]
pub struct RotateKeyRequest {
    /// A day by default. A connected agent gets the new key within seconds, at the latest within 10 minutes.
    #[garde(range(min = 600, max = 2_592_000))]
    #[schema(minimum = 600, maximum = 2_592_000, default = 86_400)]
    valid_for_seconds: Option<u32>,
}

error_responses!(RotateKeyErrors: ADMIN_OF_COMMAND, BODY, COMMAND, REPEATABLE, &[Code::NotFound]);

/// Rotate a backend's key
///
/// The key before stays valid for a while, unless it is revoked. A connected agent fetches the new one by itself, stores it,
/// and goes on with its instances. Only one key before the new one is ever valid. The body may be absent.
#[utoipa::path(
    post,
    path = "/api/v2/admin/backends/{backendId}/rotate",
    operation_id = "rotateBackendKey",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("backendId" = Uuid, Path, description = "The backend's id."), Repeatable),
    request_body = Option<RotateKeyRequest>,
    responses(
        (status = 200, description = "The backend's new key.", body = Success<IssuedKey>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        RotateKeyErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(backend): Path<String>,
    key: Repeatable,
    Body(RotateKeyRequest { valid_for_seconds }): Body<RotateKeyRequest>,
) -> Result<Reply<IssuedKey>, ApiError> {
    let valid_for = Duration::from_secs(valid_for_seconds.unwrap_or(DEFAULT_VALID_FOR).into());
    let command = IssueKey { previous_until: Some(clock::now().after(valid_for)) };
    issue(&app, key.origin(&app, Actor::Admin(admin)), &backend, command).await
}

#[cfg(test)]
mod tests {
    use dockhost_domain::backend::Backend;
    use serde_json::json;

    use super::*;
    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn rotate_backend_key_keeps_the_key_before_for_its_time() {
        let app = TestApp::new().await;
        let (boss, backend) = (app.admin("boss").await, app.connected_backend("lab-1", 5).await);
        let path = format!("/api/v2/admin/backends/{}/rotate", backend.id);
        let rotate = |body| app.post(&path, body).token(&boss.token).send();
        for seconds in [599, 2_592_001] {
            assert_eq!(rotate(json!({ "validForSeconds": seconds })).await.error(), (422, "validation_failed"));
        }
        let valid = async |at| {
            let state = app.app.executor.state::<Backend>(backend.id).await.unwrap();
            (0..9).filter(|version| state.state.key_validity(*version, at).is_some()).collect::<Vec<_>>()
        };
        let before = clock::now();
        let rotated = rotate(json!({ "validForSeconds": 600 })).await;
        let key = app.app.api_keys.read(rotated.data()["DOCKHOST_API_KEY"].as_str().unwrap()).unwrap();
        assert_eq!((key.backend_id, key.version), (backend.id, 2), "{rotated:?}");
        assert!(rotated.data()["previousValidUntil"].is_string(), "{rotated:?}");
        assert_eq!(valid(before).await, [1, 2]);
        assert_eq!(valid(before.after(Duration::from_secs(660))).await, [2]);
        // Without a body, a day.
        assert_eq!(app.post(&path, json!({})).token(&boss.token).send().await.status, 200);
        assert_eq!(valid(before.after(Duration::from_secs(86_000))).await, [2, 3]);
    }
}
