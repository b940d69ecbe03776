//! The audit: events of the log that a filter selects, a bounded part of the log at a time.

use std::ops::ControlFlow;
use std::sync::Arc;

use dockhost_domain::envelope::Actor;
use dockhost_domain::event::Encoded;
use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::instances::Instances;
use dockhost_projections::{LogEntry, ReadModel};
use uuid::Uuid;

use super::audit_event::FoundEvent;
use super::log_reader::ReadPermit;
use crate::event_log::{EventLog, Filter};
use crate::http::response::ApiError;

/// Events that one request looks at. If it found fewer than it may return, the next request goes on after them.
const MAX_LOOKED_AT: usize = 20_000;
/// The part of the log in which the first event of a time is searched one by one.
const SEARCHED_ONE_BY_ONE: u64 = 2000;
/// Events of different replicas are stored in another order than their times say by less than this.
const MAX_DISORDER_MILLIS: i64 = 60_000;

/// Who acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorFilter {
    /// This user, administrator or backend.
    Id(Uuid),
    /// Somebody without an id.
    Exactly(Actor),
}

impl ActorFilter {
    fn selects(self, actor: Actor) -> bool {
        match (self, actor) {
            (Self::Exactly(expected), actor) => expected == actor,
            (Self::Id(id), Actor::User(user) | Actor::Admin(user)) => user.uuid() == id,
            (Self::Id(id), Actor::Backend(backend)) => backend.uuid() == id,
            (Self::Id(_), Actor::Anonymous | Actor::Operator | Actor::System) => false,
        }
    }
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// About this user: their account, sessions and instances.
    pub user: Option<UserId>,
    /// That name this machine, or that its agent caused.
    pub machine: Option<BackendId>,
    /// That change this instance.
    pub instance: Option<InstanceId>,
    /// Who acted.
    pub actor: Option<ActorFilter>,
    /// Of this type, or of a type that begins with it and a dot; without `dockhost.`.
    pub kind: Option<String>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

/// What a request found.
#[derive(Debug, Default)]
pub struct Found {
    /// The events, in the order of the log.
    pub events: Vec<FoundEvent>,
    /// All events up to this sequence were looked at.
    pub position: u64,
    /// Whether there may be more.
    pub has_more: bool,
}

impl AuditFilter {
    /// The events that the broker selects.
    fn in_the_log(&self) -> Filter {
        self.user.map_or(Filter::All, |user| Filter::Owner(user.uuid()))
    }

    /// The event, if the filter selects it.
    pub fn select(&self, entry: &LogEntry) -> Option<FoundEvent> {
        let recorded = match entry {
            LogEntry::Event(recorded) => recorded,
            LogEntry::Unreadable(unreadable) => {
                // Nothing is known of it but its subject.
                let is_unfiltered = Self { user: self.user, ..Self::default() } == *self;
                return is_unfiltered.then(|| FoundEvent::Unreadable(unreadable.clone()));
            }
        };
        let envelope = &recorded.envelope;
        let time = envelope.meta.time;
        let is_in_time = self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until);
        let is_by_actor = self.actor.is_none_or(|actor| actor.selects(envelope.origin.actor));
        let is_of_instance = self.instance.is_none_or(|instance| Instances::keys(envelope).contains(&instance));
        if !is_in_time || !is_by_actor || !is_of_instance {
            return None;
        }
        let encoded = envelope.event.encode().ok()?;
        let is_of_kind = self.kind.as_ref().is_none_or(|kind| is_of_kind(&encoded.kind, kind));
        let is_about = self.machine.is_none_or(|machine| {
            let actor = ActorFilter::Id(machine.uuid());
            let id = machine.to_string();
            actor.selects(envelope.origin.actor)
                || envelope.aggregate.to_string().ends_with(&id)
                || names(&encoded, &id)
        });
        (is_of_kind && is_about).then(|| FoundEvent::Event(Arc::clone(recorded), encoded))
    }

    /// Looks at the events after a sequence, until it has found `most` of them or has looked at enough.
    ///
    /// # Errors
    /// `broker_unavailable`.
    pub async fn find(
        &self,
        log: &Arc<dyn EventLog>,
        permit: &ReadPermit<'_>,
        after: u64,
        most: usize,
    ) -> Result<Found, ApiError> {
        let start = match self.since {
            Some(since) => self.first_near(log, permit, since).await?.max(after),
            None => after,
        };
        let mut found = Found { position: start, ..Found::default() };
        let mut looked_at = 0;
        let visit = |entry: &LogEntry| {
            if found.events.len() == most || looked_at == MAX_LOOKED_AT {
                found.has_more = true;
                return ControlFlow::Break(());
            }
            looked_at += 1;
            found.position = entry.sequence();
            found.events.extend(self.select(entry));
            ControlFlow::Continue(())
        };
        permit.read(log, self.in_the_log(), start, u64::MAX, visit).await?;
        Ok(found)
    }

    /// A sequence before the first event of a time, by halving the log.
    async fn first_near(
        &self,
        log: &Arc<dyn EventLog>,
        permit: &ReadPermit<'_>,
        time: Timestamp,
    ) -> Result<u64, ApiError> {
        let time = Timestamp::from_millis(time.millis().saturating_sub(MAX_DISORDER_MILLIS));
        let (mut before, mut end) = (0, log.end(Filter::All).await?);
        while end - before > SEARCHED_ONE_BY_ONE {
            let middle = before + (end - before) / 2;
            let mut next = None;
            let visit = |entry: &LogEntry| match entry {
                LogEntry::Event(recorded) => {
                    next = Some((recorded.sequence, recorded.envelope.meta.time));
                    ControlFlow::Break(())
                }
                LogEntry::Unreadable(_) => ControlFlow::Continue(()),
            };
            permit.read(log, Filter::All, middle, end, visit).await?;
            match next {
                Some((sequence, found)) if found < time => before = sequence,
                _ => end = middle,
            }
        }
        Ok(before)
    }
}

/// Whether a type is the wanted one, or one of those that begin with it.
fn is_of_kind(kind: &str, wanted: &str) -> bool {
    let kind = kind.strip_prefix("dockhost.").unwrap_or(kind);
    let wanted = wanted.strip_prefix("dockhost.").unwrap_or(wanted);
    kind.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether a body has this id.
fn names(encoded: &Encoded, id: &str) -> bool {
    encoded.data.to_string().contains(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_of_kind_compares_whole_words() {
        let kind = "dockhost.instance.stop-requested.v1";
        for (wanted, is_selected) in [
            ("dockhost.instance.stop-requested.v1", true),
            ("instance.stop-requested", true),
            ("instance", true),
            ("instance.stop", false),
            ("inst", false),
            ("account", false),
            ("v1", false),
        ] {
            assert_eq!(is_of_kind(kind, wanted), is_selected, "{wanted}");
        }
    }
}
