//! The set of all administrators: one aggregate over all accounts, so that there is always at least one once there was one.
//!
//! Each batch that gives an account the role or takes it away also adds the user here or removes them. The expectation on
//! this one subject orders such batches, whichever replicas they come from.

mod decide;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Meta};
use crate::event::Event;
use crate::ids::UserId;
use crate::subject::{AggregateId, AllAdministrators};

pub use decide::{
    AddAdministrator, AddFirstAdministrator, AdministratorsRejected, ChangedBy, HasAdministrators, RemoveAdministrator,
    RequireAdministrator,
};

/// The events of the set of administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum AdministratorsEvent {
    /// A user became an administrator.
    #[serde(rename = "dockhost.administrators.added.v1")]
    Added(Administrator),
    /// A user is no administrator any more.
    #[serde(rename = "dockhost.administrators.removed.v1")]
    Removed(Administrator),
}

/// The user who is added or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Administrator {
    /// The user.
    pub user_id: UserId,
}

/// All administrators.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Administrators {
    user_ids: BTreeSet<UserId>,
}

impl Administrators {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.user_ids.is_empty()
    }
}

impl Aggregate for Administrators {
    type Id = AllAdministrators;
    type Event = AdministratorsEvent;

    const FOLD_DIGESTS: &'static [&'static str] = &["d737a99e68d6cae7cc7f1ff1dfcc6ac60a3931f1129f7f419a101d19563bf1ed"];

    fn subject(id: AllAdministrators) -> AggregateId {
        AggregateId::Administrators(id)
    }

    fn event(event: &Event) -> Option<&AdministratorsEvent> {
        if let Event::Administrators(event) = event { Some(event) } else { None }
    }

    fn evolve(&mut self, event: &AdministratorsEvent, _: &Meta) {
        match event {
            AdministratorsEvent::Added(added) => self.user_ids.insert(added.user_id),
            AdministratorsEvent::Removed(removed) => self.user_ids.remove(&removed.user_id),
        };
    }
}
