//! Closes a tenancy because its user was erased. A closed tenancy accepts no new instance, so that deleting the
//! existing ones finishes.

use std::convert::Infallible;

use serde::{Deserialize, Serialize};

use super::Tenancy;
use super::event::TenancyEvent;
use crate::aggregate::{Command, CommandClass};

/// The tenancy accepts no new instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    /// The reason.
    #[serde(rename = "because")]
    pub reason: CloseReason,
}

/// Why a tenancy is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloseReason {
    /// The user was erased.
    Erased,
}

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
