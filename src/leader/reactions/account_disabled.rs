//! Stops the running instances of a user whose account was disabled, if that was asked for.
//!
//! The account decides, as it is now: an account that is enabled again keeps the instances that still run. Each stop is that of
//! an administrator, so the reaction is idempotent and resumes where it stopped.

use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::account::{Account, AccountEvent, DisabledInstances};
use dockhost_domain::envelope::{Actor, Origin, RecordedEvent};
use dockhost_domain::event::Event;
use dockhost_domain::ids::{EventId, UserId};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::{AdministerInstance, ChangeInstance, Policy, Tenancy};
use dockhost_domain::wire::DesiredState;
use tokio_util::sync::CancellationToken;

use crate::common::clock;
use crate::common::error::Cause;
use crate::event_log::jetstream::JetStreamLog;
use crate::execute::{ExecuteError, Executor};
use crate::leader::job_runner::{self, EventSource};
use crate::replica::follower::Follower;

/// The reaction.
pub struct AccountDisabled {
    /// The log.
    pub log: Arc<JetStreamLog>,
    /// Executes the commands.
    pub executor: Arc<Executor>,
    /// Knows how far the log goes.
    pub follower: Arc<Follower>,
    /// Deadlines of instances.
    pub policy: Policy,
}

fn disabled(recorded: &RecordedEvent) -> Option<((UserId, ()), (UserId, EventId))> {
    match (&recorded.envelope.aggregate, &recorded.envelope.event) {
        (AggregateId::Account(user), Event::Account(AccountEvent::Disabled(_))) => {
            Some(((*user, ()), (*user, recorded.envelope.meta.id)))
        }
        _ => None,
    }
}

impl AccountDisabled {
    /// Reacts until cancelled.
    ///
    /// # Errors
    /// When the broker can't be reached.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Cause> {
        let react = |(user, event)| self.react(user, event);
        let reading = EventSource {
            role: "account-disabled",
            consumer: "account-disabled",
            kind: "account",
            debounce: Duration::ZERO,
            follower: &self.follower,
        };
        job_runner::process_events(reading, &self.log, &cancel, disabled, |last, newer| *last = newer, react).await?;
        Ok(())
    }

    async fn react(&self, user_id: UserId, event: EventId) -> Result<(), Cause> {
        let account = self.executor.confirmed::<Account>(user_id).await?;
        let disabled = account.state.profile.as_ref().and_then(|profile| profile.disabled.as_ref());
        let Some(disabled) = disabled.filter(|disabled| disabled.details.instances == DisabledInstances::Stop) else {
            return Ok(());
        };
        let reason = disabled.details.reason.as_ref().and_then(|reason| reason.plain());
        let tenancy = self.executor.confirmed::<Tenancy>(user_id).await?;
        let running = tenancy.state.existing().filter(|(_, instance)| instance.desired == DesiredState::Running);
        for instance_id in running.map(|(id, _)| id).collect::<Vec<_>>() {
            let origin = Origin::new(Actor::System, format!("reaction:{event}"));
            let change =
                ChangeInstance { instance_id, to: DesiredState::Stopped, now: clock::now(), policy: self.policy };
            let stop = AdministerInstance { change, reason: reason.cloned() };
            match self.executor.execute(user_id, origin, stop).await {
                // It was deleted meanwhile, or has no container to stop.
                Ok(_) | Err(ExecuteError::Rejected(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
