//! An instance as it was at an earlier time, as a query would have answered then.
//!
//! Heartbeats are not in the log. So a machine counts as reachable while the log says that it is connected, from the first
//! heartbeat until 15 s after the last one, and what its container engine said is not known.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use dockhost_domain::account::Account;
use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::backend::{Backend, ConnectionState};
use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::group::{GroupLimits, Groups};
use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::subject::{AggregateId, AllGroups};
use dockhost_domain::tenancy::{self, Progress};
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::instances::{InstanceDocument, InstanceRef, Instances};
use dockhost_projections::{LogEntry, ReadModel};

use super::log_reader::ReadPermit;
use crate::common::clock;
use crate::event_log::Filter;
use crate::http::admin::list::invalid;
use crate::http::app::App;
use crate::http::response::ApiError;
use crate::http::views::{Instance, Surroundings};

/// A moment of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After the event at this sequence.
    Position(u64),
    /// This time, by the times of the events.
    Time(Timestamp),
}

/// An instance at a moment.
pub struct Past {
    /// The instance; `None` if it did not exist, or was deleted.
    pub instance: Option<Instance>,
    /// The sequence of its owner's last event until then.
    pub sequence: u64,
    /// The first event that this program can't read.
    pub unreadable: Option<u64>,
}

impl Moment {
    /// From the parameter `at`: a position in this log, or a time that has passed.
    ///
    /// # Errors
    /// `validation_failed`.
    pub fn parse(app: &App, text: &str) -> Result<Self, ApiError> {
        let problem = |problem: &str| invalid("at", problem.to_owned());
        if let Ok(time) = text.parse() {
            return if time > clock::now() { Err(problem("is in the future")) } else { Ok(Self::Time(time)) };
        }
        let (incarnation, sequence) =
            text.rsplit_once('.').ok_or_else(|| problem("is neither an RFC 3339 time nor a position"))?;
        if incarnation != app.executor.log().incarnation().to_string() {
            return Err(problem("is a position in another log"));
        }
        sequence.parse().map(Self::Position).map_err(|_| problem("is neither an RFC 3339 time nor a position"))
    }

    fn includes(self, recorded: &RecordedEvent) -> bool {
        match self {
            Self::Position(sequence) => recorded.sequence <= sequence,
            Self::Time(time) => recorded.envelope.meta.time <= time,
        }
    }

    /// The sequence after which nothing needs to be read.
    const fn end(self) -> u64 {
        match self {
            Self::Position(sequence) => sequence,
            Self::Time(_) => u64::MAX,
        }
    }

    /// Reads the owner's events until this moment, and those of what the instance shows beside its own state: its backends, and what
    /// the group of its owner says.
    ///
    /// # Errors
    /// `broker_unavailable`.
    pub async fn instance(
        self,
        app: &App,
        permit: &ReadPermit<'_>,
        owner: UserId,
        reference: &InstanceRef,
    ) -> Result<Past, ApiError> {
        let mut documents = Documents { reference, live: BTreeMap::new(), sequence: 0, unreadable: None };
        let tenancy = Filter::One(AggregateId::Tenancy(owner));
        permit.read(app.executor.log(), tenancy, 0, self.end(), |entry| documents.fold(entry, self)).await?;
        let Documents { sequence, unreadable, .. } = documents;
        let Some(document) = documents.found() else { return Ok(Past { instance: None, sequence, unreadable }) };
        let state = &document.state;
        let mut machines = BTreeMap::new();
        for id in backends(state) {
            machines.insert(id, self.folded::<Backend>(app, permit, id).await?.machine);
        }
        let name = |id| machines.get(&id)?.as_ref()?.details.username.plain().map(ToString::to_string);
        let machine = document.backend_id.and_then(|id| machines.get(&id).cloned().flatten());
        let is_reachable = machine.as_ref().is_some_and(|machine| machine.connection == ConnectionState::Connected);
        let account = self.folded::<Account>(app, permit, owner).await?;
        let groups = self.folded::<Groups>(app, permit, AllGroups).await?;
        let surroundings = Surroundings {
            machine,
            is_reachable,
            problem: None,
            last_seen: None,
            group: GroupLimits::of(&groups, &account),
            backend_name: &name,
        };
        let instance = Some(Instance::of(owner, document.instance_id, state, surroundings).stale(unreadable));
        Ok(Past { instance, sequence, unreadable })
    }

    /// The state of an aggregate at this moment.
    async fn folded<A: Aggregate>(self, app: &App, permit: &ReadPermit<'_>, id: A::Id) -> Result<A, ApiError> {
        let mut state = A::default();
        let fold = |entry: &LogEntry| match entry {
            LogEntry::Event(recorded) if self.includes(recorded) => {
                if let Some(event) = A::event(&recorded.envelope.event) {
                    state.evolve(event, &recorded.envelope.meta);
                }
                ControlFlow::Continue(())
            }
            LogEntry::Event(_) | LogEntry::Unreadable(_) => ControlFlow::Break(()),
        };
        permit.read(app.executor.log(), Filter::One(A::subject(id)), 0, self.end(), fold).await?;
        Ok(state)
    }
}

/// The backends that the view of an instance shows: its own, and those that failed.
fn backends(instance: &tenancy::Instance) -> Vec<BackendId> {
    let last = match &instance.progress {
        Progress::Failed { failure } => Some(failure.backend_id),
        Progress::Pending { .. } | Progress::Stable | Progress::Deleted { .. } => None,
    };
    let own = instance.current_placement.as_ref().map(|placement| placement.backend_id);
    let failed = instance.placement_failures.iter().map(|failure| failure.backend_id);
    let mut backends: Vec<_> = failed.chain(last).chain(own).collect();
    backends.sort_unstable();
    backends.dedup();
    backends
}

/// The instances that exist at a moment and that the reference may name.
struct Documents<'a> {
    reference: &'a InstanceRef,
    live: BTreeMap<InstanceId, InstanceDocument>,
    sequence: u64,
    unreadable: Option<u64>,
}

impl Documents<'_> {
    fn fold(&mut self, entry: &LogEntry, until: Moment) -> ControlFlow<()> {
        let recorded = match entry {
            LogEntry::Event(recorded) if until.includes(recorded) => recorded,
            LogEntry::Event(_) => return ControlFlow::Break(()),
            LogEntry::Unreadable(unreadable) => {
                self.unreadable = Some(unreadable.sequence);
                return ControlFlow::Break(());
            }
        };
        self.sequence = recorded.sequence;
        for id in Instances::keys(&recorded.envelope) {
            if matches!(self.reference, InstanceRef::Id(wanted) if *wanted != id) {
                continue;
            }
            let document = Instances::fold(id, self.live.remove(&id), recorded);
            if let Some(document) = document.filter(|document| !document.state.is_deleted()) {
                self.live.insert(id, document);
            }
        }
        ControlFlow::Continue(())
    }

    fn found(mut self) -> Option<InstanceDocument> {
        match self.reference {
            InstanceRef::Id(id) => self.live.remove(id),
            InstanceRef::Name(name) => self.live.into_values().find(|document| document.name.as_ref() == Some(name)),
        }
    }
}
