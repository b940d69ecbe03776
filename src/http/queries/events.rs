//! `GET /api/v2/user/events`: what concerns the caller, as it happens.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use crate::http::app::App;
use crate::http::events::{self, Caller, Change, Format, LastEventId, Reader, StreamLine, StreamRequest};
use crate::http::extract::{CurrentUser, Query};
use crate::http::response::documented::{CALLER, error_responses};
use crate::http::response::{ApiError, Code};

/// Where the stream begins.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventsParameters {
    /// Like `Last-Event-ID`, which wins over it: the `id` of an event, or the `Dockhost-Position` of an answer.
    #[param(pattern = r"^\S+\.[0-9]+$")]
    after: Option<String>,
}

error_responses!(
    EventsErrors: CALLER, &[Code::InvalidHeader, Code::ValidationFailed, Code::TooManyStreams, Code::NoFreeStream]
);

/// Watch your events
///
/// The events of your account, your sessions and your instances as they happen, until you close the connection: as
/// server-sent events, or with `Accept: application/x-ndjson` as JSON lines. A message `instance-updated` has the instance as
/// `GET` shows it. The first message is `ready`, or what happened since `Last-Event-ID`, and then `ready`. If a message
/// `reset` comes, fetch your state again. `docs/API.md` in the repository explains the stream.
#[utoipa::path(
    get,
    path = "/api/v2/user/events",
    operation_id = "watchEvents",
    tag = "Instances",
    security(("userToken" = []), ("userCookie" = [])),
    params(EventsParameters, LastEventId),
    responses(
        (
            status = 200,
            description = "The events.",
            content((Change = "text/event-stream"), (StreamLine = "application/x-ndjson")),
        ),
        EventsErrors,
    ),
)]
pub async fn get(
    CurrentUser { user_id, session_id }: CurrentUser,
    State(app): State<Arc<App>>,
    last_event_id: LastEventId,
    headers: HeaderMap,
    Query(parameters): Query<EventsParameters>,
) -> Result<Response, ApiError> {
    let request = StreamRequest {
        caller: Caller::User { user_id, session_id, needs_admin: false },
        reader: Reader::Owner(user_id),
        begin: last_event_id.or_after(&app, parameters.after.as_deref())?,
    };
    events::open(&app, request, Format::accepted(&headers))
}

#[cfg(test)]
mod tests;
