//! Removes a backend from the fleet, for good.
//!
//! Its key stays valid unless it is revoked, so that its agent can be told to remove the containers that it still has.

use super::{Admission, Backend, BackendEvent, Removed};
use crate::aggregate::{Command, CommandClass};

/// Remove a backend; nothing if that was done.
#[derive(Debug, Clone, Copy)]
pub struct RemoveBackend {
    /// Whether to remove it also if it could be given instances at this moment.
    pub force: bool,
}

/// Why a backend is not removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoveRejected {
    /// It is not registered.
    #[error("the backend is not enrolled")]
    NotEnrolled,
    /// It still takes new instances.
    #[error("the backend is not cordoned")]
    NotCordoned,
}

impl Command for RemoveBackend {
    type Aggregate = Backend;
    type Rejection = RemoveRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Backend) -> Result<Option<BackendEvent>, RemoveRejected> {
        if state.removed.is_some() {
            return Ok(None);
        }
        let machine = state.machine.as_ref().ok_or(RemoveRejected::NotEnrolled)?;
        let takes_instances =
            machine.admission == Admission::Approved && !machine.is_cordoned && !machine.is_key_revoked;
        if takes_instances && !self.force {
            return Err(RemoveRejected::NotCordoned);
        }
        Ok(Some(BackendEvent::Removed(Removed { forced: self.force })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::tests::{details, enrolled, mark_connected, pending};
    use crate::backend::{BackendExists, Cordoned, EnrolBackend, KeyRevoked, NotEnrolled};
    use crate::testing::{at, given};

    const REMOVE: RemoveBackend = RemoveBackend { force: false };

    fn removed() -> BackendEvent {
        BackendEvent::Removed(Removed { forced: false })
    }

    #[test]
    fn remove_needs_a_cordon_or_force() {
        given([]).when(REMOVE).then_rejected(RemoveRejected::NotEnrolled);
        given([enrolled()]).when(REMOVE).then_rejected(RemoveRejected::NotCordoned);
        given([enrolled()]).when(RemoveBackend { force: true }).then(BackendEvent::Removed(Removed { forced: true }));
        given([enrolled(), BackendEvent::Cordoned(Cordoned {})]).when(REMOVE).then(removed());
        given([enrolled(), BackendEvent::KeyRevoked(KeyRevoked { key_version: 1 })]).when(REMOVE).then(removed());
        given([pending()]).when(REMOVE).then(removed()).when(REMOVE).then_nothing();
    }

    #[test]
    fn removed_backend_is_no_machine_and_is_never_enrolled_again() {
        let backend = given::<Backend>([pending(), removed()]);
        assert_eq!(backend.state.machine, None);
        let backend = backend.when(EnrolBackend(details("lab-1"))).then_rejected(BackendExists);
        backend.when(mark_connected("10.0.0.1")).then_rejected(NotEnrolled);
    }

    /// Its agent must be able to connect, to be told what to remove.
    #[test]
    fn removed_backend_keeps_its_key_unless_that_is_revoked() {
        let revoked = BackendEvent::KeyRevoked(KeyRevoked { key_version: 1 });
        assert!(given::<Backend>([enrolled(), removed()]).state.key_validity(1, at(1)).is_some());
        assert!(given::<Backend>([enrolled(), removed()]).state.key_validity(2, at(1)).is_none());
        assert!(given::<Backend>([enrolled(), revoked, removed()]).state.key_validity(1, at(1)).is_none());
    }
}
