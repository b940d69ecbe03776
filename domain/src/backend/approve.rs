//! Admits a backend that an administrator has to approve.

use super::{Admission, Approved, Backend, BackendEvent, NotEnrolled, SetCapacity};
use crate::aggregate::{Command, CommandClass};

/// Approve a backend. If that was done already, only its capacity may change.
#[derive(Debug, Clone, Copy)]
pub struct ApproveBackend {
    /// Its capacity; `None` for what it asked for, or for what an administrator set before.
    pub max_containers: Option<u32>,
}

impl Command for ApproveBackend {
    type Aggregate = Backend;
    type Rejection = NotEnrolled;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Backend) -> Result<Option<BackendEvent>, NotEnrolled> {
        let machine = state.machine.as_ref().ok_or(NotEnrolled)?;
        match (machine.admission, self.max_containers) {
            (Admission::Pending, max_containers) => {
                let max_containers = max_containers.unwrap_or(machine.max_containers());
                Ok(Some(BackendEvent::Approved(Approved { max_containers })))
            }
            (Admission::Approved, Some(max_containers)) => SetCapacity { max_containers }.decide(state),
            (Admission::Approved, None) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::CapacitySet;
    use crate::backend::tests::{enrolled, pending};
    use crate::testing::given;

    #[test]
    fn approve_admits_a_pending_backend_once() {
        let approve = ApproveBackend { max_containers: None };
        let backend = given::<Backend>([pending()]);
        assert_eq!(backend.state.machine.as_ref().unwrap().admission, Admission::Pending);
        let backend = backend.when(approve).then(BackendEvent::Approved(Approved { max_containers: 4 }));
        let machine = backend.state.machine.as_ref().unwrap();
        assert_eq!((machine.admission, machine.max_containers()), (Admission::Approved, 4), "what it asked for");
        backend.when(approve).then_nothing();
    }

    #[test]
    fn approve_with_a_capacity_sets_it() {
        let approve = ApproveBackend { max_containers: Some(9) };
        let approved = BackendEvent::Approved(Approved { max_containers: 9 });
        let backend = given([pending()]).when(approve).then(approved).when(approve).then_nothing();
        assert_eq!(backend.state.machine.unwrap().max_containers(), 9);
        given([enrolled()]).when(approve).then(BackendEvent::CapacitySet(CapacitySet { max_containers: 9 }));
    }

    #[test]
    fn approve_of_an_unknown_backend_is_rejected() {
        given([]).when(ApproveBackend { max_containers: None }).then_rejected(NotEnrolled);
    }
}
