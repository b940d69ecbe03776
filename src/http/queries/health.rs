//! `GET /health`: whether this replica can serve.
//!
//! 503 while a part that requests need is down, or nothing is carried out: the broker acknowledges no writes, a stream has
//! no leader, or nobody leads. No connected backend is not a fault of the server. `degraded` is 200: an aggregate is
//! quarantined, a read model has stopped, the log or the broker's store is nearly full or the broker lacks a node, and
//! everything else is served.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use dockhost_projections::registry::ModelInfo;
use dockhost_projections::{MODELS, Unreadable};

use crate::broker::clock_check::MAX_DEVIATION_MILLIS;
use crate::common::clock;
use crate::event_log::size::Fullness;
use crate::http::app::App;
use crate::http::broker_findings::Findings;
use crate::http::dependencies::Dependencies;
use crate::http::response::documented::error_responses;
use crate::http::views::health::{
    Building, ClientCounts, FleetCounts, Health, HealthStatus, LogHealth, Part, Phase, ProjectionHealth,
    QuarantineEntry, QuarantineHealth, Stopped,
};

/// Quarantined aggregates that the answer lists.
const MAX_QUARANTINE_ENTRIES: usize = 20;

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
fn problems(app: &App, broker: Vec<String>) -> Vec<String> {
    let leaderless = app.log_monitor.leaderless().map(|unrenewed| {
        let seconds = unrenewed.as_secs();
        format!("nobody leads: no server has renewed the leader's lease for {seconds} s; nothing is carried out")
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
    let clock = clock_problem(clock::deviation());
    leaderless.into_iter().chain(broker).chain(full).chain(lost).chain(clock).collect()
}

/// What is wrong with a clock that is so many milliseconds ahead of the broker's.
fn clock_problem(ahead: i64) -> Option<String> {
    let seconds = ahead.unsigned_abs() / 1000;
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    let text = || format!("this machine's clock is {seconds} s {side} the broker's, whose time is used; set the clock");
    (seconds >= 2).then(text)
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
    let health = assess(&app).await;
    (status_code(health.status), Json(health))
}

/// The status of an answer, by which load balancers and probes go.
pub const fn status_code(status: HealthStatus) -> StatusCode {
    if status.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// The health of this replica now.
pub async fn assess(app: &App) -> Health {
    let Dependencies { is_database_up, log_end: end } = app.dependencies.get(app).await;
    let (quarantined, projections) = (quarantine(app), projections(app));
    let is_led = app.log_monitor.leaderless().is_none();
    let is_clock_right = clock::deviation().saturating_abs() <= MAX_DEVIATION_MILLIS;
    let parts = [
        (Part::Database, is_database_up),
        (Part::Broker, end.is_some()),
        (Part::Leader, is_led),
        (Part::Clock, is_clock_right),
    ];
    let mut down: Vec<Part> = parts.into_iter().filter(|(_, up)| !up).map(|(part, _)| part).collect();
    // A broker that does not answer is one fault, not three.
    let mut broker = if end.is_some() { app.broker_facts().findings() } else { Findings::default() };
    down.append(&mut broker.down);
    let size = app.log_monitor.size();
    let is_nearly_full = size.is_some_and(|size| size.fullness() >= Fullness::VeryHigh);
    let lacks_documents =
        projections.iter().any(|(model, one)| one.stopped.is_some() || app.progress.is_incomplete(model));
    let following = app.follower.is_live();
    let phase = if app.stages.announced.is_cancelled() {
        Phase::Stopping
    } else if following {
        Phase::Serving
    } else {
        Phase::CatchingUp
    };
    let status = if phase != Phase::Serving || !down.is_empty() {
        HealthStatus::Unhealthy
    } else if quarantined.count > 0 || is_nearly_full || lacks_documents || broker.is_degraded {
        HealthStatus::Degraded
    } else {
        HealthStatus::Healthy
    };
    let fleet = app.follower.fleet().health();
    Health {
        status,
        phase,
        down,
        problems: problems(app, broker.problems),
        database: is_database_up.into(),
        broker: end.is_some().into(),
        backends: fleet.connected,
        fleet: FleetCounts::new(fleet, app.gate.counts()),
        clients: ClientCounts {
            event_streams: app.streams.open() as u64,
            socket_io: app.metrics.state.socket_io_clients(),
        },
        uptime: app.started.elapsed().as_secs(),
        log: LogHealth {
            end,
            position: app.follower.position(),
            following,
            bytes: size.map(|size| size.bytes),
            max_bytes: size.and_then(|size| size.max_bytes),
        },
        store: app.store_room.fullest().map(Into::into),
        projections,
        quarantined,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use dockhost_domain::reported::ShortText;
    use dockhost_domain::wire::{EngineState, ImageState, IsolationState, MachineStatus};
    use dockhost_projections::{MODELS, ProjectionError};
    use serde_json::json;

    use crate::event_log::size::LogSize;
    use crate::http::testing::TestApp;
    use crate::replica::projection_progress::StopReason;

    #[tokio::test]
    async fn health_with_everything_up_is_healthy() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        // The clock jumps over the wait for checkpoints, which these tests don't have.
        tokio::time::pause();
        let answer = app.get("/health").send().await;
        let end = app.log.events().len();
        let expected = json!({
            "status": "healthy", "phase": "serving", "down": [], "problems": [], "database": "connected",
            "broker": "connected", "backends": 1,
            "fleet": {
                "registered": 1, "pending": 0, "cordoned": 0, "degraded": 0, "problems": [], "massFailure": false,
                "refused": 0, "droppedMessages": 0,
            },
            "clients": { "eventStreams": 0, "socketIo": 0 },
            "uptime": answer.body["uptime"],
            "log": { "end": end, "position": end, "following": true, "bytes": null, "maxBytes": null },
            "store": null,
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
        assert_eq!((answer.status, &answer.body["status"]), (503, &json!("unhealthy")), "{answer:?}");
        assert_eq!(answer.body["phase"], "stopping");
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
            app.cordon(backend.id, name == "lab-4").await;
        }
        app.connect(app.pending_backend("lab-5").await).await;
        tokio::time::pause();
        let answer = app.get("/health").send().await;
        let problem = |reason: &str| json!({ "reason": reason, "count": 1 });
        let expected = json!({
            "registered": 4, "pending": 1, "cordoned": 1, "degraded": 2, "massFailure": false,
            "refused": 0, "droppedMessages": 0,
            "problems": [
                problem("the container engine of its machine does not answer"),
                problem("its machine lacks the image of new instances"),
                problem("instances on its machine are not isolated from its network"),
            ],
        });
        assert_eq!((answer.status, &answer.body["backends"], &answer.body["fleet"]), (200, &json!(4), &expected));
    }

    #[tokio::test]
    async fn health_with_a_part_down_is_unhealthy() {
        let app = TestApp::new().await;
        app.store.set_unavailable(true);
        let answer = app.get("/health").send().await;
        assert_eq!((answer.status, &answer.body["status"]), (503, &json!("unhealthy")), "{answer:?}");
        assert_eq!((&answer.body["down"], &answer.body["database"]), (&json!(["database"]), &json!("disconnected")));
        // An answer is used for a second.
        tokio::time::pause();
        app.log.set_unavailable(true);
        let cached = app.get("/health").send().await;
        assert_eq!((cached.status, &cached.body["down"]), (503, &json!(["database"])), "{cached:?}");
        tokio::time::advance(Duration::from_secs(1)).await;
        let answer = app.get("/health").send().await;
        assert_eq!((answer.status, &answer.body["down"]), (503, &json!(["database", "broker"])), "{answer:?}");
        assert_eq!((&answer.body["broker"], &answer.body["log"]["end"]), (&json!("disconnected"), &json!(null)));
    }

    /// As at a leader that can't fold an event and has lost its database, or that nobody leads any more.
    #[tokio::test]
    async fn health_with_a_fold_that_fails_beside_a_part_that_is_down_shows_both() {
        let app = TestApp::new().await;
        let failed = ProjectionError::History("the fold failed".into());
        app.app.progress.record_stop("users", StopReason::of("users", &failed));
        tokio::time::pause();
        let folding = app.get("/health").send().await;
        assert_eq!((folding.status, &folding.body["status"]), (200, &json!("degraded")), "{folding:?}");
        app.store.set_unavailable(true);
        tokio::time::advance(Duration::from_secs(1)).await;
        let both = app.get("/health").send().await;
        assert_eq!((both.status, &both.body["down"]), (503, &json!(["database"])), "{both:?}");
        let stopped = &both.body["projections"]["users"]["stopped"];
        assert!(stopped.is_object() && *stopped == folding.body["projections"]["users"]["stopped"], "{both:?}");
    }

    #[tokio::test]
    async fn health_of_a_nearly_full_log_is_degraded_and_says_so() {
        let app = TestApp::new().await;
        tokio::time::pause();
        for (bytes, status, problem) in [
            (69, "healthy", None),
            (70, "healthy", Some("the event log is 70 % full")),
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
