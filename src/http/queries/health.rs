//! `GET /health`: whether this replica can serve.
//!
//! 503 while a part that requests need is down, or nobody leads, so that nothing is carried out. No connected backend is
//! not a fault of the server. `degraded` is 200: an aggregate is quarantined, a read model has stopped or the log is
//! nearly full, and everything else is served.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use dockhost_projections::registry::ModelInfo;
use dockhost_projections::store::BuildStatus;
use dockhost_projections::{MODELS, Unreadable};
use serde::Serialize;
use utoipa::ToSchema;

use crate::broker::agent_gate::GateCounts;
use crate::event_log::size::Fullness;
use crate::http::app::App;
use crate::http::dependencies::Dependencies;
use crate::http::response::documented::error_responses;
use crate::replica::fleet_health::FleetHealth;
use crate::replica::projection_progress::StopReason;

/// Quarantined aggregates that the answer lists.
const MAX_QUARANTINE_ENTRIES: usize = 20;

/// Whether this replica can serve.
#[derive(Serialize, ToSchema)]
pub struct Health {
    status: HealthStatus,
    /// The parts that are down.
    down: Vec<Part>,
    /// What is wrong or will soon be, in plain words; empty if all is well.
    problems: Vec<String>,
    database: UpOrDown,
    broker: UpOrDown,
    backends: BackendCount,
    /// Seconds since this replica started.
    uptime: u64,
    log: LogHealth,
    /// Each read model, by name.
    projections: BTreeMap<&'static str, ProjectionHealth>,
    quarantined: QuarantineHealth,
}

/// - `ok`, `degraded`: this replica serves; while `degraded`, some data lacks events, or the log is nearly full.
/// - `unavailable`: parts are `down`.
/// - `catching_up`: this replica does not know the whole log yet, or does not receive it.
/// - `stopping`: this replica shuts down. It serves for a few seconds more; send new requests to others.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum HealthStatus {
    Ok,
    Degraded,
    Unavailable,
    CatchingUp,
    Stopping,
}

#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Part {
    Database,
    Broker,
    /// No server leads, so commands are not carried out.
    Leader,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum UpOrDown {
    Up,
    Down,
}

/// The backends in numbers, as this replica hears them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BackendCount {
    registered: usize,
    /// Those that send heartbeats.
    connected: usize,
    /// Those of the connected ones that can't take new instances.
    degraded: usize,
    /// What is wrong with backends, and with how many.
    problems: Vec<BackendProblem>,
    /// Whether so many backends with instances are silent at once that none of these is given up.
    mass_failure: bool,
    /// Backends whose keys are refused now because they sent too many messages.
    refused: usize,
    /// Messages of backends beyond their limits that this replica has dropped since it started.
    dropped_messages: u64,
}

/// A problem of backends.
#[derive(Serialize, ToSchema)]
struct BackendProblem {
    /// One sentence about each of them.
    reason: &'static str,
    count: usize,
}

impl BackendCount {
    fn new(fleet: FleetHealth, GateCounts { refused, dropped: dropped_messages }: GateCounts) -> Self {
        let FleetHealth { registered, connected, degraded, problems, mass_failure } = fleet;
        let problems =
            problems.into_iter().map(|(problem, count)| BackendProblem { reason: problem.text(), count }).collect();
        Self { registered, connected, degraded, problems, mass_failure, refused, dropped_messages }
    }
}

/// The log, as this replica knows it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LogHealth {
    /// The last sequence in the log; null if the broker is down.
    #[schema(required)]
    end: Option<u64>,
    /// The last sequence that this replica has applied.
    position: u64,
    /// Whether this replica receives the log and has caught up.
    following: bool,
    /// Bytes that the events take; null until they are known.
    #[schema(required)]
    bytes: Option<u64>,
    /// The log's limit (`DOCKHOST_LOG_MAX_BYTES`); from 90 % on, only commands are accepted that end something. Null if it
    /// is not known or there is none.
    #[schema(required)]
    max_bytes: Option<u64>,
}

