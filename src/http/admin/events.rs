//! `GET /api/v2/admin/events`: the events of the log as they happen, without personal values.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::audit;
use super::list;
use crate::http::app::App;
use crate::http::events::{self, Caller, Change, Format, LastEventId, Reader, StreamLine, StreamRequest};
use crate::http::extract::{CurrentAdmin, CurrentSession, Query};
use crate::http::past::audit::AuditFilter;
use crate::http::response::documented::{ADMIN, error_responses};
use crate::http::response::{ApiError, Code};

/// Which events, and where the stream begins.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AllEventsParameters {
    /// Those about this user: account, sessions and instances.
    #[param(value_type = Option<Uuid>)]
    user: Option<String>,
    /// Those that name this backend, or that its agent caused.
    #[param(value_type = Option<Uuid>)]
    machine: Option<String>,
    /// Those that change this instance.
    #[param(value_type = Option<Uuid>)]
    instance: Option<String>,
    /// Those of this type, or of all types that begin with it: `dockhost.instance.failed.v2`, `instance.failed`, `instance`.
    #[param(max_length = 64, pattern = r"^[a-z][a-z0-9.-]*$")]
    r#type: Option<String>,
    /// Like `Last-Event-ID`, which wins over it: the `id` of an event, or the `Dockhost-Position` of an answer.
    #[param(pattern = r"^\S+\.[0-9]+$")]
    after: Option<String>,
}

error_responses!(
    AllEventsErrors: ADMIN, &[Code::InvalidHeader, Code::ValidationFailed, Code::TooManyStreams, Code::NoFreeStream]
);

/// Watch all events
///
/// The events of the log as they happen, as in the audit, until you close the connection: as server-sent events, or with
/// `Accept: application/x-ndjson` as JSON lines. A message `instance-updated` has the instance as well. Resuming, `ready` and
/// `reset` are as in *Watch your events*.
#[utoipa::path(
    get,
    path = "/api/v2/admin/events",
    operation_id = "watchAllEvents",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(AllEventsParameters, LastEventId),
    responses(
        (
            status = 200,
            description = "The events.",
            content((Change = "text/event-stream"), (StreamLine = "application/x-ndjson")),
        ),
        AllEventsErrors,
    ),
)]
pub async fn get(
    CurrentAdmin { user_id }: CurrentAdmin,
    CurrentSession { session_id, .. }: CurrentSession,
    State(app): State<Arc<App>>,
    last_event_id: LastEventId,
    headers: HeaderMap,
    Query(parameters): Query<AllEventsParameters>,
) -> Result<Response, ApiError> {
    let request = StreamRequest {
        caller: Caller::User { user_id, session_id, needs_admin: true },
        reader: Reader::Administrator(filter(&parameters)?),
        begin: last_event_id.or_after(&app, parameters.after.as_deref())?,
    };
    events::open(&app, request, Format::accepted(&headers))
}

fn filter(
    AllEventsParameters { user, machine, instance, r#type, .. }: &AllEventsParameters,
) -> Result<AuditFilter, ApiError> {
    let instance = instance.as_deref().map(|id| list::parameter("instance", id, "is not the id of an instance"));
    Ok(AuditFilter {
        instance: instance.transpose()?,
        ..audit::about(user.as_deref(), machine.as_deref(), r#type.as_deref())?
    })
}

#[cfg(test)]
mod tests;
