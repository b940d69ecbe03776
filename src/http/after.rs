//! `Dockhost-Position` on a GET: the answer must hold everything up to there, on whichever replica.
//!
//! In: `<log incarnation>.<sequence>`, as an answer to a write gave it. Out: go on, once this replica and the read
//! model have reached it; past a bound 503 `not_caught_up`, never an older answer.

use std::time::Duration;

use axum::http::HeaderMap;
use dockhost_projections::model::ReadModel;

use super::app::App;
use super::error::{ApiError, Code};
use super::reply::POSITION;
use super::shown::held;

/// How long a GET waits.
const BOUND: Duration = Duration::from_secs(5);

fn sequence(app: &App, headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(POSITION) else { return Ok(None) };
    let wrong = |why: &str| ApiError::new(Code::InvalidHeader, format!("{POSITION}: {why}"));
    let text = value.to_str().map_err(|_| wrong("is not readable"))?;
    let (incarnation, sequence) = text.rsplit_once('.').ok_or_else(|| wrong("is not <log>.<sequence>"))?;
    if incarnation != app.executor.log().incarnation().to_string() {
        return Err(wrong("is a position of another log"));
    }
    sequence.parse().map(Some).map_err(|_| wrong("is not <log>.<sequence>"))
}

/// Waits until a model holds what the request's position asks for.
///
/// # Errors
/// `invalid_header`, `not_caught_up`, `database_unavailable`.
pub async fn wait<M: ReadModel>(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(sequence) = sequence(app, headers)? else { return Ok(()) };
    if held::<M>(&app.follower, &app.progress, sequence, BOUND).await {
        // What reached it may be a model that has just been rebuilt.
        app.store.look_again::<M>().await.map_err(|error| ApiError::database(&error))
    } else {
        Err(ApiError::new(Code::NotCaughtUp, "the answer would be older than the position asked for; try again"))
    }
}
