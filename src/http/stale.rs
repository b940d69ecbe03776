//! The mark on what is older than the log: an aggregate that is held back, or a model that stands still.
//!
//! In: from where on an answer lacks events, as the store or the projector knows it. Out: `stale: {since}` in what is
//! shown, and the header `Dockhost-Stale` for whoever looks at no body.

use axum::http::header::HeaderName;
use dockhost_projections::model::ReadModel;
use serde_json::{Value, json};

use super::app::App;

/// The sequence from which on events are not in the answer.
pub const STALE: HeaderName = HeaderName::from_static("dockhost-stale");

/// From which sequence on the answer lacks events: its own aggregate's, or anybody's because the model stopped.
pub fn since<M: ReadModel>(app: &App, held_from: Option<u64>) -> Option<u64> {
    held_from.or_else(|| app.progress.stop_reason(M::NAME).map(|_| app.progress.position(M::NAME) + 1))
}

/// Marks what is shown, if it is stale.
#[must_use]
pub fn mark(mut shown: Value, since: Option<u64>) -> Value {
    if let Some(since) = since {
        shown["stale"] = json!({ "since": since });
    }
    shown
}
