//! `GET /admin/log`: the last events, and those before.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use dockhost_dashboard::admin::Chip;
use dockhost_dashboard::admin::log::{Event, LogPage, Tail};
use serde::Deserialize;

use super::super::error::PageError;
use super::super::page::{Page, in_place, read};
use super::viewer::AdminViewer;
use crate::http::admin::audit::{self, AuditParameters};
use crate::http::app::App;
use crate::http::extract::Query;
use crate::http::response::ApiError;

/// How many entries of the log a page looks at: as many events as the API answers at most.
const WINDOW: u64 = 200;

/// The kinds of events that can be chosen, by their words.
const KINDS: [(&str, Option<&str>); 6] = [
    ("All", None),
    ("Instances", Some("instance")),
    ("Machines", Some("backend")),
    ("Accounts", Some("account")),
    ("Sessions", Some("session")),
    ("Refusals", Some("refusals")),
];

/// Which events.
#[derive(Deserialize)]
pub struct LogParameters {
    #[serde(rename = "type")]
    kind: Option<String>,
    before: Option<u64>,
}

impl LogParameters {
    fn query(kind: Option<&str>) -> String {
        kind.map(|kind| format!("type={kind}")).unwrap_or_default()
    }
}

pub async fn page(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    Query(parameters): Query<LogParameters>,
) -> Result<Page<LogPage>, PageError> {
    let chip = |(name, kind): (&'static str, Option<&str>)| Chip {
        name,
        is_chosen: kind == parameters.kind.as_deref(),
        address: format!("/admin/log?{}", LogParameters::query(kind)),
    };
    let chips = KINDS.map(chip).to_vec();
    let (status, tail) = tail(&app, viewer, parameters).await;
    Ok(Page::with_status(status, LogPage { frame: viewer.frame(&app).await?, tail, chips }))
}

pub async fn part(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    Query(parameters): Query<LogParameters>,
) -> Page<Tail> {
    let (status, tail) = tail(&app, viewer, parameters).await;
    Page::with_status(status, tail)
}

async fn tail(app: &Arc<App>, viewer: AdminViewer, parameters: LogParameters) -> (StatusCode, Tail) {
    let LogParameters { kind, before } = parameters;
    let end = before.unwrap_or_else(|| app.follower.position().saturating_add(1));
    let start = end.saturating_sub(WINDOW).max(1);
    let (status, events) = in_place(events(app, viewer, kind.clone(), start, end).await);
    let query = LogParameters::query(kind.as_deref());
    let earlier = (start > 1).then(|| format!("/admin/log?{query}&before={start}"));
    (status, Tail { events, query, earlier, is_last: before.is_none() })
}

/// The events of a kind from one sequence on, before another, the last one first.
async fn events(
    app: &Arc<App>,
    viewer: AdminViewer,
    kind: Option<String>,
    start: u64,
    end: u64,
) -> Result<Vec<Event>, ApiError> {
    let parameters = AuditParameters::after(start.saturating_sub(1), kind);
    let found = audit::find(app, viewer.admin, &parameters).await?;
    let mut events: Vec<Event> = read(found.events)?;
    events.retain(|event| event.sequence < end);
    events.reverse();
    Ok(events)
}
