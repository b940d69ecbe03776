//! `POST /api/v2/admin/quarantine/{subject}/retry`: folds a quarantined aggregate again.
//!
//! The replica that gets the request does it itself, beside the projectors of the leader: the release is one conditional
//! update of the checkpoint, so it needs no message to the leader and no lock. The leader's projector finds its
//! checkpoint changed, also while nothing happens in the log, opens it again, and has the instances of the aggregate
//! reconciled (ADR 0030).

use std::sync::Arc;

use axum::extract::State;
use dockhost_projections::quarantined::Retried;
use dockhost_projections::{ProjectionError, Unreadable};
use serde::Serialize;
use utoipa::ToSchema;

use crate::common::error::chain;
use crate::event_log::LogError;
use crate::event_log::history::LogHistory;
use crate::http::app::App;
use crate::http::extract::{CurrentAdmin, Path};
use crate::http::response::documented::{ADMIN_OF_COMMAND, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

/// An aggregate that is no longer quarantined.
#[derive(Serialize, ToSchema)]
pub struct ReleasedAggregate {
    /// Its subject.
    subject: String,
    /// The read models that have its events now.
    models: Vec<&'static str>,
}

error_responses!(
    RetryErrors: ADMIN_OF_COMMAND,
    &[Code::NotFound, Code::StillQuarantined, Code::DatabaseUnavailable]
);

/// Retry a quarantined aggregate
///
/// This server folds the events that the read models lack, beside all others. It succeeds if this server can read the event,
/// because its version is newer than that of the server that could not, or because a lost key was restored. A leader of the
/// older version quarantines the aggregate again at the next event that it can't read.
#[utoipa::path(
    post,
    path = "/api/v2/admin/quarantine/{subject}/retry",
    operation_id = "retryQuarantined",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("subject" = String, Path, description = "The aggregate's subject.")),
    responses(
        (status = 200, description = "The aggregate is released.", body = Success<ReleasedAggregate>),
        RetryErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { user_id }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(subject): Path<String>,
) -> Result<Reply<ReleasedAggregate>, ApiError> {
    let history = LogHistory(Arc::clone(app.executor.log()));
    let retried = app.store.retry_quarantined(&history, &subject).await.map_err(|error| failed(&error))?;
    if retried.is_empty() {
        return Err(ApiError::not_found("quarantined aggregate"));
    }
    tracing::info!(administrator = %user_id, subject, ?retried, "retried a quarantined aggregate");
    if let Some(Unreadable { sequence, why, .. }) = retried.iter().find_map(|one| one.still.as_ref()) {
        let message = format!("this server can't read event {sequence} either: {why}");
        return Err(ApiError::new(Code::StillQuarantined, message));
    }
    let models = retried.into_iter().map(|Retried { model, .. }| model).collect();
    Ok(Reply::ok("the aggregate is released", ReleasedAggregate { subject, models }))
}

fn failed(error: &ProjectionError) -> ApiError {
    match error {
        ProjectionError::Store(error) => ApiError::database(error),
        ProjectionError::History(cause) => ApiError::from(LogError::Unavailable(chain(&**cause).into())),
        // The documents are those of another version, or of another log.
        other => ApiError::new(Code::StillQuarantined, chain(other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::testing::TestApp;

    const SUBJECT: &str = "dockhost.event.tenancy.0193b3a0-0000-7000-8000-000000000001";

    #[tokio::test]
    async fn retry_releases_what_this_server_can_read() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let retry = |subject: &str| {
            let path = format!("/api/v2/admin/quarantine/{subject}/retry");
            app.post(&path, json!({})).token(&boss.token).send()
        };
        app.store.quarantine("instances", Unreadable::new(SUBJECT, 7, "unknown type"), false);
        let refused = retry(SUBJECT).await;
        assert_eq!(refused.error(), (409, "still_quarantined"));
        assert_eq!(refused.body["message"], "this server can't read event 7 either: unknown type");

        let other = SUBJECT.replace("tenancy", "backend");
        app.store.quarantine("backends", Unreadable::new(&*other, 9, "unknown type"), true);
        let released = retry(&other).await;
        assert_eq!(released.data(), &json!({ "subject": other, "models": ["backends"] }));
        for gone in [&*other, "dockhost.event.tenancy.x", "%20"] {
            assert_eq!(retry(gone).await.error(), (404, "not_found"), "{gone}");
        }
        let left = app.get("/api/v2/admin/quarantine").token(&boss.token).send().await;
        assert_eq!(left.data()["items"][0]["subject"], SUBJECT);
    }
}
