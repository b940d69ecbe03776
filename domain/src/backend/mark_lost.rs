//! Records that an agent sent no heartbeat for too long, once.

use super::{Backend, BackendEvent, ConnectionState, Lost, NotEnrolled};
use crate::aggregate::{Command, CommandClass};

/// Mark a backend as lost.
#[derive(Debug, Clone, Copy)]
pub struct MarkLost {
    /// Seconds since its last heartbeat.
    pub silent_for_seconds: u64,
}

impl Command for MarkLost {
    type Aggregate = Backend;
    type Rejection = NotEnrolled;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Backend) -> Result<Option<BackendEvent>, NotEnrolled> {
        let machine = state.machine.as_ref().ok_or(NotEnrolled)?;
        Ok(match machine.connection {
            ConnectionState::Connected => {
                Some(BackendEvent::Lost(Lost { silent_for_seconds: self.silent_for_seconds }))
            }
            ConnectionState::Enrolled | ConnectionState::Lost => None,
        })
    }
}
