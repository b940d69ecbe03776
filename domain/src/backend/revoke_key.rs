//! Revokes a backend's API key, and issues another one.

use super::{Backend, BackendEvent, KeyIssued, KeyRevoked, NotEnrolled};
use crate::aggregate::{Command, CommandClass};
use crate::timestamp::Timestamp;

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
#[derive(Debug, Clone, Copy, Default)]
pub struct IssueKey {
    /// Until when the current one is accepted, too, if it is not revoked; it is valid no longer if absent.
    pub previous_until: Option<Timestamp>,
}

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
        let previous_until = self.previous_until.filter(|_| !machine.is_key_revoked);
        Ok(key_version.map(|key_version| BackendEvent::KeyIssued(KeyIssued { key_version, previous_until })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::tests::enrolled;
    use crate::backend::{KeyValidity, Removed};
    use crate::testing::{at, given};

    /// The versions that are valid at this second.
    fn valid_at(backend: &Backend, seconds: i64) -> Vec<u32> {
        (0..5).filter(|version| backend.key_validity(*version, at(seconds)).is_some()).collect()
    }

    fn accepted(backend: &Backend) -> Vec<u32> {
        valid_at(backend, 100)
    }

    fn issued(key_version: u32, previous_until: Option<Timestamp>) -> BackendEvent {
        BackendEvent::KeyIssued(KeyIssued { key_version, previous_until })
    }

    #[test]
    fn revoke_key_leaves_no_valid_key_until_another_is_issued() {
        let revoked = BackendEvent::KeyRevoked(KeyRevoked { key_version: 1 });
        let backend = given::<Backend>([enrolled()]);
        assert_eq!(accepted(&backend.state), [1]);
        let backend = backend.when(RevokeKey).then(revoked).when(RevokeKey).then_nothing();
        assert_eq!(accepted(&backend.state), [0; 0]);
        let backend = backend.when(IssueKey::default()).then(issued(2, None));
        assert_eq!(accepted(&backend.state), [2]);
    }

    #[test]
    fn issue_key_replaces_a_valid_key() {
        let backend = given::<Backend>([enrolled()])
            .when(IssueKey::default())
            .then(issued(2, None))
            .when(IssueKey::default())
            .then(issued(3, None));
        assert_eq!(accepted(&backend.state), [3]);
    }

    #[test]
    fn issue_key_with_an_overlap_keeps_the_key_before_until_its_time() {
        let rotate = |until| IssueKey { previous_until: Some(at(until)) };
        let backend = given::<Backend>([enrolled()]).when(rotate(200)).then(issued(2, Some(at(200))));
        assert_eq!((valid_at(&backend.state, 199), valid_at(&backend.state, 200)), (vec![1, 2], vec![2]));
        assert_eq!(backend.state.key_validity(1, at(100)), Some(KeyValidity::Until(at(200))));
        assert_eq!(backend.state.key_validity(2, at(100)), Some(KeyValidity::Unlimited));
        let removed = given([enrolled(), issued(2, Some(at(200))), BackendEvent::Removed(Removed { forced: false })]);
        assert_eq!((valid_at(&removed.state, 199), valid_at(&removed.state, 200)), (vec![1, 2], vec![2]));
        // Only the last key before the new one.
        let backend = backend.when(rotate(300)).then(issued(3, Some(at(300))));
        assert_eq!(accepted(&backend.state), [2, 3]);
        // A revocation takes both, and what was revoked is not given an overlap.
        let backend = backend.when(RevokeKey).then(BackendEvent::KeyRevoked(KeyRevoked { key_version: 3 }));
        assert_eq!(accepted(&backend.state), [0; 0]);
        let backend = backend.when(rotate(300)).then(issued(4, None));
        assert_eq!(accepted(&backend.state), [4]);
    }

    #[test]
    fn keys_of_an_unknown_backend_are_rejected() {
        given([]).when(RevokeKey).then_rejected(NotEnrolled);
        given([]).when(IssueKey::default()).then_rejected(NotEnrolled);
        assert_eq!(accepted(&Backend::default()), [0; 0]);
    }
}
