//! `GET /api/v2/admin/audit`: the events of the log, without personal values, as pages or as JSON lines.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use dockhost_domain::envelope::Actor;
use serde::Deserialize;

use super::list::{self, List, MAX_LIMIT, invalid};
use crate::http::app::App;
use crate::http::consistency::{self, LogPosition, POSITION};
use crate::http::events::JSON_LINES;
use crate::http::extract::{CurrentAdmin, Query, ReadPosition, accepts};
use crate::http::past::actor::Actors;
use crate::http::past::audit::{ActorFilter, AuditFilter, Found};
use crate::http::past::audit_event::{AuditEvent, FoundEvent};
use crate::http::response::documented::{ADMIN, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

const MAX_TYPE_LENGTH: usize = 64;

/// Which events.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditParameters {
    /// Those about this user: account, sessions and instances.
    #[param(value_type = Option<Uuid>)]
    user: Option<String>,
    /// Those that name this backend, or that its agent caused.
    #[param(value_type = Option<Uuid>)]
    machine: Option<String>,
    /// Who acted: the id of a user, administrator or backend, or `system`, `operator` or `anonymous`.
    #[param(pattern = r"^(system|operator|anonymous|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$")]
    actor: Option<String>,
    /// Those of this type, or of all types that begin with it: `dockhost.instance.failed.v2`, `instance.failed`, `instance`.
    #[param(max_length = 64, pattern = r"^[a-z][a-z0-9.-]*$")]
    r#type: Option<String>,
    /// Not before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<String>,
    /// Before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<String>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `nextCursor` of the page before, or the sequence of an event: those after it.
    #[param(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    cursor: Option<u64>,
}

impl AuditParameters {
    /// The longest page of events of a type after a sequence.
    pub fn after(sequence: u64, kind: Option<String>) -> Self {
        Self { r#type: kind, limit: Some(MAX_LIMIT), cursor: Some(sequence), ..Self::default() }
    }
}

error_responses!(AuditErrors: ADMIN, READ_MODEL, &[Code::ValidationFailed]);

/// List events
///
/// The events of the log, the first one first. A request looks at 20,000 events at most: a page may have fewer items than
/// `limit`, also none, and `nextCursor` nevertheless. With `Accept: application/x-ndjson` the answer is one event per line; go
/// on with the sequence of `Dockhost-Position` as `cursor` until that no longer changes.
#[utoipa::path(
    get,
    path = "/api/v2/admin/audit",
    operation_id = "listEvents",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(AuditParameters, ReadPosition),
    responses(
        (
            status = 200,
            description = "The events.",
            content((Success<List<AuditEvent>> = "application/json"), (String = "application/x-ndjson")),
            headers(("Dockhost-Position" = LogPosition, description = "All events up to there were looked at."))
        ),
        AuditErrors,
    ),
)]
pub async fn get(
    admin: CurrentAdmin,
    State(app): State<Arc<App>>,
    position: ReadPosition,
    headers: HeaderMap,
    Query(parameters): Query<AuditParameters>,
) -> Result<Response, ApiError> {
    consistency::wait_until_applied(&app, position.0.unwrap_or(0)).await?;
    let AuditPage { events, position, has_more } = find(&app, admin, &parameters).await?;
    if accepts(&headers, JSON_LINES) {
        return lines(&events, app.position(position));
    }
    let list = List::with_cursor(events, has_more.then(|| position.to_string()));
    Ok(Reply::ok("the events", list).position(app.position(position)).into_response())
}

/// A page of the events.
pub struct AuditPage {
    /// The events, the first one first.
    pub events: Vec<AuditEvent>,
    /// The sequence after which the next page begins.
    position: u64,
    has_more: bool,
}

/// The page of the events that `parameters` ask for.
///
/// # Errors
/// `validation_failed`, `broker_unavailable`, those of the read models.
pub async fn find(
    app: &App,
    CurrentAdmin { user_id }: CurrentAdmin,
    parameters: &AuditParameters,
) -> Result<AuditPage, ApiError> {
    let filter = filter(parameters)?;
    let page = list::page::<u64>(parameters.limit, None)?;
    let most = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let permit = app.log_reader.permit(user_id).await?;
    let found = filter.find(app.executor.log(), &permit, parameters.cursor.unwrap_or(0), most).await?;
    drop(permit);
    let Found { events, position, has_more } = found;
    let actors = Actors::for_administrator(app, events.iter().filter_map(FoundEvent::actor)).await?;
    let events = events.into_iter().map(|event| event.view(app, &actors)).collect();
    Ok(AuditPage { events, position, has_more })
}

