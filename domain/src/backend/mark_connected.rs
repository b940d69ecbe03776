//! Records that an agent connected or changed. Most heartbeats change nothing and record nothing.

use super::{Backend, BackendEvent, Connected, ConnectionState};
use crate::aggregate::{Command, CommandClass};

/// Mark a backend as connected, with what its heartbeat says.
#[derive(Debug, Clone)]
pub struct MarkConnected(pub Connected);

/// The backend is not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the backend is not enrolled")]
pub struct NotEnrolled;

impl Command for MarkConnected {
    type Aggregate = Backend;
    type Rejection = NotEnrolled;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Backend) -> Result<Option<BackendEvent>, NotEnrolled> {
        let machine = state.machine.as_ref().ok_or(NotEnrolled)?;
        let unchanged =
            machine.connection == ConnectionState::Connected && machine.agent_info.as_ref() == Some(&self.0);
        Ok((!unchanged).then(|| BackendEvent::Connected(self.0.clone())))
    }
}
