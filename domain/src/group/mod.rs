//! The groups of users, such as a class: one aggregate, so that two groups can't have the same name, and a list of them needs no
//! read model. Which group a user is in, is in the user's account.
//!
//! A group is deleted when nobody is in it. Whoever is put into it at that moment is in no group then: an account may name a group
//! that does not exist.

mod decide;
mod limits;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Meta};
use crate::event::Event;
use crate::ids::GroupId;
use crate::minutes::Minutes;
use crate::names::GroupName;
use crate::quota::Quota;
use crate::subject::{AggregateId, AllGroups};
use crate::timestamp::Timestamp;

pub use decide::{ChangeGroup, CreateGroup, DeleteGroup, GroupRejected};
pub use limits::{GroupLimit, GroupLimits};

/// The most groups.
pub const MAX_GROUPS: usize = 1000;

/// The events of the groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum GroupsEvent {
    /// An administrator made a group.
    #[serde(rename = "dockhost.group.created.v1")]
    Created(GroupSet),
    /// An administrator renamed a group, or changed its quota, its end or a limit of its members' instances.
    #[serde(rename = "dockhost.group.changed.v1")]
    Changed(GroupSet),
    /// An administrator deleted a group that had no members.
    #[serde(rename = "dockhost.group.deleted.v1")]
    Deleted(GroupDeleted),
}

/// A group as it is from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupSet {
    /// The group's id.
    pub group_id: GroupId,
    /// What it is and is good for.
    #[serde(flatten)]
    pub group: Group,
}

/// There is no such group any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupDeleted {
    /// The group's id.
    pub group_id: GroupId,
}

/// What a group is, and is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its name, unique among groups without regard to case.
    pub name: GroupName,
    /// The maximum number of instances of each member that are not deleted; the configured one if absent. What an administrator
    /// set for a user counts instead.
    pub max_instances: Option<u32>,
    /// The most processor time that the instances of each member may use in all, in thousandths of a processor; not limited if
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cpu_millis: Option<u32>,
    /// The most memory that they may use in all, in MiB; not limited if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory_mib: Option<u32>,
    /// When its members' instances are stopped, and can't be resumed or created any more.
    pub ends_at: Option<Timestamp>,
    /// For how long an instance of a member may run: counted from its creation, or from when this was set or its owner was put
    /// into the group, if that was later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_live_minutes: Option<Minutes>,
    /// After how long without an SSH connection an instance of a member is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostop_minutes: Option<Minutes>,
}

impl Group {
    /// The quota of each member.
    #[must_use]
    pub const fn quota(&self) -> Quota {
        Quota { instances: self.max_instances, cpu_millis: self.max_cpu_millis, memory_mib: self.max_memory_mib }
    }

    /// Whether its end is over.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.ends_at.is_some_and(|end| end <= now)
    }
}

/// All groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Groups {
    groups: BTreeMap<GroupId, GroupState>,
}

/// A group, and since when there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupState {
    /// As it is now.
    #[serde(flatten)]
    pub group: Group,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its time to live was set last.
    #[serde(default)]
    pub time_to_live_since: Timestamp,
    /// When its autostop was set last.
    #[serde(default)]
    pub autostop_since: Timestamp,
}

impl Groups {
    /// The groups, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (GroupId, &GroupState)> {
        self.groups.iter().map(|(id, group)| (*id, group))
    }

    /// Those that limit how long the instances of their members may run.
    pub fn limiting(&self) -> impl Iterator<Item = GroupId> {
        let limits = |group: &Group| group.time_to_live_minutes.is_some() || group.autostop_minutes.is_some();
        self.iter().filter(move |(_, known)| limits(&known.group)).map(|(id, _)| id)
    }

    /// A group by its id.
    #[must_use]
    pub fn get(&self, id: GroupId) -> Option<&GroupState> {
        self.groups.get(&id)
    }
}

impl Aggregate for Groups {
    type Id = AllGroups;
    type Event = GroupsEvent;

    const FOLD_DIGESTS: &'static [&'static str] = &[
        "759f76b2000ba6945be325c91aab43eb6cdc1d0c782f68c9e1ebb93db4ee004f",
        "c6b8ed54891bfdae47da3d111634ba891a52c4cc7f6897e3df8db4cd6c9b5be7",
    ];

    fn subject(id: AllGroups) -> AggregateId {
        AggregateId::Groups(id)
    }

    fn event(event: &Event) -> Option<&GroupsEvent> {
        if let Event::Groups(event) = event { Some(event) } else { None }
    }

    fn evolve(&mut self, event: &GroupsEvent, meta: &Meta) {
        match event {
            GroupsEvent::Created(set) | GroupsEvent::Changed(set) => {
                let known = self.groups.get(&set.group_id);
                let created_at = known.map_or(meta.time, |known| known.created_at);
                let same = |limit: fn(&Group) -> Option<Minutes>| {
                    known.filter(|known| limit(&known.group) == limit(&set.group))
                };
                let time_to_live = same(|group| group.time_to_live_minutes);
                let autostop = same(|group| group.autostop_minutes);
                let state = GroupState {
                    group: set.group.clone(),
                    created_at,
                    time_to_live_since: time_to_live.map_or(meta.time, |known| known.time_to_live_since),
                    autostop_since: autostop.map_or(meta.time, |known| known.autostop_since),
                };
                self.groups.insert(set.group_id, state);
            }
            GroupsEvent::Deleted(deleted) => {
                self.groups.remove(&deleted.group_id);
            }
        }
    }
}
