//! `GET /api/v2/admin/refusals`: how many sign-ins are refused, and whether they are rising.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::common::clock;
use crate::http::app::App;
use crate::http::extract::CurrentAdmin;
use crate::http::response::documented::{ADMIN, error_responses};
use crate::http::response::{ApiError, Reply, Success};

/// Refused sign-ins of all servers, as far as they were stored since this server started.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusalCounts {
    /// Those of the last 10 minutes.
    last_ten_minutes: u64,
    /// Those of the hour before these.
    hour_before: u64,
    /// Whether there were at least 20 in the last 10 minutes, and more than twice the average of the hour before.
    is_rising: bool,
}

error_responses!(RefusalErrors: ADMIN);

/// Get the number of refused sign-ins
///
/// Each server stores its counts once a minute; the audit has them by source (`?type=refusals`).
#[utoipa::path(
    get,
    path = "/api/v2/admin/refusals",
    operation_id = "getRefusals",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    responses((status = 200, description = "The counts.", body = Success<RefusalCounts>), RefusalErrors),
)]
pub async fn get(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
) -> Result<Reply<RefusalCounts>, ApiError> {
    let refused = app.follower.refused_sign_ins(clock::now());
    let counts =
        RefusalCounts { last_ten_minutes: refused.lately, hour_before: refused.before, is_rising: refused.is_rising() };
    Ok(Reply::ok("the refused sign-ins", counts))
}

#[cfg(test)]
mod tests {
    use dockhost_domain::refusal::{Network, RefusalKind, RefusalSource};
    use serde_json::json;

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn refusals_rise_with_the_sign_ins_that_are_in_the_log() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let get = async || app.get("/api/v2/admin/refusals").token(&boss.token).send().await.data().clone();
        assert_eq!(get().await, json!({ "lastTenMinutes": 0, "hourBefore": 0, "isRising": false }));
        let source = RefusalSource::Network(Network::of("192.0.2.1".parse().unwrap()));
        (0..20).for_each(|_| app.app.refusals.count(source, RefusalKind::SignIn));
        app.app.refusals.count(source, RefusalKind::Forbidden);
        app.app.refusals.store(&app.app.executor).await;
        app.settle().await;
        assert_eq!(get().await, json!({ "lastTenMinutes": 20, "hourBefore": 0, "isRising": true }));
    }
}
