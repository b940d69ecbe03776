//! The group of a user, and what it means for their instances.
//!
//! The group is read as this replica knows it, like the session of whoever sends a command: a change counts on every replica
//! within a second. The task of the leader that stops the instances of an ended group finds what slips through.

use dockhost_domain::account::Account;
use dockhost_domain::group::{Group, Groups};
use dockhost_domain::ids::UserId;
use dockhost_domain::quota::Quota;
use dockhost_domain::subject::AllGroups;
use dockhost_domain::tenancy::Tenancy;
use dockhost_domain::timestamp::Timestamp;

use super::app::App;
use crate::event_log::LogError;

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
