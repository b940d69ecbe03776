//! Decision: a tenancy ends, because its user was erased. In: why. Out: `closed`, once. From then on no instance is asked
//! for, so whoever deletes those that there are comes to an end.

use std::convert::Infallible;

use super::Tenancy;
use super::event::{CloseReason, Closed, TenancyEvent};
use crate::aggregate::Command;

/// Let no instance begin here any more.
#[derive(Debug, Clone, Copy)]
pub struct CloseTenancy {
    /// Why.
    pub reason: CloseReason,
}

impl Command for CloseTenancy {
    type Aggregate = Tenancy;
    type Rejection = Infallible;

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, Infallible> {
        Ok((!state.closed).then_some(TenancyEvent::Closed(Closed { reason: self.reason })))
    }
}
