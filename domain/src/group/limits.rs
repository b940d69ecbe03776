//! How long the instances of a group's members may run.

use super::Groups;
use crate::account::Account;
use crate::minutes::Minutes;
use crate::tenancy::{Fact, MovedBy};

/// What the group of a user says about the user's instances; nothing if they are in none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupLimits {
    /// For how long each may run.
    pub time_to_live: Option<GroupLimit>,
    /// After how long without an SSH connection each is stopped.
    pub autostop: Option<GroupLimit>,
}

/// A limit of a group, and since when it applies to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupLimit {
    /// The limit.
    pub minutes: Minutes,
    /// The last of these: it was set, or the user was put into the group.
    pub moved_by: MovedBy,
}

impl GroupLimits {
    /// The limits of the user with this account.
    #[must_use]
    pub fn of(groups: &Groups, account: &Account) -> Self {
        let Some(profile) = &account.profile else { return Self::default() };
        let Some(known) = profile.group.and_then(|id| groups.get(id)) else { return Self::default() };
        let joined = MovedBy { fact: Fact::GroupJoined, at: profile.group_since.unwrap_or(profile.created_at) };
        let limit = |minutes, since| {
            let moved_by = joined.or_later(MovedBy { fact: Fact::GroupChanged, at: since });
            GroupLimit { minutes, moved_by }
        };
        let time_to_live = known.group.time_to_live_minutes.map(|minutes| limit(minutes, known.time_to_live_since));
        let autostop = known.group.autostop_minutes.map(|minutes| limit(minutes, known.autostop_since));
        Self { time_to_live, autostop }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::account::{AccountEvent, Created, GroupChanged, Role};
    use crate::group::{Group, GroupSet, GroupsEvent};
    use crate::ids::GroupId;
    use crate::names::Username;
    use crate::testing::{at, given};

    const CLASS: GroupId = GroupId::from_uuid(Uuid::from_u128(1));

    /// With an autostop of ten minutes.
    fn set(name: &str, time_to_live: Option<u32>) -> GroupSet {
        let group = Group {
            name: name.parse().unwrap(),
            max_instances: None,
            max_cpu_millis: None,
            max_memory_mib: None,
            ends_at: None,
            time_to_live_minutes: time_to_live.map(|minutes| minutes.try_into().unwrap()),
            autostop_minutes: Some(10_u32.try_into().unwrap()),
        };
        GroupSet { group_id: CLASS, group }
    }

    fn created(group_id: Option<GroupId>) -> AccountEvent {
        AccountEvent::Created(Created {
            username: "ada".parse::<Username>().unwrap().into(),
            email: "ada@example.org".to_owned().into(),
            password_verifier: "$argon2id$".to_owned().into(),
            ssh_public_key: None,
            role: Role::User,
            group_id,
        })
    }

    #[test]
    fn group_limit_applies_since_it_was_set_or_its_group_was_joined() {
        let joined = AccountEvent::GroupChanged(GroupChanged { group_id: Some(CLASS) });
        let account = given([created(None)]).and_at(50, joined);
        let groups = given([GroupsEvent::Created(set("biology-7b", None))]);
        let limits = |groups: &Groups| GroupLimits::of(groups, &account.state).time_to_live;
        assert_eq!(limits(&groups.state), None);
        let groups = groups.and_at(40, GroupsEvent::Changed(set("biology-7b", Some(60))));
        let since = |groups: &Groups| limits(groups).map(|limit| (limit.minutes.get(), limit.moved_by));
        let moved_by = |fact, seconds| MovedBy { fact, at: at(seconds) };
        assert_eq!(since(&groups.state), Some((60, moved_by(Fact::GroupJoined, 50))));
        let groups = groups.and_at(60, GroupsEvent::Changed(set("biology-8b", Some(60))));
        assert_eq!(since(&groups.state), Some((60, moved_by(Fact::GroupJoined, 50))), "only its name changed");
        let groups = groups.and_at(70, GroupsEvent::Changed(set("biology-8b", Some(90))));
        assert_eq!(since(&groups.state), Some((90, moved_by(Fact::GroupChanged, 70))));
        let autostop = GroupLimits::of(&groups.state, &account.state).autostop.unwrap();
        let joined = moved_by(Fact::GroupJoined, 50);
        assert_eq!((autostop.minutes.get(), autostop.moved_by), (10, joined), "it was set before and not changed");
        let left = account.clone().and_at(80, AccountEvent::GroupChanged(GroupChanged { group_id: None }));
        assert_eq!(GroupLimits::of(&groups.state, &left.state), GroupLimits::default());
    }

    #[test]
    fn group_limit_of_who_was_invited_to_the_group_applies_since_the_sign_up() {
        let groups = given([GroupsEvent::Created(set("biology-7b", Some(60)))]);
        let account = given([]).and_at(9, created(Some(CLASS)));
        let limit = GroupLimits::of(&groups.state, &account.state).time_to_live.unwrap();
        assert_eq!(limit.moved_by, MovedBy { fact: Fact::GroupJoined, at: at(9) });
    }
}
