//! What an entry of the log is for the reader of a stream.

use std::collections::{BTreeMap, BTreeSet};

use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::subject::AggregateId;
use dockhost_projections::instances::Instances;
use dockhost_projections::{LogEntry, ReadModel};
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::admin::backend::{self, AdminBackend};
use crate::http::app::App;
use crate::http::consistency;
use crate::http::extract::ReadPosition;
use crate::http::group_of::limits_of;
use crate::http::past::actor::Actors;
use crate::http::past::audit::AuditFilter;
use crate::http::past::audit_event::{AuditEvent, FoundEvent};
use crate::http::response::ApiError;
use crate::http::views::Instance;
use crate::replica::feed::Audience;

/// Instances that are read at once.
const CONCURRENT_READS: usize = 8;
/// The name of a message about what this server can't read.
const UNREADABLE: &str = "unreadable";

/// Who reads a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reader {
    /// A user: what is about them.
    Owner(UserId),
    /// An administrator: what the filter selects.
    Administrator(AuditFilter),
    /// A backend: what is about it.
    Machine(BackendId),
}

/// A change: an event, and what it changed as it is now.
#[derive(Serialize, ToSchema)]
pub struct Change<'a> {
    event: AuditEvent,
    /// The instance that the event changed, as `GET` shows it: as it is now, so that it may have later changes as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Instance, nullable = false)]
    instance: Option<&'a Instance>,
    /// For administrators and the backend itself: the backend that the event is about, as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = AdminBackend, nullable = false)]
    backend: Option<&'a AdminBackend>,
}

/// A message of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The position that the client has with it; none if it is as before.
    pub id: Option<String>,
    /// What kind of message it is.
    pub name: String,
    /// Its content.
    pub data: Value,
}

impl Reader {
    /// Whose entries the reader is shown.
    pub fn audience(&self) -> Audience {
        let principal = match self {
            Self::Owner(user) => Some((*user).into()),
            Self::Administrator(filter) => filter.user.map(Into::into),
            Self::Machine(backend) => Some((*backend).into()),
        };
        principal.map_or(Audience::All, Audience::Of)
    }

    /// An entry of the audience, if the reader is shown it.
    pub fn select(&self, entry: &LogEntry) -> Option<FoundEvent> {
        match self {
            Self::Owner(_) => FoundEvent::of(entry),
            Self::Administrator(filter) => filter.select(entry),
            Self::Machine(backend) => {
                let is_about_it = match entry {
                    LogEntry::Event(_) => backend_of(entry) == Some(*backend),
                    LogEntry::Unreadable(_) => true,
                };
                is_about_it.then(|| FoundEvent::of(entry)).flatten()
            }
        }
    }
}

/// The messages about entries of the reader's audience, in their order, each with its entry.
///
/// # Errors
/// Those of the read models.
pub async fn messages<'a>(
    app: &App,
    reader: &Reader,
    entries: &'a [LogEntry],
) -> Result<Vec<(&'a LogEntry, Message)>, ApiError> {
    let selected: Vec<_> = entries.iter().filter_map(|entry| Some((entry, reader.select(entry)?))).collect();
    let Some((last, _)) = selected.last() else { return Ok(vec![]) };
    let changed: BTreeSet<_> = selected.iter().filter_map(|(entry, _)| instance_of(entry)).collect();
    let position = ReadPosition(Some(last.sequence()));
    let instances = instances(app, changed, position).await?;
    let backends = match reader {
        Reader::Owner(_) => BTreeMap::new(),
        Reader::Administrator(_) | Reader::Machine(_) => {
            backends(app, selected.iter().filter_map(|(entry, _)| backend_of(entry)).collect(), position).await?
        }
    };
    let actors = match reader {
        Reader::Owner(_) | Reader::Machine(_) => Actors::for_owner(),
        Reader::Administrator(_) => {
            let actors = selected.iter().filter_map(|(_, found)| found.actor());
            Actors::for_administrator(app, actors).await?
        }
    };
    let message = |(entry, found): (&'a LogEntry, FoundEvent)| {
        let event = match reader {
            Reader::Owner(_) | Reader::Machine(_) => found.view_of_owner(app),
            Reader::Administrator(_) => found.view(app, &actors),
        };
        let instance = instance_of(entry).and_then(|id| instances.get(&id));
        let backend = backend_of(entry).and_then(|id| backends.get(&id));
        let data =
            serde_json::to_value(Change { event, instance, backend }).map_err(|error| ApiError::internal(&error))?;
        Ok::<_, ApiError>((entry, Message { id: Some(app.position(entry.sequence())), name: name(entry), data }))
    };
    selected.into_iter().map(message).collect()
}

