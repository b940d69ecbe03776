//! Stops the instances that may not run any longer: because the group of their owner has ended, or because their own lifetime is
//! over.
//!
//! Whether somebody is connected to an instance is in the heartbeats, which are not stored. So the role also records that in the log,
//! now and then, for instances with an autostop: the decisions of a new leader, and what the API shows, follow from that.
//!
//! Each round reads the states again, so it needs no memory, and a new leader continues: an instance that is stopped is not
//! stopped again. Who is put into a group later, and what was created or resumed on a replica that did not know of an end yet, is
//! found in the next round.

use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::account::Account;
use dockhost_domain::aggregate::Command;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::group::{GroupLimits, Groups};
use dockhost_domain::ids::{GroupId, InstanceId, UserId};
use dockhost_domain::subject::AllGroups;
use dockhost_domain::tenancy::{EndLifetime, Policy, StopForGroup, Tenancy};
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::instances::InstanceDocument;
use dockhost_projections::store::MongoStore;
use dockhost_telemetry::trace;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;

use crate::common::clock;
use crate::common::error::Cause;
use crate::execute::Executor;
use crate::leader::skip_frozen::skip_frozen;
use crate::replica::heartbeat_registry::HeartbeatRegistry;

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(10);

/// Owners per query.
const OWNERS_PER_QUERY: usize = 1000;

/// The role.
pub struct Overdue {
    /// Executes the commands.
    pub executor: Arc<Executor>,
    /// Finds the members of groups, and the instances.
    pub store: MongoStore,
    /// What the agents see.
    pub heartbeats: Arc<HeartbeatRegistry>,
    /// Deadlines of instances.
    pub policy: Policy,
}

/// The groups that have ended, and when.
fn ended(groups: &Groups, now: Timestamp) -> impl Iterator<Item = (GroupId, Timestamp)> {
    let ended = groups.iter().filter(move |(_, known)| known.group.has_ended(now));
    ended.filter_map(|(id, known)| Some((id, known.group.ends_at?)))
}

impl Overdue {
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
        let now = clock::now();
        for instance in self.store.instances_to_end(now).await?.value {
            self.look_at(&instance).await?;
        }
        let groups = self.executor.state::<Groups>(AllGroups).await?;
        let ids: Vec<GroupId> = ended(&groups.state, now).map(|(id, _)| id).chain(groups.state.limiting()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let members = self.store.members_of(&ids).await?.value;
        for owners in members.chunks(OWNERS_PER_QUERY) {
            for instance in self.store.instances_to_run_of(owners).await?.value {
                self.look_at(&instance).await?;
            }
        }
        Ok(())
    }

    /// Stops an instance, if its owner is in a group that has ended, or its lifetime is over, and it has not been stopped for that; or
    /// records that somebody uses it.
    async fn look_at(&self, found: &InstanceDocument) -> Result<(), Cause> {
        let (owner, instance_id): (UserId, InstanceId) = (found.user_id, found.instance_id);
        let (now, policy) = (clock::now(), self.policy);
        let account = self.executor.state::<Account>(owner).await?;
        let group = account.state.profile.as_ref().and_then(|profile| profile.group);
        let groups = self.executor.state::<Groups>(AllGroups).await?;
        if let Some((id, ended_at)) = ended(&groups.state, now).find(|(id, _)| Some(*id) == group)
            && found.state.must_stop_for_group(ended_at)
        {
            let stop = StopForGroup { instance_id, ended_at, now, policy };
            return self.execute(owner, instance_id, format!("group-ended:{id}"), stop).await;
        }
        let limits = GroupLimits::of(&groups.state, &account.state);
        let seen = found.backend_id.and_then(|backend| self.heartbeats.ssh_seen(backend, instance_id));
        let end = EndLifetime { instance_id, group: limits, seen, now, policy };
        match end.event(&found.state) {
            Some(_) => self.execute(owner, instance_id, format!("lifetime:{instance_id}"), end).await,
            None => Ok(()),
        }
    }

    async fn execute<C>(&self, owner: UserId, instance: InstanceId, cause: String, stop: C) -> Result<(), Cause>
    where
        C: Command<Aggregate = Tenancy> + 'static,
    {
        let span = tracing::info_span!("overdue", %instance, trace = Empty);
        let execute = self.executor.execute(owner, Origin::new(Actor::System, cause), stop);
        skip_frozen(instance, trace::in_span(span, None, execute).await)?;
        Ok(())
    }
}
