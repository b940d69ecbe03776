//! Stops the instances of the members of groups whose end has passed.
//!
//! Each round reads the states again, so it needs no memory, and a new leader continues: an instance that is stopped for the
//! end is not stopped again. Who is put into such a group later, and what was created or resumed on a replica that did not know
//! of the end yet, is found in the next round.

use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::account::Account;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::group::Groups;
use dockhost_domain::ids::{GroupId, InstanceId, UserId};
use dockhost_domain::subject::AllGroups;
use dockhost_domain::tenancy::{Policy, StopForGroup};
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::instances::InstanceDocument;
use dockhost_projections::store::MongoStore;
use tokio_util::sync::CancellationToken;

use crate::common::clock;
use crate::common::error::Cause;
use crate::execute::Executor;
use crate::leader::skip_frozen::skip_frozen;

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(5);

/// Owners per query.
const OWNERS_PER_QUERY: usize = 1000;

/// The role.
pub struct GroupEnded {
    /// Executes the commands.
    pub executor: Arc<Executor>,
    /// Finds the members and their instances.
    pub store: MongoStore,
    /// Deadlines of instances.
    pub policy: Policy,
}

/// The groups that have ended, and when.
fn ended(groups: &Groups, now: Timestamp) -> impl Iterator<Item = (GroupId, Timestamp)> {
    let ended = groups.iter().filter(move |(_, known)| known.group.has_ended(now));
    ended.filter_map(|(id, known)| Some((id, known.group.ends_at?)))
}

impl GroupEnded {
    /// Runs until cancelled.
    ///
    /// # Errors
    /// When the broker or the database can't be reached.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Cause> {
        while cancel.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            self.look().await?;
        }
        Ok(())
    }

    async fn look(&self) -> Result<(), Cause> {
        let groups = self.executor.state::<Groups>(AllGroups).await?;
        let ids: Vec<GroupId> = ended(&groups.state, clock::now()).map(|(id, _)| id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let members = self.store.members_of(&ids).await?.value;
        for owners in members.chunks(OWNERS_PER_QUERY) {
            for instance in self.store.instances_to_run_of(owners).await?.value {
                self.stop(&instance).await?;
            }
        }
        Ok(())
    }

    /// Stops an instance, if its owner is in a group that has ended, and it has not been stopped for that.
    async fn stop(&self, found: &InstanceDocument) -> Result<(), Cause> {
        let (owner, instance_id): (UserId, InstanceId) = (found.user_id, found.instance_id);
        let account = self.executor.state::<Account>(owner).await?;
        let group = account.state.profile.as_ref().and_then(|profile| profile.group);
        let groups = self.executor.state::<Groups>(AllGroups).await?;
        let Some((id, ended_at)) = ended(&groups.state, clock::now()).find(|(id, _)| Some(*id) == group) else {
            return Ok(());
        };
        if !found.state.must_stop_for_group(ended_at) {
            return Ok(());
        }
        let origin = Origin { actor: Actor::System, cause: format!("group-ended:{id}"), trace_parent: None };
        let stop = StopForGroup { instance_id, ended_at, now: clock::now(), policy: self.policy };
        skip_frozen(instance_id, self.executor.execute(owner, origin, stop).await)?;
        Ok(())
    }
}
