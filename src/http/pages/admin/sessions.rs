//! `GET /admin/sessions`.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use dockhost_dashboard::admin::List;
use dockhost_dashboard::admin::sessions::{AllSessions, AllSessionsPage, AnySession};

use super::super::error::PageError;
use super::super::page::{Page, in_place, read};
use super::viewer::AdminViewer;
use super::with_parameter;
use crate::http::admin::sessions::{self, AllSessionsParameters};
use crate::http::app::App;
use crate::http::extract::{Query, ReadPosition};

pub async fn page(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    Query(parameters): Query<AllSessionsParameters>,
) -> Result<Page<AllSessionsPage>, PageError> {
    let query = query.unwrap_or_default();
    let is_narrowed = query.contains("user=");
    let (status, list) = list(&app, viewer, query, parameters).await;
    Ok(Page::with_status(status, AllSessionsPage { frame: viewer.frame(&app).await?, list, is_narrowed }))
}

pub async fn part(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    Query(parameters): Query<AllSessionsParameters>,
) -> Page<AllSessions> {
    let (status, list) = list(&app, viewer, query.unwrap_or_default(), parameters).await;
    Page::with_status(status, list)
}

async fn list(
    app: &Arc<App>,
    viewer: AdminViewer,
    query: String,
    parameters: AllSessionsParameters,
) -> (StatusCode, AllSessions) {
    let app = State(Arc::clone(app));
    let found = sessions::get(viewer.admin, app, ReadPosition(None), Query(parameters)).await;
    let (status, sessions) = in_place(found.and_then(|reply| read::<List<AnySession>>(reply.into_data())));
    let cursor = sessions.as_ref().ok().and_then(|list| list.next_cursor.as_deref());
    let next = cursor.map(|cursor| format!("/admin/sessions?{}", with_parameter(&query, "cursor", Some(cursor))));
    (status, AllSessions { sessions, query, next })
}
