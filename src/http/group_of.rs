//! The group of a user, and what it means for their instances.
//!
//! The group is read as this replica knows it, like the session of whoever sends a command: a change counts on every replica
//! within a second. The task of the leader that stops the instances of an ended group finds what slips through.

use std::collections::{BTreeMap, BTreeSet};

use dockhost_domain::account::Account;
use dockhost_domain::group::{Group, GroupLimits, Groups};
use dockhost_domain::ids::{GroupId, UserId};
use dockhost_domain::quota::Quota;
use dockhost_domain::subject::AllGroups;
use dockhost_domain::tenancy::Tenancy;
use dockhost_domain::timestamp::Timestamp;

use super::app::App;
use crate::event_log::LogError;
use crate::http::response::ApiError;

/// The group of a user, if they are in one.
///
/// # Errors
/// Those of the log.
pub async fn group_of(app: &App, user_id: UserId) -> Result<Option<Group>, LogError> {
    let account = app.executor.state::<Account>(user_id).await?;
    let Some(id) = account.state.profile.as_ref().and_then(|profile| profile.group) else { return Ok(None) };
    let groups = app.executor.state::<Groups>(AllGroups).await?;
    Ok(groups.state.get(id).map(|known| known.group.clone()))
}

/// What the group of a user says about how long their instances may run.
///
/// # Errors
/// Those of the log.
pub async fn limits_of(app: &App, user_id: UserId) -> Result<GroupLimits, LogError> {
    let account = app.executor.state::<Account>(user_id).await?;
    let groups = app.executor.state::<Groups>(AllGroups).await?;
    Ok(GroupLimits::of(&groups.state, &account.state))
}

/// The same for many users, without those who have no limits. The read model tells who is in a group that limits something, so that
/// few accounts are loaded.
///
/// # Errors
/// `database_unavailable`, and those of the log.
pub async fn limits_of_all(app: &App, users: BTreeSet<UserId>) -> Result<BTreeMap<UserId, GroupLimits>, ApiError> {
    let groups = app.executor.state::<Groups>(AllGroups).await?;
    let limiting: BTreeSet<GroupId> = groups.state.limiting().collect();
    if limiting.is_empty() {
        return Ok(BTreeMap::new());
    }
    let known = app.store.groups_of(users.into_iter().collect()).await.map_err(|error| ApiError::database(&error))?;
    let mut limits = BTreeMap::new();
    for (user_id, _) in known.value.into_iter().filter(|(_, group)| limiting.contains(group)) {
        limits.insert(user_id, limits_of(app, user_id).await?);
    }
    Ok(limits)
}

/// Whether the group of a user has ended. That it has is confirmed, because it may have been changed.
///
/// # Errors
/// Those of the log.
pub async fn has_ended(app: &App, user_id: UserId, known: Option<&Group>, now: Timestamp) -> Result<bool, LogError> {
    if !known.is_some_and(|group| group.has_ended(now)) {
        return Ok(false);
    }
    let account = app.executor.confirmed::<Account>(user_id).await?;
    let groups = app.executor.confirmed::<Groups>(AllGroups).await?;
    let group = account.state.profile.as_ref().and_then(|profile| groups.state.get(profile.group?));
    Ok(group.is_some_and(|known| known.group.has_ended(now)))
}

/// The quota of a user for whom no administrator set one: that of the group, or the configured one.
pub fn default_quota(app: &App, group: Option<&Group>) -> Quota {
    let configured = Quota { instances: app.settings.quota, ..Quota::default() };
    group.map(Group::quota).unwrap_or_default().or(configured)
}

/// The quota of a user who is in this group.
pub fn quota_of(app: &App, tenancy: &Tenancy, group: Option<&Group>) -> Quota {
    tenancy.quota().or(default_quota(app, group))
}
