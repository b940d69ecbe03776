//! Requests an instance and chooses its backend. A repeated request, recognised by its `Idempotency-Key`, decides
//! nothing.

use std::collections::BTreeSet;

use super::event::{Idempotency, Lifetime, OnLost, Requested, TenancyEvent};
use super::{Facts, Tenancy};
use crate::aggregate::{Command, CommandClass};
use crate::ids::InstanceId;
use crate::labels::Labels;
use crate::names::{InstanceName, Username};
use crate::placement::{Demand, NoCandidate, place};
use crate::quota::{Quota, QuotaExceeded};
use crate::sizes::SizeName;
use crate::wire::{Limits, RestartPolicy};

/// Request an instance.
#[derive(Debug, Clone)]
pub struct RequestInstance {
    /// Its id.
    pub instance_id: InstanceId,
    /// Its name; a default one if absent.
    pub name: Option<InstanceName>,
    /// The owner's name, which a default name contains.
    pub username: Username,
    /// The OpenSSH public key of root.
    pub ssh_public_key: String,
    /// Further ones.
    pub further_keys: Vec<String>,
    /// Its image; the agent's default if absent.
    pub image: Option<String>,
    /// Its resource limits.
    pub limits: Limits,
    /// What happens when its container ends though it should run.
    pub restart: RestartPolicy,
    /// The labels that its backend must have.
    pub requires: Labels,
    /// The size that was asked for by its name; `limits` has what it is.
    pub size: Option<SizeName>,
    /// What happens if its backend is lost.
    pub on_lost: OnLost,
    /// Until when it may run.
    pub lifetime: Lifetime,
    /// The `Idempotency-Key`.
    pub idempotency: Option<Idempotency>,
    /// The quota of the user's group, or the configured one. What an administrator set for the user counts instead.
    pub quota: Quota,
    /// Includes the candidates for the placement.
    pub facts: Facts,
}

/// Why a request is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestRejected {
    /// The user was erased.
    #[error("the user does not exist")]
    Closed,
    /// The account is disabled.
    #[error("the account is disabled")]
    Suspended,
    /// The user's group has ended. Not decided here, but by whoever knows the groups.
    #[error("your group has ended, so you can't create instances; an administrator can change that")]
    GroupEnded,
    /// The key was used with another body.
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
    /// It could not run at all.
    #[error("the time to live ends in the past")]
    ExpiresInThePast,
    /// Another instance of the user has this name.
    #[error("you have an instance with this name")]
    NameTaken,
    /// The user's quota does not leave room for it.
    #[error(transparent)]
    QuotaExceeded(QuotaExceeded),
    /// No backend is eligible.
    #[error("no backend can run another instance")]
    NoCandidate(NoCandidate),
}

impl RequestInstance {
    /// What the instance needs of a backend.
    #[must_use]
    pub fn demand(&self) -> Demand {
        Demand { requires: self.requires.clone(), resources: self.limits.into() }
    }

    /// The instance's name if the request is admissible, apart from the placement; `None` if it repeats an earlier one.
    /// A caller that takes room for the instance asks this first.
    ///
    /// # Errors
    /// The rejection, if the rules forbid the instance.
    pub fn admit(&self, state: &Tenancy) -> Result<Option<InstanceName>, RequestRejected> {
        if state.closed {
            return Err(RequestRejected::Closed);
        }
        if state.suspended {
            return Err(RequestRejected::Suspended);
        }
        if let Some(idempotency) = &self.idempotency
            && let Some(used) = state.idempotency_record(&idempotency.key)
        {
            return if used.request == idempotency.request { Ok(None) } else { Err(RequestRejected::KeyReused) };
        }
        if self.lifetime.has_expired(self.facts.now) {
            return Err(RequestRejected::ExpiresInThePast);
        }
        let quota = state.quota.or(self.quota);
        quota.check(state.quota_use(), self.limits.into()).map_err(RequestRejected::QuotaExceeded)?;
        self.free_name(state).map(Some)
    }

    fn free_name(&self, state: &Tenancy) -> Result<InstanceName, RequestRejected> {
        let taken: BTreeSet<_> = state.existing().filter_map(|(_, instance)| instance.name.plain()).collect();
        match &self.name {
            Some(name) if taken.contains(name) => Err(RequestRejected::NameTaken),
            Some(name) => Ok(name.clone()),
            // There are more names than instances, so one is free.
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

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, RequestRejected> {
        let Some(name) = self.admit(state)? else { return Ok(None) };
        let choice = place(&self.facts.candidates, &self.demand(), &[], self.facts.tie_breaker)
            .map_err(RequestRejected::NoCandidate)?;
        Ok(Some(TenancyEvent::Requested(Requested {
            instance_id: self.instance_id,
            name: name.into(),
            ssh_public_key: self.ssh_public_key.clone().into(),
            further_keys: self.further_keys.iter().cloned().map(Into::into).collect(),
            image: self.image.clone(),
            limits: self.limits,
            choice,
            deadline: self.facts.now.after(self.facts.policy.create_within),
            idempotency: self.idempotency.clone(),
            restart: self.restart,
            requires: self.requires.clone(),
            size: self.size.clone(),
            on_lost: self.on_lost,
            lifetime: self.lifetime,
        })))
    }
}