/// How far a read model is.
#[derive(Serialize, ToSchema)]
struct ProjectionHealth {
    /// The last sequence that it has.
    position: u64,
    /// Sequences between `position` and the last event that concerns it.
    lag: u64,
    /// Only if it has stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stopped: Option<Stopped>,
    /// Only while it is rebuilt beside the live documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    building: Option<Building>,
}

/// The progress of a rebuild.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Building {
    /// The fold version of the new documents.
    fold_version: u32,
    /// The sequence up to which the log is folded.
    done: u64,
    /// The sequence to which it will be folded.
    total: u64,
}

/// Why a read model has stopped.
#[derive(Serialize, ToSchema)]
struct Stopped {
    why: String,
    /// The command that repairs it, if one does.
    #[schema(required)]
    run: Option<String>,
}

/// The quarantined aggregates.
#[derive(Serialize, ToSchema)]
struct QuarantineHealth {
    count: usize,
    /// The first 20.
    entries: Vec<QuarantineEntry>,
}

/// An aggregate with an event that can't be read.
#[derive(Serialize, ToSchema)]
struct QuarantineEntry {
    subject: String,
    sequence: u64,
    why: String,
    /// The read models that lack its events.
    models: Vec<&'static str>,
}

impl From<bool> for UpOrDown {
    fn from(up: bool) -> Self {
        if up { Self::Up } else { Self::Down }
    }
}

impl From<BuildStatus> for Building {
    fn from(BuildStatus { fold_version, done, total, .. }: BuildStatus) -> Self {
        Self { fold_version, done, total }
    }
}

impl From<StopReason> for Stopped {
    fn from(StopReason { why, run }: StopReason) -> Self {
        Self { why, run }
    }
}

/// What the projectors have quarantined, by the checkpoints, and what this replica can't read.
fn quarantine(app: &App) -> QuarantineHealth {
    let mut found: BTreeMap<String, (Unreadable, Vec<&'static str>)> = BTreeMap::new();
    for ModelInfo { name: model, .. } in MODELS {
        for entry in app.progress.quarantine(model).entries() {
            found.entry(entry.subject.clone()).or_insert_with(|| (entry.clone(), Vec::new())).1.push(model);
        }
    }
    for entry in app.follower.frozen().entries() {
        found.entry(entry.subject.clone()).or_insert_with(|| (entry.clone(), Vec::new()));
    }
    let count = found.len();
    let entries = found.into_values().take(MAX_QUARANTINE_ENTRIES);
    let entries = entries.map(|(Unreadable { subject, sequence, why }, models)| QuarantineEntry {
        subject,
        sequence,
        why,
        models,
    });
    QuarantineHealth { count, entries: entries.collect() }
}

fn projections(app: &App) -> BTreeMap<&'static str, ProjectionHealth> {
    let health = |&ModelInfo { name: model, kind, .. }: &ModelInfo| {
        let position = app.progress.position(model);
        // Only events of the model's own kind can be missing.
        let lag = app.follower.last_sequence_of(kind).saturating_sub(position);
        let stopped = app.progress.stop_reason(model).map(Stopped::from);
        let building = app.progress.build(model).map(Building::from);
        (model, ProjectionHealth { position, lag, stopped, building })
    };
    MODELS.iter().map(health).collect()
}

/// What is wrong, in plain words.
fn problems(app: &App) -> Vec<String> {
    let leaderless = app.log_monitor.leaderless().map(|unrenewed| {
        let seconds = unrenewed.as_secs();
        format!(
            "nobody leads: no server has renewed the leader's lease for {seconds} s; nothing is carried out, because the \
             broker can't store or no server can lead"
        )
    });
    let full = app.log_monitor.size().and_then(|size| {
        let percent = size.percent();
        match size.fullness() {
            Fullness::Normal => None,
            Fullness::High | Fullness::VeryHigh => Some(format!("the event log is {percent} % full")),
            Fullness::Reserve => {
                Some(format!("the event log is {percent} % full: sign-ups, sign-ins, creates and resumes are refused"))
            }
        }
    });
    let lost = MODELS.iter().filter(|model| app.progress.is_incomplete(model.name));
    let lost = lost.map(|model| format!("the documents of {} were lost and are folded again from the log", model.name));
    leaderless.into_iter().chain(full).chain(lost).collect()
}

