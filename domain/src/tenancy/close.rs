//! Closes a tenancy because its user was erased. A closed tenancy accepts no new instance, so that deleting the
//! existing ones finishes.

use std::convert::Infallible;

use super::Tenancy;
use super::event::{CloseReason, Closed, TenancyEvent};
use crate::aggregate::{Command, CommandClass};

/// Close a tenancy, once.
#[derive(Debug, Clone, Copy)]
pub struct CloseTenancy {
    /// The reason.
    pub reason: CloseReason,
}

impl Command for CloseTenancy {
    type Aggregate = Tenancy;
    type Rejection = Infallible;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, Infallible> {
        Ok((!state.closed).then_some(TenancyEvent::Closed(Closed { reason: self.reason })))
    }
}
