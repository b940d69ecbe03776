//! Revokes a backend's API key, and issues another one.

use super::{Backend, BackendEvent, KeyIssued, KeyRevoked, NotEnrolled};
use crate::aggregate::{Command, CommandClass};

/// Revoke the backend's key; nothing if it is revoked.
#[derive(Debug, Clone, Copy)]
pub struct RevokeKey;

impl Command for RevokeKey {
    type Aggregate = Backend;
    type Rejection = NotEnrolled;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Backend) -> Result<Option<BackendEvent>, NotEnrolled> {
        let machine = state.machine.as_ref().ok_or(NotEnrolled)?;
        let key_version = machine.key_version();
        Ok((!machine.is_key_revoked).then_some(BackendEvent::KeyRevoked(KeyRevoked { key_version })))
    }
}

/// Issue another key in place of the backend's current one, revoked or not.
#[derive(Debug, Clone, Copy)]
pub struct IssueKey;

impl Command for IssueKey {
    type Aggregate = Backend;
    type Rejection = NotEnrolled;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Backend) -> Result<Option<BackendEvent>, NotEnrolled> {
        let machine = state.machine.as_ref().ok_or(NotEnrolled)?;
        // Versions are never used again, so an old key never becomes valid.
        let key_version = machine.key_version().checked_add(1);
        Ok(key_version.map(|key_version| BackendEvent::KeyIssued(KeyIssued { key_version })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::tests::enrolled;
    use crate::testing::given;

    fn accepted(backend: &Backend) -> Vec<u32> {
        (0..5).filter(|version| backend.accepts_key(*version)).collect()
    }

    #[test]
    fn revoke_key_leaves_no_valid_key_until_another_is_issued() {
        let revoked = BackendEvent::KeyRevoked(KeyRevoked { key_version: 1 });
        let backend = given::<Backend>([enrolled()]);
        assert_eq!(accepted(&backend.state), [1]);
        let backend = backend.when(RevokeKey).then(revoked).when(RevokeKey).then_nothing();
        assert_eq!(accepted(&backend.state), [0; 0]);
        let backend = backend.when(IssueKey).then(BackendEvent::KeyIssued(KeyIssued { key_version: 2 }));
        assert_eq!(accepted(&backend.state), [2]);
    }

    #[test]
    fn issue_key_replaces_a_valid_key() {
        let backend = given::<Backend>([enrolled()])
            .when(IssueKey)
            .then(BackendEvent::KeyIssued(KeyIssued { key_version: 2 }))
            .when(IssueKey)
            .then(BackendEvent::KeyIssued(KeyIssued { key_version: 3 }));
        assert_eq!(accepted(&backend.state), [3]);
    }

    #[test]
    fn keys_of_an_unknown_backend_are_rejected() {
        given([]).when(RevokeKey).then_rejected(NotEnrolled);
        given([]).when(IssueKey).then_rejected(NotEnrolled);
        assert_eq!(accepted(&Backend::default()), [0; 0]);
    }
}
