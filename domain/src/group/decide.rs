//! Makes, changes and deletes groups.

use super::{Group, GroupDeleted, GroupSet, Groups, GroupsEvent, MAX_GROUPS};
use crate::aggregate::{Command, CommandClass};
use crate::ids::GroupId;
use crate::minutes::Minutes;
use crate::names::GroupName;
use crate::timestamp::Timestamp;

/// Why a group is not made, changed or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GroupRejected {
    /// There is no such group.
    #[error("there is no such group")]
    NotFound,
    /// Another group has this name.
    #[error("there is a group with this name")]
    NameTaken,
    /// There are as many groups as there may be.
    #[error("there are {MAX_GROUPS} groups; delete one of them first")]
    TooMany,
    /// Users are in it, or are invited to it.
    #[error("users are in the group, or are invited to it")]
    NotEmpty,
}

fn is_taken(state: &Groups, name: &GroupName, by_other_than: GroupId) -> bool {
    state.iter().any(|(id, known)| id != by_other_than && known.group.name.is_like(name))
}

/// Make a group.
#[derive(Debug, Clone)]
pub struct CreateGroup(pub GroupSet);

impl Command for CreateGroup {
    type Aggregate = Groups;
    type Rejection = GroupRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Groups) -> Result<Option<GroupsEvent>, GroupRejected> {
        let CreateGroup(set) = self;
        if is_taken(state, &set.group.name, set.group_id) {
            return Err(GroupRejected::NameTaken);
        }
        if state.iter().count() >= MAX_GROUPS {
            return Err(GroupRejected::TooMany);
        }
        Ok(Some(GroupsEvent::Created(set.clone())))
    }
}

/// Change what is given, and keep the rest; nothing if it is so.
#[derive(Debug, Clone)]
pub struct ChangeGroup {
    /// The group.
    pub group_id: GroupId,
    /// Its new name.
    pub name: Option<GroupName>,
    /// The new quota of each member; `Some(None)` for the configured one.
    pub max_instances: Option<Option<u32>>,
    /// The new limit of each member's processor time, in thousandths of a processor; `Some(None)` for none.
    pub max_cpu_millis: Option<Option<u32>>,
    /// The new limit of each member's memory, in MiB; `Some(None)` for none.
    pub max_memory_mib: Option<Option<u32>>,
    /// The new end; `Some(None)` for none.
    pub ends_at: Option<Option<Timestamp>>,
    /// The new time to live of the members' instances; `Some(None)` for none.
    pub time_to_live_minutes: Option<Option<Minutes>>,
    /// The new autostop of the members' instances; `Some(None)` for none.
    pub autostop_minutes: Option<Option<Minutes>>,
}

impl Command for ChangeGroup {
    type Aggregate = Groups;
    type Rejection = GroupRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Groups) -> Result<Option<GroupsEvent>, GroupRejected> {
        let group_id = self.group_id;
        let known = &state.get(group_id).ok_or(GroupRejected::NotFound)?.group;
        let group = Group {
            name: self.name.clone().unwrap_or_else(|| known.name.clone()),
            max_instances: self.max_instances.unwrap_or(known.max_instances),
            max_cpu_millis: self.max_cpu_millis.unwrap_or(known.max_cpu_millis),
            max_memory_mib: self.max_memory_mib.unwrap_or(known.max_memory_mib),
            ends_at: self.ends_at.unwrap_or(known.ends_at),
            time_to_live_minutes: self.time_to_live_minutes.unwrap_or(known.time_to_live_minutes),
            autostop_minutes: self.autostop_minutes.unwrap_or(known.autostop_minutes),
        };
        if is_taken(state, &group.name, group_id) {
            return Err(GroupRejected::NameTaken);
        }
        Ok((group != *known).then_some(GroupsEvent::Changed(GroupSet { group_id, group })))
    }
}

/// Delete a group in which nobody is.
#[derive(Debug, Clone, Copy)]
pub struct DeleteGroup {
    /// The group.
    pub group_id: GroupId,
    /// Its members, and the invitations to it that can be used.
    pub in_use_by: usize,
}

