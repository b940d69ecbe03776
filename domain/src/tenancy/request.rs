//! Decision: a user asks for an instance. In: what they asked for, their quota, and the machines. Out: `requested`
//! with the machine chosen; nothing if this `Idempotency-Key` already made one; or why not.

use std::collections::BTreeSet;

use super::event::{Idempotency, Requested, TenancyEvent};
use super::{Facts, Tenancy};
use crate::aggregate::Command;
use crate::ids::InstanceId;
use crate::names::{InstanceName, Username};
use crate::placement::{NoCandidate, place};
use crate::wire::Limits;

/// Make an instance.
#[derive(Debug, Clone)]
pub struct RequestInstance {
    /// The id it will have.
    pub instance_id: InstanceId,
    /// The name asked for.
    pub name: Option<InstanceName>,
    /// The owner's name, of which a default name is made.
    pub username: Username,
    /// The key that may log in.
    pub ssh_public_key: String,
    /// The image; the agent's own when absent.
    pub image: Option<String>,
    /// What its container may use.
    pub limits: Limits,
    /// The `Idempotency-Key`.
    pub idempotency: Option<Idempotency>,
    /// Instances that the user may have (all that are not deleted count); none for no limit.
    pub quota: Option<u32>,
    /// The rest.
    pub facts: Facts,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestRejected {
    /// The user was erased.
    #[error("there is no such user")]
    Closed,
    /// The key was used with another body.
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
    /// One of the user's instances has this name.
    #[error("you have an instance of this name")]
    NameTaken,
    /// The user has as many as they may.
    #[error("you have {used} of {limit} instances")]
    QuotaExceeded {
        /// How many they may have.
        limit: u32,
        /// How many they have.
        used: u32,
    },
    /// No machine can take it.
    #[error("no machine can take another instance")]
    NoCandidate(NoCandidate),
}

impl RequestInstance {
    fn free_name(&self, state: &Tenancy) -> Result<InstanceName, RequestRejected> {
        let taken: BTreeSet<_> = state.existing().filter_map(|(_, instance)| instance.name.plain()).collect();
        match &self.name {
            Some(name) if taken.contains(name) => Err(RequestRejected::NameTaken),
            Some(name) => Ok(name.clone()),
            // More names than instances: one of them is free.
            None => (1..=u32::MAX)
                .map(|nth| InstanceName::by_default(&self.username, nth))
                .find(|name| !taken.contains(name))
                .ok_or(RequestRejected::NameTaken),
        }
    }
}

impl Command for RequestInstance {
    type Aggregate = Tenancy;
    type Rejection = RequestRejected;

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, RequestRejected> {
        if state.closed {
            return Err(RequestRejected::Closed);
        }
        if let Some(idempotency) = &self.idempotency
            && let Some(used) = state.idempotency_record(&idempotency.key)
        {
            return if used.request == idempotency.request { Ok(None) } else { Err(RequestRejected::KeyReused) };
        }
        let used = u32::try_from(state.existing().count()).unwrap_or(u32::MAX);
        if let Some(limit) = self.quota
            && used >= limit
        {
            return Err(RequestRejected::QuotaExceeded { limit, used });
        }
        let name = self.free_name(state)?;
        let choice =
            place(&self.facts.candidates, &[], self.facts.tie_breaker).map_err(RequestRejected::NoCandidate)?;
        Ok(Some(TenancyEvent::Requested(Requested {
            instance_id: self.instance_id,
            name: name.into(),
            ssh_public_key: self.ssh_public_key.clone().into(),
            image: self.image.clone(),
            limits: self.limits,
            choice,
            deadline: self.facts.now.after(self.facts.policy.create_within),
            idempotency: self.idempotency.clone(),
        })))
    }
}
