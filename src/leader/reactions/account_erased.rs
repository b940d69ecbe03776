//! Completes an erasure after `account.erased`: closes the sessions, deletes the instances, and destroys the key last.
//!
//! Each step comes from the current state ([`ErasureProcess::next_step`]), so the reaction is idempotent and resumes
//! where it stopped. While it waits, for a backend or a read model, the event is redelivered; it is acknowledged when
//! the key is destroyed.

use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::account::AccountEvent;
use dockhost_domain::envelope::{Actor, Origin, RecordedEvent};
use dockhost_domain::event::Event;
use dockhost_domain::ids::{EventId, UserId};
use dockhost_domain::session::CloseSessions;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::event::CloseReason;
use dockhost_domain::tenancy::{ChangeInstance, CloseTenancy, Policy};
use dockhost_domain::wire::DesiredState;
use tokio_util::sync::CancellationToken;

use crate::common::clock;
use crate::common::error::Cause;
use crate::event_log::jetstream::JetStreamLog;
use crate::leader::erasure::{ErasureProcess, NextStep};
use crate::leader::job_runner::{self, EventSource, RETRY_DELAY, RetryLater};
use crate::replica::follower::Follower;

/// The reaction.
pub struct AccountErased {
    /// The log.
    pub log: Arc<JetStreamLog>,
    /// Gives the next step.
    pub erasure: ErasureProcess,
    /// Knows how far the log goes.
    pub follower: Arc<Follower>,
    /// Deadlines of instances.
    pub policy: Policy,
}

fn erased(recorded: &RecordedEvent) -> Option<((UserId, ()), (UserId, EventId))> {
    match (&recorded.envelope.aggregate, &recorded.envelope.event) {
        (AggregateId::Account(user), Event::Account(AccountEvent::Erased(_))) => {
            Some(((*user, ()), (*user, recorded.envelope.meta.id)))
        }
        _ => None,
    }
}

impl AccountErased {
    /// Reacts until cancelled.
    ///
    /// # Errors
    /// When the broker can't be reached.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Cause> {
        let react = |(user, event)| self.react(user, event);
        let reading = EventSource {
            role: "account-erased",
            consumer: "account-erased",
            kind: "account",
            debounce: Duration::ZERO,
            follower: &self.follower,
        };
        job_runner::process_events(reading, &self.log, &cancel, erased, |_, _| {}, react).await?;
        Ok(())
    }

    async fn react(&self, user_id: UserId, event: EventId) -> Result<(), Cause> {
        let origin = || Origin::new(Actor::System, format!("reaction:{event}"));
        let executor = &self.erasure.executor;
        loop {
            match self.erasure.next_step(user_id).await? {
                NextStep::Sessions => drop(executor.execute(user_id.into(), origin(), CloseSessions).await?),
                NextStep::Tenancy => {
                    let close = CloseTenancy { reason: CloseReason::Erased };
                    executor.execute(user_id, origin(), close).await?;
                }
                NextStep::Instances { not_requested, .. } if !not_requested.is_empty() => {
                    for instance_id in not_requested {
                        let (now, policy) = (clock::now(), self.policy);
                        let delete = ChangeInstance { instance_id, to: DesiredState::Deleted, now, policy };
                        executor.execute(user_id, origin(), delete).await?;
                    }
                }
                step @ (NextStep::Instances { .. } | NextStep::Assignments | NextStep::ReadModel(_)) => {
                    return Err(RetryLater { reason: step.to_string(), after: RETRY_DELAY }.into());
                }
                NextStep::Key => {
                    self.erasure.keyring.destroy(user_id.into()).await?;
                    tracing::info!(%user_id, "destroyed the key of an erased user");
                }
                NextStep::Nothing => return Ok(()),
            }
        }
    }
}