impl Command for DeleteGroup {
    type Aggregate = Groups;
    type Rejection = GroupRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Groups) -> Result<Option<GroupsEvent>, GroupRejected> {
        let group_id = self.group_id;
        state.get(group_id).ok_or(GroupRejected::NotFound)?;
        if self.in_use_by > 0 {
            return Err(GroupRejected::NotEmpty);
        }
        Ok(Some(GroupsEvent::Deleted(GroupDeleted { group_id })))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::{at, given};

    fn id(n: u128) -> GroupId {
        GroupId::from_uuid(Uuid::from_u128(n))
    }

    fn set(n: u128, name: &str, max_instances: Option<u32>, ends_at: Option<Timestamp>) -> GroupSet {
        let group = Group {
            name: name.parse().unwrap(),
            max_instances,
            max_cpu_millis: None,
            max_memory_mib: None,
            ends_at,
            time_to_live_minutes: None,
            autostop_minutes: None,
        };
        GroupSet { group_id: id(n), group }
    }

    fn change(n: u128) -> ChangeGroup {
        ChangeGroup {
            group_id: id(n),
            name: None,
            max_instances: None,
            max_cpu_millis: None,
            max_memory_mib: None,
            ends_at: None,
            time_to_live_minutes: None,
            autostop_minutes: None,
        }
    }

    #[test]
    fn group_has_a_name_of_its_own() {
        let (first, second) = (set(1, "biology-7b", None, None), set(2, "chemistry-8a", None, None));
        let groups = given([]).when(CreateGroup(first.clone())).then(GroupsEvent::Created(first));
        let groups = groups.when(CreateGroup(set(3, "Biology-7B", None, None))).then_rejected(GroupRejected::NameTaken);
        let groups = groups.when(CreateGroup(second.clone())).then(GroupsEvent::Created(second));
        let rename = |name: &str| ChangeGroup { name: Some(name.parse().unwrap()), ..change(1) };
        let groups = groups.when(rename("chemistry-8a")).then_rejected(GroupRejected::NameTaken);
        let groups = groups.when(rename("biology-7b")).then_nothing();
        groups.when(rename("Biology-7b")).then(GroupsEvent::Changed(set(1, "Biology-7b", None, None)));
    }

    #[test]
    fn group_is_deleted_only_when_nobody_is_in_it_and_leaves_its_name_free() {
        let (first, again) = (set(1, "biology-7b", None, None), set(2, "biology-7b", None, None));
        let delete = |in_use_by| DeleteGroup { group_id: id(1), in_use_by };
        let groups = given([GroupsEvent::Created(first)])
            .when(delete(1))
            .then_rejected(GroupRejected::NotEmpty)
            .when(delete(0))
            .then(GroupsEvent::Deleted(GroupDeleted { group_id: id(1) }))
            .when(delete(0))
            .then_rejected(GroupRejected::NotFound)
            .when(change(1))
            .then_rejected(GroupRejected::NotFound);
        groups.when(CreateGroup(again.clone())).then(GroupsEvent::Created(again));
    }

    #[test]
    fn group_changed_keeps_the_rest_and_when_it_was_made() {
        let created = GroupsEvent::Created(set(1, "biology-7b", Some(2), None));
        let groups = given([created]).when(change(2)).then_rejected(GroupRejected::NotFound);
        let created_at = groups.state.get(id(1)).unwrap().created_at;
        let groups = groups
            .when(ChangeGroup { ends_at: Some(Some(at(100))), ..change(1) })
            .then(GroupsEvent::Changed(set(1, "biology-7b", Some(2), Some(at(100)))));
        let group = groups.state.get(id(1)).unwrap();
        assert_eq!(group.created_at, created_at);
        assert_eq!([99, 100].map(|now| group.group.has_ended(at(now))), [false, true]);
        let groups = groups
            .when(ChangeGroup { max_instances: Some(None), ..change(1) })
            .then(GroupsEvent::Changed(set(1, "biology-7b", None, Some(at(100)))));
        let groups = groups.when(ChangeGroup { ends_at: Some(None), ..change(1) }).then(GroupsEvent::Changed(set(
            1,
            "biology-7b",
            None,
            None,
        )));
        let mut limited = set(1, "biology-7b", None, None);
        (limited.group.max_cpu_millis, limited.group.max_memory_mib) = (Some(1500), Some(4096));
        let limit = ChangeGroup { max_cpu_millis: Some(Some(1500)), max_memory_mib: Some(Some(4096)), ..change(1) };
        let groups = groups.when(limit).then(GroupsEvent::Changed(limited.clone()));
        limited.group.max_cpu_millis = None;
        let lifted = ChangeGroup { max_cpu_millis: Some(None), ..change(1) };
        groups.when(lifted).then(GroupsEvent::Changed(limited));
    }

    #[test]
    fn group_created_is_bounded() {
        let many = (0..MAX_GROUPS).map(|n| {
            let name = format!("group-{n}");
            GroupsEvent::Created(set(100 + n as u128, &name, None, None))
        });
        given(many.collect::<Vec<_>>())
            .when(CreateGroup(set(1, "biology-7b", None, None)))
            .then_rejected(GroupRejected::TooMany);
    }
}
