//! The quota that an administrator sets for one user, over that of their group and the configured one.

use super::Tenancy;
use super::event::TenancyEvent;
use crate::aggregate::{Command, CommandClass};
use crate::quota::Quota;

/// Set the quota of a user, or take back what was set; nothing if it is so. Instances beyond it stay.
#[derive(Debug, Clone, Copy)]
pub struct SetQuota(pub Quota);

/// The user was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the user does not exist")]
pub struct TenancyClosed;

impl Command for SetQuota {
    type Aggregate = Tenancy;
    type Rejection = TenancyClosed;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, TenancyClosed> {
        if state.closed {
            return Err(TenancyClosed);
        }
        Ok((state.quota != self.0).then_some(TenancyEvent::QuotaSet(self.0)))
    }
}
