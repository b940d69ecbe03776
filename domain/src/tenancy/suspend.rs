//! Suspends the tenancy of a disabled account: its instances can be stopped and deleted, but none is created or resumed.

use std::convert::Infallible;

use serde::{Deserialize, Serialize};

use super::Tenancy;
use super::event::TenancyEvent;
use crate::aggregate::{Command, CommandClass};

/// The account was disabled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suspended {}

/// The account was enabled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resumed {}

/// Suspend a tenancy; nothing if it is suspended, or closed for good.
#[derive(Debug, Clone, Copy)]
pub struct SuspendTenancy;

impl Command for SuspendTenancy {
    type Aggregate = Tenancy;
    type Rejection = Infallible;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, Infallible> {
        Ok((!state.suspended && !state.closed).then_some(TenancyEvent::Suspended(Suspended {})))
    }
}

/// Resume a tenancy; nothing if it is not suspended.
#[derive(Debug, Clone, Copy)]
pub struct ResumeTenancy;

impl Command for ResumeTenancy {
    type Aggregate = Tenancy;
    type Rejection = Infallible;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, Infallible> {
        Ok(state.suspended.then_some(TenancyEvent::Resumed(Resumed {})))
    }
}