error_responses!(HealthErrors:);

/// Health of this replica
///
/// This answer has no envelope.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tag = "Server",
    responses(
        (status = 200, description = "This replica serves requests.", body = Health),
        (status = 503, description = "This replica can't serve all requests now.", body = Health),
        HealthErrors,
    ),
)]
pub async fn get(State(app): State<Arc<App>>) -> (StatusCode, Json<Health>) {
    let Dependencies { is_database_up, log_end: end } = app.dependencies.get(&app).await;
    let (quarantined, projections) = (quarantine(&app), projections(&app));
    let is_led = app.log_monitor.leaderless().is_none();
    let parts = [(Part::Database, is_database_up), (Part::Broker, end.is_some()), (Part::Leader, is_led)];
    let down: Vec<Part> = parts.into_iter().filter(|(_, up)| !up).map(|(part, _)| part).collect();
    let size = app.log_monitor.size();
    let is_nearly_full = size.is_some_and(|size| size.fullness() >= Fullness::VeryHigh);
    let lacks_documents =
        projections.iter().any(|(model, one)| one.stopped.is_some() || app.progress.is_incomplete(model));
    let following = app.follower.is_live();
    let status = if app.stages.announced.is_cancelled() {
        HealthStatus::Stopping
    } else if !down.is_empty() {
        HealthStatus::Unavailable
    } else if !following {
        HealthStatus::CatchingUp
    } else if quarantined.count > 0 || is_nearly_full || lacks_documents {
        HealthStatus::Degraded
    } else {
        HealthStatus::Ok
    };
    let serves = matches!(status, HealthStatus::Ok | HealthStatus::Degraded);
    let health = Health {
        status,
        down,
        problems: problems(&app),
        database: is_database_up.into(),
        broker: end.is_some().into(),
        backends: BackendCount::new(app.follower.fleet().health(), app.gate.counts()),
        uptime: app.started.elapsed().as_secs(),
        log: LogHealth {
            end,
            position: app.follower.position(),
            following,
            bytes: size.map(|size| size.bytes),
            max_bytes: size.and_then(|size| size.max_bytes),
        },
        projections,
        quarantined,
    };
    (if serves { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(health))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use dockhost_domain::reported::ShortText;
    use dockhost_domain::wire::{EngineState, ImageState, IsolationState, MachineStatus};
    use dockhost_projections::MODELS;
    use serde_json::json;

    use crate::event_log::size::LogSize;
    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn health_with_everything_up_is_ok() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        // The clock jumps over the wait for checkpoints, which these tests don't have.
        tokio::time::pause();
        let answer = app.get("/health").send().await;
        let end = app.log.events().len();
        let expected = json!({
            "status": "ok", "down": [], "problems": [], "database": "up", "broker": "up",
            "backends": {
                "registered": 1, "connected": 1, "degraded": 0, "problems": [], "massFailure": false,
                "refused": 0, "droppedMessages": 0,
            },
            "uptime": answer.body["uptime"],
            "log": { "end": end, "position": end, "following": true, "bytes": null, "maxBytes": null },
            "projections": answer.body["projections"],
            "quarantined": { "count": 0, "entries": [] },
        });
        assert_eq!((answer.status, &answer.body), (200, &expected));
        let models: BTreeSet<&str> =
            answer.body["projections"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(models, MODELS.iter().map(|model| model.name).collect());
        assert_eq!(answer.body["projections"]["backends"]["lag"], 0);
    }

    #[tokio::test]
    async fn health_during_a_shutdown_is_503_while_requests_are_served() {
        let app = TestApp::new().await;
        app.app.stages.announced.cancel();
        tokio::time::pause();
        let answer = app.get("/health").send().await;
        assert_eq!((answer.status, &answer.body["status"]), (503, &json!("stopping")), "{answer:?}");
        assert_eq!(answer.body["down"], json!([]));
        assert_eq!(app.get("/").send().await.status, 200);
    }

    #[tokio::test]
    async fn health_counts_what_is_wrong_with_backends() {
        let app = TestApp::new().await;
        let reason = || ShortText::cleaned("not shown here");
        for (name, machine) in [
            ("lab-1", MachineStatus::default()),
            ("lab-2", MachineStatus { engine: Some(EngineState::Down { reason: reason() }), ..Default::default() }),
            ("lab-3", MachineStatus { image: Some(ImageState::Missing { reason: reason() }), ..Default::default() }),
            (
                "lab-4",
                MachineStatus { isolation: Some(IsolationState::Missing { reason: reason() }), ..Default::default() },
            ),
        ] {
            let backend = app.connected_backend(name, 5).await;
            app.beat(backend.id, machine);
        }
        tokio::time::pause();
        let answer = app.get("/health").send().await;
        let problem = |reason: &str| json!({ "reason": reason, "count": 1 });
        let expected = json!({
            "registered": 4, "connected": 4, "degraded": 2, "massFailure": false, "refused": 0, "droppedMessages": 0,
            "problems": [
                problem("the container engine of its machine does not answer"),
                problem("its machine lacks the image of new instances"),
                problem("instances on its machine are not isolated from its network"),
            ],
        });
        assert_eq!((answer.status, &answer.body["backends"]), (200, &expected));
    }

    #[tokio::test]
    async fn health_with_a_part_down_is_unavailable() {
        let app = TestApp::new().await;
        app.store.set_unavailable(true);
        let answer = app.get("/health").send().await;
        assert_eq!((answer.status, &answer.body["status"]), (503, &json!("unavailable")), "{answer:?}");
        assert_eq!((&answer.body["down"], &answer.body["database"]), (&json!(["database"]), &json!("down")));
        // An answer is used for a second.
        tokio::time::pause();
        app.log.set_unavailable(true);
        let cached = app.get("/health").send().await;
        assert_eq!((cached.status, &cached.body["down"]), (503, &json!(["database"])), "{cached:?}");
        tokio::time::advance(Duration::from_secs(1)).await;
        let answer = app.get("/health").send().await;
        assert_eq!((answer.status, &answer.body["down"]), (503, &json!(["database", "broker"])), "{answer:?}");
        assert_eq!((&answer.body["broker"], &answer.body["log"]["end"]), (&json!("down"), &json!(null)));
    }

    #[tokio::test]
    async fn health_of_a_nearly_full_log_is_degraded_and_says_so() {
        let app = TestApp::new().await;
        tokio::time::pause();
        for (bytes, status, problem) in [
            (69, "ok", None),
            (70, "ok", Some("the event log is 70 % full")),
            (85, "degraded", Some("the event log is 85 % full")),
            (90, "degraded", Some("the event log is 90 % full: sign-ups, sign-ins, creates and resumes are refused")),
        ] {
            app.app.executor.capacity().record(LogSize { bytes, max_bytes: Some(100) });
            let answer = app.get("/health").send().await;
            assert_eq!((answer.status, &answer.body["status"]), (200, &json!(status)), "{answer:?}");
            assert_eq!(answer.body["problems"], json!(problem.into_iter().collect::<Vec<_>>()), "{answer:?}");
            assert_eq!((&answer.body["log"]["bytes"], &answer.body["log"]["maxBytes"]), (&json!(bytes), &json!(100)));
        }
    }

    #[tokio::test]
    async fn health_with_an_unreadable_event_is_degraded() {
        let app = TestApp::new().await;
        let subject = format!("dockhost.event.tenancy.{}", app.user("ada").await.id);
        let sequence = app.log.put_unreadable(&subject, "unknown variant");
        app.app.follower.wait_until_applied(sequence).await;
        tokio::time::pause();
        let answer = app.get("/health").send().await;
        assert_eq!((answer.status, &answer.body["status"]), (200, &json!("degraded")), "{answer:?}");
        let entry = json!({ "subject": subject, "sequence": sequence, "why": "unknown variant", "models": [] });
        assert_eq!(answer.body["quarantined"], json!({ "count": 1, "entries": [entry] }));
    }
}