fn lines(events: &[AuditEvent], position: String) -> Result<Response, ApiError> {
    let mut body = Vec::new();
    for event in events {
        serde_json::to_writer(&mut body, event).map_err(|error| ApiError::internal(&error))?;
        body.push(b'\n');
    }
    Ok(([(header::CONTENT_TYPE, JSON_LINES.to_owned()), (POSITION, position)], body).into_response())
}

fn filter(parameters: &AuditParameters) -> Result<AuditFilter, ApiError> {
    let AuditParameters { user, machine, actor, r#type, since, until, .. } = parameters;
    let time = |name, text: &Option<String>| {
        text.as_deref().map(|text| list::parameter(name, text, "is not an RFC 3339 time")).transpose()
    };
    Ok(AuditFilter {
        actor: actor.as_deref().map(actor_filter).transpose()?,
        since: time("since", since)?,
        until: time("until", until)?,
        ..about(user.as_deref(), machine.as_deref(), r#type.as_deref())?
    })
}

/// Those about a user, about a machine, and of a type.
///
/// # Errors
/// `validation_failed`.
pub(super) fn about(user: Option<&str>, machine: Option<&str>, kind: Option<&str>) -> Result<AuditFilter, ApiError> {
    let user = user.map(|id| list::parameter("user", id, "is not the id of a user"));
    let machine = machine.map(|id| list::parameter("machine", id, "is not the id of a backend"));
    Ok(AuditFilter {
        user: user.transpose()?,
        machine: machine.transpose()?,
        kind: kind.map(event_type).transpose()?,
        ..AuditFilter::default()
    })
}

fn event_type(text: &str) -> Result<String, ApiError> {
    let is_valid = text.len() <= MAX_TYPE_LENGTH
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-'));
    if is_valid { Ok(text.to_owned()) } else { Err(invalid("type", "is not the type of an event".to_owned())) }
}

fn actor_filter(text: &str) -> Result<ActorFilter, ApiError> {
    Ok(match text {
        "system" => ActorFilter::Exactly(Actor::System),
        "operator" => ActorFilter::Exactly(Actor::Operator),
        "anonymous" => ActorFilter::Exactly(Actor::Anonymous),
        id => ActorFilter::Id(list::parameter("actor", id, "is neither an id nor one of system, operator, anonymous")?),
    })
}

#[cfg(test)]
mod tests {
    use dockhost_domain::subject::AggregateId;
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};

    use crate::http::testing::{Answer, TestApp};

    const PATH: &str = "/api/v2/admin/audit";

    fn items(answer: &Answer) -> &Vec<Value> {
        answer.data()["items"].as_array().unwrap_or_else(|| panic!("{answer:?}"))
    }

    fn types(answer: &Answer) -> Vec<String> {
        let name = |event: &Value| event["type"].as_str().unwrap().strip_prefix("dockhost.").unwrap().to_owned();
        items(answer).iter().map(name).collect()
    }

    #[tokio::test]
    async fn audit_has_the_events_of_the_log_without_personal_values() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        app.running_instance(&ada, "secret-name").await;
        let answer = app.get(&format!("{PATH}?limit=200")).token(&boss.token).send().await;
        let logged: Vec<_> = app.log.events().iter().map(|event| event.sequence).collect();
        let shown: Vec<_> = items(&answer).iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
        assert_eq!((shown, &answer.data()["nextCursor"]), (logged, &Value::Null));
        let text = answer.body.to_string();
        for personal in ["secret-name", "ada@example.org", "ssh-ed25519", "lab-1"] {
            assert!(!text.contains(personal), "{personal}: {text}");
        }
        let requested = items(&answer).iter().find(|event| event["type"] == "dockhost.instance.requested.v1").unwrap();
        assert_eq!(requested["data"]["name"], "(personal)");
        let actor = json!({ "kind": "user", "id": ada.id.to_string(), "name": "ada" });
        assert_eq!(requested["actor"], actor);
        assert_eq!(requested["subject"], format!("tenancy.{}", ada.id));
    }

    #[tokio::test]
    async fn audit_is_filtered_by_user_machine_actor_type_and_time() {
        let app = TestApp::new().await;
        let lab = app.connected_backend("lab-1", 9).await;
        let (boss, ada, eve) = (app.admin("boss").await, app.user("ada").await, app.user("eve").await);
        app.running_instance(&ada, "web").await;
        app.disable(eve.id).await;
        let get = async |query: String| {
            let answer = app.get(&format!("{PATH}?limit=200&{query}")).token(&boss.token).send().await;
            types(&answer)
        };
        let of_ada = ["account.created.v1", "session.started.v1", "instance.requested.v1", "instance.observed.v1"];
        assert_eq!(get(format!("user={}", ada.id)).await, of_ada);
        assert_eq!(get(format!("actor={}", ada.id)).await, ["instance.requested.v1"]);
        let of_lab = ["backend.enrolled.v2", "session.started.v1", "backend.connected.v1", "instance.requested.v1"];
        assert_eq!(get(format!("machine={}", lab.id)).await, of_lab);
        assert_eq!(get("type=account.disabled".to_owned()).await, ["account.disabled.v1"]);
        assert_eq!(get(format!("type=instance&user={}", eve.id)).await, [""; 0]);
        assert_eq!(get("type=session.suspended&actor=system".to_owned()).await, ["session.suspended.v1"]);
        let events = app.log.events();
        let (first, last) = (events[0].envelope.meta.time, events.last().unwrap().envelope.meta.time);
        assert_eq!(get(format!("since={last}&until={last}")).await, [""; 0]);
        assert_eq!(get(format!("until={first}")).await, [""; 0]);
        assert_eq!(get(format!("since={first}")).await.len(), events.len());
    }

    #[tokio::test]
    async fn audit_in_pages_and_as_lines_is_resumed_by_position() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        app.log.put_unreadable(&AggregateId::Tenancy(boss.id).to_string(), "unknown variant");
        app.log.put_barrier();
        app.user("ada").await;
        let whole = app.get(&format!("{PATH}?limit=200")).token(&boss.token).send().await;
        let unreadable = items(&whole).iter().find(|event| event["unreadable"] == "unknown variant").unwrap();
        assert_eq!((&unreadable["type"], &unreadable["data"]), (&Value::Null, &Value::Null));
        let (mut paged, mut cursor) = (Vec::new(), json!("0"));
        while let Some(after) = cursor.as_str() {
            let page = app.get(&format!("{PATH}?limit=2&cursor={after}")).token(&boss.token).send().await;
            assert!(items(&page).len() <= 2);
            paged.extend(items(&page).clone());
            cursor = page.data()["nextCursor"].clone();
        }
        assert_eq!(paged, *items(&whole));

        let (mut lines, mut cursor) = (Vec::new(), "0".to_owned());
        loop {
            let request = app.get(&format!("{PATH}?limit=2&cursor={cursor}")).token(&boss.token);
            let (parts, body) = request.header("accept", "application/x-ndjson").send_raw().await.into_parts();
            assert_eq!(parts.headers["content-type"], "application/x-ndjson");
            let body = body.collect().await.unwrap().to_bytes();
            let text = std::str::from_utf8(&body).unwrap();
            lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
            let position = parts.headers["dockhost-position"].to_str().unwrap();
            let (_, sequence) = position.rsplit_once('.').unwrap();
            if sequence == cursor {
                break;
            }
            sequence.clone_into(&mut cursor);
        }
        assert_eq!(lines, *items(&whole));
    }

    #[tokio::test]
    async fn audit_with_an_invalid_parameter_is_refused() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        for query in [
            "user=ada",
            "machine=lab-1",
            "actor=ada",
            "type=A",
            "type=",
            "since=yesterday",
            "until=1",
            "limit=0",
            "cursor=x",
        ] {
            let answer = app.get(&format!("{PATH}?{query}")).token(&boss.token).send().await;
            assert_eq!(answer.error(), (422, "validation_failed"), "{query}: {answer:?}");
        }
    }
}
