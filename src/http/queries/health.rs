//! `GET /health`: whether this replica can serve. 503 when a part that requests need is down, naming it; having no
//! backend is no fault of the server's. What serves, but not everything, is `degraded`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use dockhost_projections::Unreadable;
use serde_json::{Map, Value, json};

use crate::event_log::Filter;
use crate::http::app::App;
use crate::replica::projection_progress::MODELS;

/// Quarantined aggregates that are listed.
const SHOWN: usize = 20;
/// How long the parts may take to answer.
const WITHIN: Duration = Duration::from_secs(2);

async fn database(app: &App) -> bool {
    matches!(tokio::time::timeout(WITHIN, app.store.ping()).await, Ok(Ok(())))
}

async fn end_of_log(app: &App) -> Option<u64> {
    if !app.broker.is_connected() {
        return None;
    }
    tokio::time::timeout(WITHIN, app.executor.log().end(Filter::All)).await.ok()?.ok()
}

/// Events that a model lacks; only those of its own kind can be missing from it.
fn lag(app: &App, model: &str, kind: &str) -> u64 {
    app.follower.last_sequence_of(kind).saturating_sub(app.progress.position(model))
}

/// What can't be folded, by the models' checkpoints, and what can't be read, by this replica: the count, and the first
/// few.
fn quarantined(app: &App) -> Value {
    let mut found: BTreeMap<String, (Unreadable, Vec<&str>)> = BTreeMap::new();
    for (model, _) in MODELS {
        for held in app.progress.quarantine(model).entries() {
            found.entry(held.subject.clone()).or_insert_with(|| (held.clone(), Vec::new())).1.push(model);
        }
    }
    for frozen in app.follower.frozen().entries() {
        found.entry(frozen.subject.clone()).or_insert_with(|| (frozen.clone(), Vec::new()));
    }
    let entries = found.values().take(SHOWN).map(|(Unreadable { subject, sequence, why }, models)| {
        json!({ "subject": subject, "sequence": sequence, "why": why, "models": models })
    });
    json!({ "count": found.len(), "entries": entries.collect::<Vec<_>>() })
}

/// Handles the request.
pub async fn get(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let (database, end) = tokio::join!(database(&app), end_of_log(&app));
    let word = |up| if up { "up" } else { "down" };
    // Word of the leader's progress may have been missed, as by a replica that has just begun; and what is held back
    // is said by the checkpoints alone.
    if database {
        // Bounded; what is dropped here is only the waiting, the operations end by themselves.
        let _ = tokio::time::timeout(WITHIN, app.progress.refresh()).await;
    }
    let quarantined = quarantined(&app);
    let mut degraded = quarantined["count"] != 0;
    let projections: Map<String, Value> = MODELS
        .iter()
        .map(|(model, kind)| {
            let mut known = json!({ "position": app.progress.position(model), "lag": lag(&app, model, kind) });
            if let Some(stopped) = app.progress.stop_reason(model) {
                degraded = true;
                known["stopped"] = json!(stopped);
            }
            ((*model).to_owned(), known)
        })
        .collect();
    let (registered, connected) = app.follower.fleet().count();
    let down: Vec<&str> = [("database", database), ("broker", end.is_some())]
        .iter()
        .filter(|(_, up)| !up)
        .map(|(part, _)| *part)
        .collect();
    let following = app.follower.is_live();
    let status = if !down.is_empty() {
        "unavailable"
    } else if !following {
        "catching_up"
    } else if degraded {
        "degraded"
    } else {
        "ok"
    };
    let body = json!({
        "status": status,
        "down": down,
        "database": word(database),
        "broker": word(end.is_some()),
        "backends": { "registered": registered, "connected": connected },
        "uptime": app.started.elapsed().as_secs(),
        "log": { "end": end, "position": app.follower.position(), "following": following },
        "projections": projections,
        "quarantined": quarantined,
    });
    (if down.is_empty() && following { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}
