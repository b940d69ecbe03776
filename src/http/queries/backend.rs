//! `GET /api/v2/backend`: the calling backend, with its last heartbeat.

use std::sync::Arc;

use axum::extract::State;
use dockhost_projections::backends::Backends;

use crate::http::app::App;
use crate::http::consistency::{self, LogPosition};
use crate::http::extract::{CurrentBackend, ReadPosition};
use crate::http::response::documented::{CALLER, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::BackendWithHeartbeat;

error_responses!(BackendErrors: CALLER, READ_MODEL, &[Code::NotFound]);

/// Get the calling backend
#[utoipa::path(
    get,
    path = "/api/v2/backend",
    operation_id = "getBackend",
    tag = "Backends",
    security(("backendToken" = []), ("backendCookie" = [])),
    params(ReadPosition),
    responses(
        (status = 200, description = "The backend.", body = Success<BackendWithHeartbeat>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        BackendErrors,
    ),
)]
pub async fn get(
    CurrentBackend { backend_id, .. }: CurrentBackend,
    State(app): State<Arc<App>>,
    position: ReadPosition,
) -> Result<Reply<BackendWithHeartbeat>, ApiError> {
    let shown = consistency::read::<Backends, _>(&app, position, || app.store.backend(backend_id)).await?;
    let (since, position) = (shown.stale_since, shown.position(&app, shown.value.iter().map(|document| document.seq)));
    let document = shown.value.ok_or_else(|| ApiError::not_found("backend"))?;
    let data = BackendWithHeartbeat::new(&app, document, since);
    Ok(Reply::ok("your backend", data).stale(since).position(position))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dockhost_domain::backend::{Connected, IssueKey, RevokeKey};
    use dockhost_domain::reported::{self, ShortText};
    use dockhost_domain::wire::{EngineState, Heartbeat, ImageState, IsolationState, MachineSize, MachineStatus};
    use serde_json::json;

    use crate::broker::dropped::{MessageKind, OtherAgent};
    use crate::common::clock;
    use crate::http::testing::TestApp;

    const PATH: &str = "/api/v2/backend";

    #[tokio::test]
    async fn get_backend_includes_the_last_heartbeat() {
        let app = TestApp::new().await;
        let backend = app.backend("lab-1", 500).await;
        let get = || app.get(PATH).token(&backend.token).send();
        let before = get().await;
        let mut expected = json!({
            "id": backend.id.to_string(), "username": "lab-1", "status": "enrolled", "labName": null,
            "operatingSystem": null, "maxContainers": 500, "requestedMaxContainers": 500, "cordoned": false, "drain": null, "keyRevoked": false,
            "labels": {},
            "address": null, "runtime": null, "agentVersion": null,
            "createdAt": before.data()["createdAt"], "lastSeen": null, "containers": null, "load": null,
            "memory": null, "clockAheadMs": null,
            "machine": { "engine": null, "image": null, "isolation": null, "memoryMib": null, "cpu": null },
            "malformedMessages": null, "messagesOfOtherAgents": null,
            "_id": backend.id.to_string(), "name": "lab-1", "containerCount": null,
        });
        assert_eq!(before.data(), &expected);
        app.connect(backend.id).await;
        let after = get().await;
        let last = app.app.heartbeats.last(backend.id).unwrap();
        expected["lastSeen"] = json!(last.received_at);
        (expected["containers"], expected["load"], expected["memory"]) = (json!(2), json!(0.5), json!(0.25));
        expected["containerCount"] = json!(2);
        (expected["status"], expected["address"]) = (json!("connected"), json!("192.0.2.1"));
        (expected["runtime"], expected["agentVersion"]) = (json!("simulated"), json!("0.1.0"));
        // Its agent's own limit is lower.
        expected["maxContainers"] = json!(100);
        // The agent's clock shows 1970.
        expected["clockAheadMs"] = json!(-last.received_at.millis());
        assert_eq!(after.data(), &expected);
    }

    #[tokio::test]
    async fn get_backend_counts_its_malformed_messages() {
        let app = TestApp::new().await;
        let (backend, other) = (app.backend("lab-1", 5).await, app.backend("lab-2", 5).await);
        let malformed = reported::parse::<Heartbeat>(b"{}").unwrap_err();
        for kind in [MessageKind::Heartbeat, MessageKind::Report, MessageKind::Report, MessageKind::Request] {
            app.app.gate.malformed().record(backend.id, kind, malformed);
        }
        let answer = app.get(PATH).token(&backend.token).send().await;
        let last_at = app.app.gate.malformed().of(backend.id).unwrap().last_at;
        let expected = json!({ "heartbeats": 1, "reports": 2, "requests": 1, "lastAt": last_at });
        assert_eq!(answer.data()["malformedMessages"], expected);
        assert_eq!(answer.data()["messagesOfOtherAgents"], json!(null));
        assert_eq!(app.get(PATH).token(&other.token).send().await.data()["malformedMessages"], json!(null));
        app.app.gate.of_other_agents().record(other.id, MessageKind::Request, OtherAgent);
        let answer = app.get(PATH).token(&other.token).send().await;
        assert_eq!(answer.data()["messagesOfOtherAgents"]["requests"], 1);
    }

    /// Earlier releases recorded whatever an agent sent.
    #[tokio::test]
    async fn get_backend_shows_invalid_recorded_texts_as_null() {
        let app = TestApp::new().await;
        let backend = app.backend("lab-1", 5).await;
        let connected = Connected {
            address: "h -oProxyCommand='touch /tmp/x'".to_owned().into(),
            runtime: "docker\n2026-11-25 ERROR forged".to_owned(),
            agent_version: "\u{1b}[31m".to_owned(),
        };
        app.connect_as(backend.id, connected).await;
        let answer = app.get(PATH).token(&backend.token).send().await;
        for member in ["address", "runtime", "agentVersion"] {
            assert_eq!(answer.data()[member], json!(null), "{member}");
        }
    }

    #[tokio::test]
    async fn get_backend_shows_the_state_of_its_machine() {
        let app = TestApp::new().await;
        let backend = app.connected_backend("lab-1", 5).await;
        let get = async |status: MachineStatus| {
            app.beat_with(backend.id, status, Some(MachineSize { memory_mib: 7953, cpu_millis: 2500 }));
            let answer = app.get(PATH).token(&backend.token).send().await;
            let (status, mut machine) = (answer.data()["status"].clone(), answer.data()["machine"].clone());
            let size = ["memoryMib", "cpu"].map(|member| machine.as_object_mut().unwrap().remove(member).unwrap());
            assert_eq!(size, [json!(7953), json!(2.5)]);
            (status, machine)
        };
        let reason = || ShortText::cleaned("it was removed");
        let down = MachineStatus { engine: Some(EngineState::Down { reason: reason() }), ..MachineStatus::default() };
        let shown =
            json!({ "engine": { "state": "down", "reason": "it was removed" }, "image": null, "isolation": null });
        assert_eq!(get(down).await, (json!("degraded"), shown));
        let fetching = MachineStatus {
            engine: Some(EngineState::Ready),
            image: Some(ImageState::Fetching { percent: Some(255), bytes: 7 }),
            isolation: Some(IsolationState::Enforced),
        };
        let shown = json!({
            "engine": { "state": "ready" }, "image": { "state": "fetching", "percent": 100, "bytes": 7 },
            "isolation": { "state": "enforced" },
        });
        assert_eq!(get(fetching).await, (json!("degraded"), shown));
        let open = MachineStatus {
            engine: None,
            image: Some(ImageState::Ready),
            isolation: Some(IsolationState::Missing { reason: reason() }),
        };
        let shown = json!({
            "engine": null, "image": { "state": "ready" },
            "isolation": { "state": "missing", "reason": "it was removed" },
        });
        assert_eq!(get(open).await, (json!("connected"), shown));
    }

    #[tokio::test]
    async fn get_backend_says_what_it_lacks() {
        let app = TestApp::new().await;
        let backend = app.backend("lab-1", 5).await;
        app.store.set_stale_since(7);
        let answer = app.get(PATH).token(&backend.token).send().await;
        assert_eq!((answer.header("dockhost-stale"), &answer.data()["stale"]), (Some("7"), &json!({ "since": 7 })));
    }

    #[tokio::test]
    async fn get_backend_accepts_the_valid_api_keys_of_the_backend() {
        let app = TestApp::new().await;
        let backend = app.backend("lab-1", 5).await;
        let get = async |key: &str| app.get(PATH).token(key).send().await.status;
        let first = app.api_key(backend.id).await;
        assert_eq!(get(&first).await, 200);
        let previous_until = Some(clock::now().after(Duration::from_secs(60)));
        app.execute(backend.id, IssueKey { previous_until }).await;
        let second = app.api_key(backend.id).await;
        assert_eq!((get(&first).await, get(&second).await), (200, 200), "the key before is valid for a minute more");
        app.execute(backend.id, IssueKey::default()).await;
        assert_eq!((get(&first).await, get(&second).await), (401, 401));
        let third = app.api_key(backend.id).await;
        assert_eq!(get(&third).await, 200);
        app.execute(backend.id, RevokeKey).await;
        assert_eq!(get(&third).await, 401);
        let by_cookie = app.get(PATH).header("cookie", &format!("accessTokenBE={third}")).send().await;
        assert_eq!(by_cookie.error(), (401, "unauthorized"));
    }

    #[tokio::test]
    async fn get_backend_refuses_a_user() {
        let app = TestApp::new().await;
        let user = app.user("ada").await;
        assert_eq!(app.get(PATH).token(&user.token).send().await.error(), (401, "unauthorized"));
    }
}
