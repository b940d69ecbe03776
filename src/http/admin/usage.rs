//! `GET /api/v2/admin/usage`: how long the instances of each user ran on each backend, in a period.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use dockhost_domain::group::Groups;
use dockhost_domain::ids::{BackendId, GroupId, InstanceId, UserId};
use dockhost_domain::names::Username;
use dockhost_domain::subject::AllGroups;
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::LogEntry;
use dockhost_projections::users::Users;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::list::{self, invalid};
use crate::common::clock;
use crate::event_log::Filter;
use crate::http::app::App;
use crate::http::consistency::{self, LogPosition, Stale};
use crate::http::extract::{CurrentAdmin, Query, ReadPosition, accepts};
use crate::http::past::usage::{Stay, Usage};
use crate::http::response::documented::{ADMIN, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

/// The content type of comma-separated values.
pub const CSV: &str = "text/csv";
/// The kind of the events that say what runs.
const TENANCIES: &str = "tenancy";

/// Which period.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct UsageParameters {
    /// The beginning of the period.
    #[param(value_type = String, format = DateTime, example = "2026-11-01T00:00:00Z")]
    from: String,
    /// The end of the period, which does not belong to it; by default, and at the latest, now.
    #[param(value_type = Option<String>, format = DateTime, example = "2026-12-01T00:00:00Z")]
    to: Option<String>,
}

impl UsageParameters {
    /// A period.
    pub const fn between(from: String, to: String) -> Self {
        Self { from, to: Some(to) }
    }
}

/// How long instances ran in a period.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageReport {
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// The users whose instances ran.
    users: Vec<UsageOfUser>,
    /// The groups in which these users are now.
    groups: Vec<UsageOfGroup>,
    /// The backends on which they ran.
    backends: Vec<UsageOfBackend>,
    /// Each instance on each of its backends.
    instances: Vec<UsageOfInstance>,
    /// Only if events are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stale: Option<Stale>,
}

/// The usage of a user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UsageOfUser {
    #[schema(value_type = Uuid)]
    id: UserId,
    /// Null once the user is erased.
    #[schema(required)]
    username: Option<String>,
    running_seconds: Seconds,
}

/// The usage of the members of a group.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UsageOfGroup {
    #[schema(value_type = Uuid)]
    id: GroupId,
    name: String,
    running_seconds: Seconds,
}

/// The usage of a backend.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UsageOfBackend {
    #[schema(value_type = Uuid)]
    id: BackendId,
    /// Null once the backend is removed.
    #[schema(required)]
    name: Option<String>,
    running_seconds: Seconds,
}

/// The usage of an instance on one of its backends.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UsageOfInstance {
    #[schema(value_type = Uuid)]
    instance_id: InstanceId,
    #[schema(value_type = Uuid)]
    user_id: UserId,
    #[schema(value_type = Uuid)]
    backend_id: BackendId,
    running_seconds: Seconds,
}

/// Seconds, exact to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
struct Seconds(f64);

impl Seconds {
    /// Exact: a period of 9000 years has fewer milliseconds than an `f64` has integers.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    fn of(millis: u64) -> Self {
        Self(millis as f64 / 1000.0)
    }
}

error_responses!(UsageErrors: ADMIN, READ_MODEL, &[Code::ValidationFailed]);

/// Get the usage
///
/// How long the containers of instances ran, from the event that says that one runs until the one that says that it no longer
/// does; on a backend that is lost they count on. With `Accept: text/csv` a line for each instance on each of its backends.
#[utoipa::path(
    get,
    path = "/api/v2/admin/usage",
    operation_id = "getUsage",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(UsageParameters, ReadPosition),
    responses(
        (
            status = 200,
            description = "The usage.",
            content((Success<UsageReport> = "application/json"), (String = "text/csv")),
            headers(
                ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
                ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
            )
        ),
        UsageErrors,
    ),
)]
pub async fn get(
    admin: CurrentAdmin,
    State(app): State<Arc<App>>,
    position: ReadPosition,
    headers: HeaderMap,
    Query(parameters): Query<UsageParameters>,
) -> Result<Response, ApiError> {
    if accepts(&headers, CSV) {
        let found = find(&app, admin, position, &parameters).await?;
        let text = csv(&app, &found);
        return Ok(([(header::CONTENT_TYPE, CSV)], text).into_response());
    }
    let (report, last) = report(&app, admin, position, &parameters).await?;
    let unreadable = report.stale.map(|stale| stale.since);
    Ok(Reply::ok("the usage", report).stale(unreadable).position(app.position(last)).into_response())
}

