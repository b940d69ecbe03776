//! Decision: an agent was heard. In: what its heartbeat said. Out: `connected` when it wasn't connected or said
//! something new; nothing for the many heartbeats that change nothing.

use super::{Backend, BackendEvent, Connected, ConnectionState};
use crate::aggregate::Command;

/// The agent was heard and said this.
#[derive(Debug, Clone)]
pub struct MarkConnected(pub Connected);

/// No such machine was ever registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this backend is not enrolled")]
pub struct NotEnrolled;

impl Command for MarkConnected {
    type Aggregate = Backend;
    type Rejection = NotEnrolled;

    fn decide(&self, state: &Backend) -> Result<Option<BackendEvent>, NotEnrolled> {
        let machine = state.machine.as_ref().ok_or(NotEnrolled)?;
        let known = machine.connection == ConnectionState::Connected && machine.agent_info.as_ref() == Some(&self.0);
        Ok((!known).then(|| BackendEvent::Connected(self.0.clone())))
    }
}
