//! Registers a backend.

use super::{Backend, BackendEvent, Enrolled};
use crate::aggregate::{Command, CommandClass};

/// Register a backend.
#[derive(Debug, Clone)]
pub struct EnrolBackend(pub Enrolled);

/// The backend is registered already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the backend already exists")]
pub struct BackendExists;

impl Command for EnrolBackend {
    type Aggregate = Backend;
    type Rejection = BackendExists;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Backend) -> Result<Option<BackendEvent>, BackendExists> {
        match (&state.machine, state.removed) {
            (Some(_), _) | (_, Some(_)) => Err(BackendExists),
            (None, None) => Ok(Some(BackendEvent::Enrolled(self.0.clone()))),
        }
    }
}