/// What the log has of a period.
struct Found {
    from: Timestamp,
    to: Timestamp,
    millis: BTreeMap<Stay, u64>,
    owners: BTreeMap<UserId, Username>,
    /// The groups in which the users are now.
    members: BTreeMap<UserId, GroupId>,
    /// The last sequence that was read.
    last: u64,
    /// The first event that can't be read.
    unreadable: Option<u64>,
}

async fn find(
    app: &App,
    CurrentAdmin { user_id }: CurrentAdmin,
    position: ReadPosition,
    parameters: &UsageParameters,
) -> Result<Found, ApiError> {
    let (from, to) = period(parameters)?;
    consistency::wait_until_applied(app, position.0.unwrap_or(0)).await?;
    let (mut usage, mut last, mut unreadable) = (Usage::new(from, to), 0, None);
    let permit = app.log_reader.permit(user_id).await?;
    let visit = |entry: &LogEntry| {
        last = entry.sequence();
        match entry {
            LogEntry::Event(recorded) => usage.fold(recorded),
            LogEntry::Unreadable(found) => unreadable = unreadable.or(Some(found.sequence)),
        }
        ControlFlow::Continue(())
    };
    permit.read(app.executor.log(), Filter::Kind(TENANCIES), 0, u64::MAX, visit).await?;
    drop(permit);
    let millis = usage.finish();
    let owners = || app.store.usernames(millis.keys().map(|stay| stay.user_id).collect());
    let owners = consistency::read::<Users, _>(app, ReadPosition(None), owners).await?.value;
    let members = || app.store.groups_of(millis.keys().map(|stay| stay.user_id).collect());
    let members = consistency::read::<Users, _>(app, ReadPosition(None), members).await?.value;
    Ok(Found { from, to, millis, owners, members, last, unreadable })
}

/// The usage of a period, and the sequence up to which the log was read.
///
/// # Errors
/// `validation_failed` for what is no period, and those of the log and the read models.
pub async fn report(
    app: &App,
    admin: CurrentAdmin,
    position: ReadPosition,
    parameters: &UsageParameters,
) -> Result<(UsageReport, u64), ApiError> {
    let Found { from, to, millis, owners, members, last, unreadable } = find(app, admin, position, parameters).await?;
    let groups = app.executor.state::<Groups>(AllGroups).await?;
    let groups = of_groups(&groups.state, &members, &millis);
    let stale = unreadable.map(|since| Stale { since });
    Ok((UsageReport { stale, groups, ..without_groups(app, &owners, (from, to), &millis) }, last))
}

fn period(parameters: &UsageParameters) -> Result<(Timestamp, Timestamp), ApiError> {
    let time = |name, text: &str| list::parameter(name, text, "is not an RFC 3339 time");
    let from: Timestamp = time("from", &parameters.from)?;
    let to = parameters.to.as_deref().map(|text| time("to", text)).transpose()?;
    if to.is_some_and(|to| to < from) {
        return Err(invalid("to", "is before `from`".to_owned()));
    }
    let now = clock::now();
    Ok((from, to.unwrap_or(now).min(now).max(from)))
}

fn sums<Id: Ord>(millis: &BTreeMap<Stay, u64>, id: impl Fn(&Stay) -> Id) -> BTreeMap<Id, u64> {
    let mut sums = BTreeMap::new();
    for (stay, millis) in millis {
        *sums.entry(id(stay)).or_default() += millis;
    }
    sums
}

