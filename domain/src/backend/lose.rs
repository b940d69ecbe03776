//! Decision: an agent fell silent. In: for how long. Out: `lost`, once.

use super::{Backend, BackendEvent, Link, Lost, NotEnrolled};
use crate::aggregate::Command;

/// The agent was silent for this long.
#[derive(Debug, Clone, Copy)]
pub struct LoseBackend {
    /// Seconds since its last heartbeat.
    pub silent_for_seconds: u64,
}

impl Command for LoseBackend {
    type Aggregate = Backend;
    type Rejection = NotEnrolled;

    fn decide(&self, state: &Backend) -> Result<Option<BackendEvent>, NotEnrolled> {
        let machine = state.machine.as_ref().ok_or(NotEnrolled)?;
        Ok(match machine.link {
            Link::Connected => Some(BackendEvent::Lost(Lost { silent_for_seconds: self.silent_for_seconds })),
            Link::Enrolled | Link::Lost => None,
        })
    }
}
