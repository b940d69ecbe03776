//! `GET /api/v2/admin/quarantine`: the aggregates with an event that can't be read.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::Unreadable;
use dockhost_projections::quarantined::{Quarantined, by_subject};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::list::{self, List};
use crate::http::app::App;
use crate::http::extract::{CurrentAdmin, Query};
use crate::http::response::documented::{ADMIN, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

/// Which part of the list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct QuarantineParameters {
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    cursor: Option<String>,
}

impl QuarantineParameters {
    /// The page after another.
    pub const fn after(cursor: Option<String>) -> Self {
        Self { limit: None, cursor }
    }
}

/// An aggregate with an event that can't be read.
#[derive(Serialize, ToSchema)]
pub struct QuarantinedAggregate {
    /// Its subject in the log, such as `dockhost.event.tenancy.` and the id of a user.
    subject: String,
    /// The sequence of its first event that can't be read.
    sequence: u64,
    /// When that event was stored; null if the log has none there.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// What is wrong with it.
    why: String,
    /// The read models that lack its events from there on. Empty if this server refuses commands on it and no read model lacks
    /// anything; then there is nothing to retry.
    models: Vec<&'static str>,
}

error_responses!(QuarantineErrors: ADMIN, &[Code::DatabaseUnavailable, Code::ValidationFailed]);

/// List the quarantined aggregates
///
/// In the order of their subjects: what the read models have quarantined, and what this server has not been able to read since
/// it started.
#[utoipa::path(
    get,
    path = "/api/v2/admin/quarantine",
    operation_id = "listQuarantine",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(QuarantineParameters),
    responses(
        (status = 200, description = "The quarantined aggregates.", body = Success<List<QuarantinedAggregate>>),
        QuarantineErrors,
    ),
)]
pub async fn get(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Query(parameters): Query<QuarantineParameters>,
) -> Result<Reply<List<QuarantinedAggregate>>, ApiError> {
    let page = list::page::<String>(parameters.limit, parameters.cursor.as_deref())?;
    let in_models = app.store.quarantined().await.map_err(|error| ApiError::database(&error))?;
    let in_models = in_models.into_iter().map(|(model, event)| (Some(model), event));
    let frozen = app.follower.frozen();
    let found = by_subject(in_models.chain(frozen.entries().map(|event| (None, event.clone()))));
    let subject = |one: &Quarantined| one.event.subject.clone();
    let is_after = |one: &Quarantined, last: &String| one.event.subject > *last;
    let (shown, next) = list::part(Some(&page), found.into_values(), subject, is_after);
    let items = try_join_all(shown.into_iter().map(|one| view(&app, one))).await?;
    Ok(Reply::ok("the quarantined aggregates", List::with_cursor(items, next)))
}

async fn view(app: &App, Quarantined { event, models }: Quarantined) -> Result<QuarantinedAggregate, ApiError> {
    let Unreadable { subject, sequence, why } = event;
    let since = app.executor.log().stored_at(&subject, sequence).await?;
    Ok(QuarantinedAggregate { subject, sequence, since, why, models })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::http::testing::TestApp;

    const PATH: &str = "/api/v2/admin/quarantine";

    #[tokio::test]
    async fn list_quarantine_has_what_read_models_lack_and_what_the_server_cannot_read() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let list = async |query: &str| app.get(&format!("{PATH}{query}")).token(&boss.token).send().await;
        assert_eq!(list("").await.data(), &json!({ "items": [], "nextCursor": null }));

        let [tenancy, claim] = ["tenancy.0193b3a0-0000-7000-8000-000000000001", "claim.username.abc"];
        let [tenancy, claim] = [tenancy, claim].map(|rest| format!("dockhost.event.{rest}"));
        let sequence = app.log.put_unreadable(&tenancy, "unknown variant");
        app.store.quarantine("instances", Unreadable::new(&*tenancy, sequence, "unknown variant"), false);
        app.log.put_unreadable(&claim, "malformed");
        app.eventually("the follower has read both", async || app.app.follower.frozen().len() == 2).await;

        let all = list("").await.data()["items"].clone();
        assert_eq!(all.as_array().map(Vec::len), Some(2), "{all}");
        let expected = [(&claim, json!([]), "malformed"), (&tenancy, json!(["instances"]), "unknown variant")];
        for (item, (subject, models, why)) in all.as_array().unwrap().iter().zip(expected) {
            assert_eq!((&item["subject"], &item["models"], &item["why"]), (&json!(subject), &models, &json!(why)));
            assert!(item["since"].is_string(), "{item}");
        }
        assert_eq!(all[1]["sequence"], sequence);

        let first = list("?limit=1").await;
        assert_eq!((&first.data()["items"][0], &first.data()["nextCursor"]), (&all[0], &json!(claim)));
        let second = list(&format!("?limit=1&cursor={claim}")).await;
        assert_eq!((&second.data()["items"][0], &second.data()["nextCursor"]), (&all[1], &Value::Null));
    }
}