/// The instance that an entry changes.
pub fn instance_of(entry: &LogEntry) -> Option<InstanceId> {
    match entry {
        LogEntry::Event(recorded) => Instances::keys(&recorded.envelope).into_iter().next(),
        LogEntry::Unreadable(_) => None,
    }
}

/// The backend that an entry is about.
fn backend_of(entry: &LogEntry) -> Option<BackendId> {
    match entry {
        LogEntry::Event(recorded) => match recorded.envelope.aggregate {
            AggregateId::Backend(id) => Some(id),
            _ => None,
        },
        LogEntry::Unreadable(_) => None,
    }
}

/// The name of the message about an entry.
fn name(entry: &LogEntry) -> String {
    match entry {
        LogEntry::Event(_) if instance_of(entry).is_some() => "instance-updated".to_owned(),
        LogEntry::Event(recorded) => format!("{}-updated", recorded.envelope.aggregate.kind()),
        LogEntry::Unreadable(_) => UNREADABLE.to_owned(),
    }
}

/// These instances as they are now, with everything up to this position.
async fn instances(
    app: &App,
    ids: BTreeSet<InstanceId>,
    position: ReadPosition,
) -> Result<BTreeMap<InstanceId, Instance>, ApiError> {
    let read = |id: InstanceId| async move {
        let query = || app.store.instance(id);
        let shown = consistency::read::<Instances, _>(app, position, query).await?;
        let Some(document) = shown.value else { return Ok::<_, ApiError>(None) };
        let limits = limits_of(app, document.user_id).await?;
        let view = Instance::new(app, document.user_id, id, &document.state, limits);
        Ok(Some((id, view.stale(shown.stale_since))))
    };
    let read: Vec<_> = futures::stream::iter(ids).map(read).buffered(CONCURRENT_READS).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}

/// These backends as they are now, with everything up to this position.
async fn backends(
    app: &App,
    ids: BTreeSet<BackendId>,
    position: ReadPosition,
) -> Result<BTreeMap<BackendId, AdminBackend>, ApiError> {
    let mut found = BTreeMap::new();
    for id in ids {
        found.extend(backend::find(app, position, id).await?.value.map(|view| (id, view)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dockhost_domain::aggregate::Meta;
    use dockhost_domain::envelope::{Actor, Envelope, Origin, RecordedEvent};
    use dockhost_domain::event::Event;
    use dockhost_domain::ids::EventId;
    use dockhost_domain::timestamp::Timestamp;
    use dockhost_projections::Unreadable;
    use uuid::Uuid;

    use super::*;
    use crate::http::testing::golden_events;

    fn entry(aggregate: AggregateId, event: Event) -> LogEntry {
        let origin = Origin::new(Actor::System, "test");
        let meta = Meta { id: EventId::from_uuid(Uuid::from_u128(1)), time: Timestamp::from_millis(0) };
        let envelope = Envelope { aggregate, meta, origin, event };
        LogEntry::Event(Arc::new(RecordedEvent { sequence: 1, envelope }))
    }

    #[test]
    fn name_of_every_golden_event_tells_what_it_changes() {
        for (aggregate, event) in golden_events() {
            let kind = event.encode().unwrap().kind;
            let name = name(&entry(aggregate, event));
            let expected = match kind.split('.').nth(1) {
                Some("instance") => "instance-updated".to_owned(),
                _ => format!("{}-updated", aggregate.kind()),
            };
            assert_eq!(name, expected, "{kind}");
        }
    }

    #[test]
    fn name_of_what_can_not_be_read_says_so() {
        let entry = LogEntry::Unreadable(Unreadable::new("dockhost.event.tenancy.x", 1, "test"));
        assert_eq!(name(&entry), "unreadable");
    }
}
