//! A page of an instance's history, for its owner and for administrators.

use dockhost_domain::event::Event;
use dockhost_domain::ids::{BackendId, UserId};
use dockhost_domain::placement::Choice;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::event::TenancyEvent;
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::instances::InstanceDocument;
use dockhost_projections::store::Page;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::actor::{Actors, EventActor};
use super::difference::Change;
use super::steps::{Step, Steps};
use crate::event_log::Filter;
use crate::http::admin::list::{self, List};
use crate::http::app::App;
use crate::http::response::{ApiError, Reply};

/// Which page.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HistoryParameters {
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    #[param(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    cursor: Option<u64>,
}

impl HistoryParameters {
    /// The first page, of so many items.
    pub const fn first(limit: u32) -> Self {
        Self { limit: Some(limit), cursor: None }
    }
}

/// What happened to an instance, the first event first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceHistory {
    #[serde(flatten)]
    page: List<HistoryEntry>,
    /// Whether the account of its owner was erased: names, and what backends said, are null in each entry.
    personal_data_erased: bool,
}

/// An event of an instance.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Its position in the log; as `at`, it shows the instance as it was after the event.
    position: String,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// The type of the event, as in EVENTS.md.
    #[serde(rename = "type")]
    kind: String,
    actor: EventActor,
    /// The request, report, timer, event or command that caused it.
    cause: String,
    /// The id of the request that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    request_id: Option<String>,
    /// The members that changed, by their names; `lastActivity`, `underWay`, `stopsAt` and what belongs to the
    /// backend aside.
    changes: Vec<Change>,
    /// Only if the event chose a backend: why this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    choice: Option<BackendChoice>,
}

/// Why a backend was chosen for an instance: of those that could take it, it was the least filled.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendChoice {
    #[schema(value_type = Uuid)]
    backend_id: BackendId,
    /// Its name.
    #[schema(required)]
    backend: Option<String>,
    /// The instances on it at that time.
    used: u32,
    /// How many it took at most.
    max_containers: u32,
    /// How many backends could take the instance, this one included.
    among: u32,
}

impl BackendChoice {
    /// The choice that an event is, if it is one.
    fn of(app: &App, event: &Event) -> Option<Self> {
        let Event::Tenancy(event) = event else { return None };
        let choice = match event {
            TenancyEvent::Requested(requested) => &requested.choice,
            TenancyEvent::Placed(placed) => &placed.choice,
            TenancyEvent::Moved(moved) => &moved.choice,
            _ => return None,
        };
        let Choice { backend_id, used, max_containers, eligible } = *choice;
        Some(Self { backend_id, backend: app.backend_name(backend_id), used, max_containers, among: eligible })
    }
}

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The instance's owner.
    Owner(UserId),
    /// An administrator.
    Administrator(UserId),
}

impl Reader {
    const fn id(self) -> UserId {
        match self {
            Self::Owner(id) | Self::Administrator(id) => id,
        }
    }
}

/// The page of an instance's history that `parameters` ask for.
///
/// # Errors
/// `validation_failed`, `broker_unavailable`, those of the read models.
pub async fn page(
    app: &App,
    reader: Reader,
    instance: &InstanceDocument,
    parameters: &HistoryParameters,
) -> Result<Reply<InstanceHistory>, ApiError> {
    let page = Page { after: parameters.cursor, ..list::page(parameters.limit, None)? };
    let most = usize::try_from(page.limit).unwrap_or(usize::MAX).saturating_add(1);
    let backend_name = |id| app.backend_name(id);
    let mut read = Steps::new(instance.instance_id, page.after.unwrap_or(0), most, &backend_name);
    let permit = app.log_reader.permit(reader.id()).await?;
    let tenancy = Filter::One(AggregateId::Tenancy(instance.user_id));
    permit.read(app.executor.log(), tenancy, 0, u64::MAX, |entry| read.fold(entry)).await?;
    drop(permit);
    let Steps { steps, unreadable, is_erased, .. } = read;
    let last = steps.last().map_or(0, |step| step.recorded.sequence).max(instance.seq);
    let acted = steps.iter().map(|step| step.recorded.envelope.origin.actor);
    let actors = match reader {
        Reader::Owner(_) => Actors::for_owner(),
        Reader::Administrator(_) => Actors::for_administrator(app, acted).await?,
    };
    let mut entries = Vec::with_capacity(steps.len());
    for step in steps {
        entries.push((step.recorded.sequence, entry(app, &actors, step)?));
    }
    let page = List::new(&page, entries, unreadable, |(sequence, _)| *sequence, |(_, entry)| entry);
    let history = InstanceHistory { page, personal_data_erased: is_erased };
    Ok(Reply::ok("what happened to the instance", history).stale(unreadable).position(app.position(last)))
}

fn entry(app: &App, actors: &Actors, step: Step) -> Result<HistoryEntry, ApiError> {
    let envelope = &step.recorded.envelope;
    let encoded = envelope.event.encode().map_err(|error| ApiError::internal(&error))?;
    let cause = envelope.origin.cause.clone();
    Ok(HistoryEntry {
        position: app.position(step.recorded.sequence),
        time: envelope.meta.time,
        kind: encoded.kind,
        actor: actors.view(app, envelope.origin.actor),
        request_id: cause.strip_prefix("request:").map(str::to_owned),
        cause,
        changes: step.changes,
        choice: BackendChoice::of(app, &envelope.event),
    })
}