fn without_groups(
    app: &App,
    owners: &BTreeMap<UserId, Username>,
    (from, to): (Timestamp, Timestamp),
    millis: &BTreeMap<Stay, u64>,
) -> UsageReport {
    let of_user = |(id, millis)| UsageOfUser {
        id,
        username: owners.get(&id).map(ToString::to_string),
        running_seconds: Seconds::of(millis),
    };
    let of_backend =
        |(id, millis)| UsageOfBackend { id, name: app.backend_name(id), running_seconds: Seconds::of(millis) };
    let of_instance = |(stay, millis): (&Stay, &u64)| UsageOfInstance {
        instance_id: stay.instance_id,
        user_id: stay.user_id,
        backend_id: stay.backend_id,
        running_seconds: Seconds::of(*millis),
    };
    UsageReport {
        from,
        to,
        groups: Vec::new(),
        users: sums(millis, |stay| stay.user_id).into_iter().map(of_user).collect(),
        backends: sums(millis, |stay| stay.backend_id).into_iter().map(of_backend).collect(),
        instances: millis.iter().map(of_instance).collect(),
        stale: None,
    }
}

fn of_groups(groups: &Groups, members: &BTreeMap<UserId, GroupId>, millis: &BTreeMap<Stay, u64>) -> Vec<UsageOfGroup> {
    let sums = sums(millis, |stay| members.get(&stay.user_id).copied());
    let of_group = |(id, millis): (Option<GroupId>, u64)| {
        let name = groups.get(id?)?.group.name.to_string();
        Some(UsageOfGroup { id: id?, name, running_seconds: Seconds::of(millis) })
    };
    sums.into_iter().filter_map(of_group).collect()
}

