//! `GET /api/v2/user/me/export`: everything that is known of the caller.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::timestamp::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::me::Me;
use super::sessions::Session;
use super::{instances, me, sessions, ssh_keys};
use crate::common::clock;
use crate::event_log::Filter;
use crate::http::admin::list::ArrayPage;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentUser, IfNoneMatch, ReadPosition};
use crate::http::past::audit_event::{AuditEvent, FoundEvent};
use crate::http::response::documented::{CALLER, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::{Instance, SshKey};

/// Events of an export, as many as a person has in years; each takes about a kilobyte.
const MAX_EVENTS: usize = 50_000;

/// Everything that is known of a user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountExport {
    #[schema(value_type = String, format = DateTime)]
    exported_at: Timestamp,
    user: Me,
    ssh_keys: Vec<SshKey>,
    /// Without those that have ended or expired; `events` has them.
    sessions: Vec<Session>,
    /// Without deleted ones; `events` has them.
    instances: Vec<Instance>,
    /// All events about the account, its sessions and its instances, the first one first in each of the three, without what
    /// passwords and tokens are checked with.
    events: Vec<AuditEvent>,
    /// Whether all events are there; an export has at most 50,000.
    has_all_events: bool,
}

error_responses!(ExportErrors: CALLER, READ_MODEL, &[Code::NotFound, Code::RateLimited]);

/// Export your data
///
/// Everything that is known of you, as one file. The server does one export of a user at a time.
#[utoipa::path(
    get,
    path = "/api/v2/user/me/export",
    operation_id = "exportAccount",
    tag = "Users",
    security(("userToken" = []), ("userCookie" = [])),
    params(ReadPosition),
    responses(
        (status = 200, description = "The data.", body = Success<AccountExport>, headers(
            ("Content-Disposition" = String, description = "The name of the file."),
            ("Dockhost-Position" = LogPosition, description = "All events up to there were looked at."),
        )),
        ExportErrors,
    ),
)]
pub async fn get(
    caller: CurrentUser,
    State(app): State<Arc<App>>,
    position: ReadPosition,
) -> Result<Reply<AccountExport>, ApiError> {
    let user_id = caller.user_id;
    let permit = app.log_reader.permit(user_id).await?;
    let end = app.executor.log().end(Filter::All).await?;
    let aggregates = [
        AggregateId::Account(user_id),
        AggregateId::Session(user_id.into()),
        AggregateId::Tenancy(user_id),
        AggregateId::Webhooks(user_id),
    ];
    let (mut found, mut has_all_events) = (Vec::new(), true);
    for aggregate in aggregates {
        let keep = |entry: &_| {
            has_all_events = found.len() < MAX_EVENTS;
            if has_all_events {
                found.extend(FoundEvent::of(entry));
            }
            if has_all_events { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        permit.read(app.executor.log(), Filter::One(aggregate), 0, end, keep).await?;
    }
    drop(permit);
    let events = found.into_iter().map(|event| event.view_of_owner(&app)).collect();
    let export = AccountExport {
        exported_at: clock::now(),
        user: me::get(caller, State(Arc::clone(&app)), position, IfNoneMatch::default()).await?.into_data(),
        ssh_keys: ssh_keys::get(caller, State(Arc::clone(&app)), ArrayPage::all()).await?.into_data(),
        sessions: sessions::get(caller, State(Arc::clone(&app)), position, ArrayPage::all()).await?.into_data(),
        instances: instances::get(caller, State(Arc::clone(&app)), position, ArrayPage::all()).await?.into_data(),
        events,
        has_all_events,
    };
    Ok(Reply::ok("your data", export).attachment("dockhost-export.json").position(app.position(end)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn export_account_has_everything_of_the_caller_and_nothing_of_others() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let (ada, eve) = (app.signed_up_user("ada").await, app.signed_up_user("eve").await);
        app.running_instance(&ada, "web").await;
        app.running_instance(&eve, "private-of-eve").await;
        let answer = app.get("/api/v2/user/me/export").token(&ada.token).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"dockhost-export.json\""));
        let data = answer.data();
        assert_eq!((&data["user"]["email"], &data["hasAllEvents"]), (&json!("ada@example.org"), &json!(true)));
        assert_eq!(data["instances"][0]["name"], "web");
        assert_eq!(data["sessions"].as_array().unwrap().len(), 1);
        assert_eq!(data["sshKeys"][0]["name"], "default");
        let event = |kind: &str| {
            let events = data["events"].as_array().unwrap();
            &events.iter().find(|event| event["type"] == kind).unwrap_or_else(|| panic!("{kind}: {events:?}"))["data"]
        };
        assert_eq!(event("dockhost.account.created.v1")["username"], "ada");
        assert_eq!(event("dockhost.instance.requested.v1")["name"], "web");
        let text = data.to_string();
        for absent in ["private-of-eve", "eve@", "$argon2", "passwordVerifier"] {
            assert!(!text.contains(absent), "{absent}: {text}");
        }
    }
}
