//! Decision: a machine is registered. In: its details. Out: `enrolled`, unless it already is.

use super::{Backend, BackendEvent, Enrolled};
use crate::aggregate::Command;

/// Register this machine.
#[derive(Debug, Clone)]
pub struct EnrolBackend(pub Enrolled);

/// The machine was registered before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this backend exists")]
pub struct BackendExists;

impl Command for EnrolBackend {
    type Aggregate = Backend;
    type Rejection = BackendExists;

    fn decide(&self, state: &Backend) -> Result<Option<BackendEvent>, BackendExists> {
        match state.machine {
            Some(_) => Err(BackendExists),
            None => Ok(Some(BackendEvent::Enrolled(self.0.clone()))),
        }
    }
}
