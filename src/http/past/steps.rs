//! The steps of one instance: the events of its owner, folded one by one.

use std::ops::ControlFlow;
use std::sync::Arc;

use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::group::GroupLimits;
use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_projections::instances::{InstanceDocument, Instances};
use dockhost_projections::{LogEntry, ReadModel};
use serde_json::{Map, Value, json};

use super::difference::{Change, difference};
use crate::http::dockhost_v2::INSTANCE_NAMES;
use crate::http::views::{Instance, Surroundings};

/// Members of the instance that no step shows: they are the same in each, follow from the time of the step and others, or belong
/// to the backend. Other names of members are not shown either.
const NOT_SHOWN: [&str; 7] = ["instanceId", "userId", "lastActivity", "underWay", "stopsAt", "backend", "sshDetails"];

/// An event of the instance, and what it changed.
#[derive(Debug, Clone)]
pub struct Step {
    /// The event.
    pub recorded: Arc<RecordedEvent>,
    /// The members that changed.
    pub changes: Vec<Change>,
}

/// The steps after a position, folded from all entries of the owner's tenancy.
pub struct Steps<'a> {
    id: InstanceId,
    /// Steps up to this sequence are folded, but not kept.
    after: u64,
    most: usize,
    backend_name: &'a (dyn Fn(BackendId) -> Option<String> + Sync),
    document: Option<InstanceDocument>,
    shown: Map<String, Value>,
    /// The steps so far.
    pub steps: Vec<Step>,
    /// The first event that this program can't read; nothing after it is folded.
    pub unreadable: Option<u64>,
    /// Whether what its owner typed is erased in the log.
    pub is_erased: bool,
}

impl<'a> Steps<'a> {
    /// At most `most` steps after a sequence.
    pub fn new(
        id: InstanceId,
        after: u64,
        most: usize,
        backend_name: &'a (dyn Fn(BackendId) -> Option<String> + Sync),
    ) -> Self {
        let (shown, steps) = (Map::new(), Vec::new());
        Self { id, after, most, backend_name, document: None, shown, steps, unreadable: None, is_erased: false }
    }

    /// Folds the next entry of the owner's tenancy. Breaks when there are enough steps.
    pub fn fold(&mut self, entry: &LogEntry) -> ControlFlow<()> {
        let recorded = match entry {
            LogEntry::Event(recorded) => recorded,
            LogEntry::Unreadable(unreadable) => {
                self.unreadable = Some(unreadable.sequence);
                return ControlFlow::Break(());
            }
        };
        if !Instances::keys(&recorded.envelope).contains(&self.id) {
            return ControlFlow::Continue(());
        }
        let is_kept = recorded.sequence > self.after;
        if is_kept && self.steps.is_empty() {
            self.shown = self.document.as_ref().map(|document| self.members(document)).unwrap_or_default();
        }
        let is_first = self.document.is_none();
        self.document = Instances::fold(self.id, self.document.take(), recorded);
        let Some(document) = &self.document else { return ControlFlow::Continue(()) };
        self.is_erased |= is_first && document.name.is_none();
        if !is_kept {
            return ControlFlow::Continue(());
        }
        let shown = self.members(document);
        let changes = difference(&self.shown, &shown);
        self.shown = shown;
        self.steps.push(Step { recorded: Arc::clone(recorded), changes });
        if self.steps.len() >= self.most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// The members of the instance that steps show, by its own state alone.
    fn members(&self, document: &InstanceDocument) -> Map<String, Value> {
        let surroundings = Surroundings {
            machine: None,
            is_reachable: true,
            problem: None,
            last_seen: None,
            group: GroupLimits::default(),
            backend_name: self.backend_name,
        };
        let state = &document.state;
        let view = Instance::of(document.user_id, self.id, state, surroundings);
        let Ok(Value::Object(mut members)) = serde_json::to_value(view) else { return Map::new() };
        members.retain(|name, _| !NOT_SHOWN.iter().chain(&INSTANCE_NAMES).any(|other| other == name));
        let host_keys = state.last_observation().map(|last| last.observation.valid_host_keys());
        members.insert("sshDetails.hostKeys".to_owned(), json!(host_keys));
        members
    }
}

#[cfg(test)]
mod tests {
    use dockhost_domain::event::Event;
    use dockhost_domain::personal::Personal;
    use dockhost_domain::tenancy::event::TenancyEvent;

    use super::*;
    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn steps_of_an_erased_owner_have_no_personal_values_and_say_so() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let user = app.user("ada").await;
        let id = app.running_instance(&user, "web").await;
        for is_erased in [false, true] {
            let mut steps = Steps::new(id, 0, 10, &|_| None);
            for mut recorded in app.log.events() {
                if let Event::Tenancy(TenancyEvent::Requested(requested)) = &mut recorded.envelope.event
                    && is_erased
                {
                    requested.name = Personal::Erased;
                    requested.ssh_public_key = Personal::Erased;
                }
                assert!(steps.fold(&LogEntry::from(recorded)).is_continue());
            }
            assert_eq!((steps.steps.len(), steps.is_erased), (2, is_erased));
            let names_name = |step: &Step| serde_json::to_string(&step.changes).unwrap().contains("\"web\"");
            assert_eq!(steps.steps.iter().any(names_name), !is_erased);
        }
    }
}