/// Lines without quotes: ids, and names, which have letters, digits and hyphens only.
fn csv(app: &App, Found { owners, members, millis, .. }: &Found) -> String {
    let mut text = "user_id,username,instance_id,backend_id,backend,running_seconds,group_id\n".to_owned();
    for (Stay { user_id, instance_id, backend_id }, millis) in millis {
        let username = owners.get(user_id).map(ToString::to_string).unwrap_or_default();
        let backend = app.backend_name(*backend_id).unwrap_or_default();
        let group = members.get(user_id).map(ToString::to_string).unwrap_or_default();
        let seconds = format!("{}.{:03}", millis / 1000, millis % 1000);
        text += &format!("{user_id},{username},{instance_id},{backend_id},{backend},{seconds},{group}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use dockhost_domain::event::Event;
    use dockhost_domain::ids::EventId;
    use dockhost_domain::subject::AggregateId;
    use dockhost_domain::tenancy::TenancyEvent;
    use dockhost_domain::wire::Phase;
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::event_log::{Append, EventLog as _};
    use crate::http::testing::TestApp;

    const PATH: &str = "/api/v2/admin/usage";

    /// The time that many milliseconds after the first event of [`past`].
    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_600_000_000_000 + millis)
    }

    /// Stores that the user's instance was requested, ran after 10 s, and was stopped after 15.5 s, some years ago.
    async fn past(app: &TestApp, user_id: UserId, template: InstanceId) -> InstanceId {
        let instance_id = InstanceId::from_uuid(clock::fresh_uuid());
        let (mut envelopes, mut expected) = (Vec::new(), 0);
        for recorded in app.log.events() {
            let mut envelope = recorded.envelope;
            match &mut envelope.event {
                Event::Tenancy(TenancyEvent::Requested(event)) if event.instance_id == template => {
                    (event.instance_id, envelope.meta.time) = (instance_id, at(0));
                }
                Event::Tenancy(TenancyEvent::Observed(event)) if event.instance_id == template => {
                    (event.instance_id, envelope.meta.time) = (instance_id, at(10_000));
                }
                _ => continue,
            }
            envelopes.push(envelope);
        }
        let mut stopped = envelopes.last().unwrap().clone();
        stopped.meta.time = at(15_500);
        if let Event::Tenancy(TenancyEvent::Observed(event)) = &mut stopped.event {
            event.observation.phase = Phase::Stopped;
        }
        for mut envelope in envelopes.into_iter().chain([stopped]) {
            envelope.aggregate = AggregateId::Tenancy(user_id);
            envelope.meta.id = EventId::from_uuid(clock::fresh_uuid());
            expected = app.log.append(Append { expected, envelope }).await.unwrap();
        }
        instance_id
    }

    #[tokio::test]
    async fn usage_has_the_seconds_of_each_user_backend_and_instance_in_the_period() {
        let app = TestApp::new().await;
        let lab = app.connected_backend("lab-1", 9).await;
        let (boss, ada, eve) = (app.admin("boss").await, app.user("ada").await, app.user("eve").await);
        let bob = app.user("bob").await;
        let template = app.running_instance(&ada, "web").await;
        let of_eve = past(&app, eve.id, template).await;
        past(&app, bob.id, template).await;
        let group = app.group("Biology 7b").await;
        for user in [bob.id, ada.id] {
            let path = format!("/api/v2/admin/users/{user}/group");
            assert_eq!(app.put(&path, json!({ "groupId": group })).token(&boss.token).send().await.status, 200);
        }
        for (from, to, millis) in
            [(0, 20_000, 5500), (12_000, 15_000, 3000), (12_250, 20_000, 3250), (11_000, 11_001, 1)]
        {
            let query = format!("{PATH}?from={}&to={}", at(from), at(to));
            let answer = app.get(&query).token(&boss.token).send().await;
            let (one, both) = (f64::from(millis) / 1000.0, f64::from(2 * millis) / 1000.0);
            let of_lab = json!([{ "id": lab.id.to_string(), "name": "lab-1", "runningSeconds": both }]);
            assert_eq!(answer.data()["backends"], of_lab, "{query}");
            let users = json!([
                { "id": eve.id.to_string(), "username": "eve", "runningSeconds": one },
                { "id": bob.id.to_string(), "username": "bob", "runningSeconds": one },
            ]);
            assert_eq!(answer.data()["users"], users, "{query}");
            let groups = json!([{ "id": group, "name": "Biology 7b", "runningSeconds": one }]);
            assert_eq!(answer.data()["groups"], groups, "{query}");
            let instances = answer.data()["instances"].as_array().unwrap();
            assert_eq!((instances.len(), &instances[0]["instanceId"]), (2, &json!(of_eve.to_string())), "{query}");

            let request = app.get(&query).token(&boss.token).header("accept", "text/csv");
            let (parts, body) = request.send_raw().await.into_parts();
            assert_eq!(parts.headers["content-type"], "text/csv");
            let body = body.collect().await.unwrap().to_bytes();
            let lines: Vec<_> = std::str::from_utf8(&body).unwrap().lines().collect();
            assert_eq!(lines[0], "user_id,username,instance_id,backend_id,backend,running_seconds,group_id");
            let seconds = format!("{}.{:03}", millis / 1000, millis % 1000);
            assert_eq!(lines[1], format!("{},eve,{of_eve},{},lab-1,{seconds},", eve.id, lab.id));
            let of_bob = format!("lab-1,{seconds},{group}");
            assert!(lines[2].ends_with(&of_bob), "{lines:?}");
            assert_eq!(lines.len(), 3);
        }
        for (from, to) in [(0, 10_000), (15_500, 20_000)] {
            let empty = app.get(&format!("{PATH}?from={}&to={}", at(from), at(to))).token(&boss.token).send().await;
            assert_eq!(empty.data()["instances"], json!([]));
        }
    }

    #[tokio::test]
    async fn usage_of_an_invalid_period_is_refused() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        for query in ["", "from=yesterday", "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from=1&to=2"] {
            let answer = app.get(&format!("{PATH}?{query}")).token(&boss.token).send().await;
            assert_eq!(answer.error(), (422, "validation_failed"), "{query}: {answer:?}");
        }
        let empty = app.get(&format!("{PATH}?from=9000-01-01T00:00:00Z")).token(&boss.token).send().await;
        assert_eq!((empty.status, &empty.data()["users"]), (200, &Value::Array(vec![])));
    }
}
