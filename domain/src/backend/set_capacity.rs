//! Sets how many containers a backend may have, whatever it asked for.

use super::{Backend, BackendEvent, CapacitySet, NotEnrolled};
use crate::aggregate::{Command, CommandClass};

/// Set a backend's capacity; nothing if it has this one already.
#[derive(Debug, Clone, Copy)]
pub struct SetCapacity {
    /// The most containers that it may have.
    pub max_containers: u32,
}

impl Command for SetCapacity {
    type Aggregate = Backend;
    type Rejection = NotEnrolled;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Backend) -> Result<Option<BackendEvent>, NotEnrolled> {
        let machine = state.machine.as_ref().ok_or(NotEnrolled)?;
        let max_containers = self.max_containers;
        let unchanged = machine.capacity == Some(max_containers);
        Ok((!unchanged).then_some(BackendEvent::CapacitySet(CapacitySet { max_containers })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::tests::enrolled;
    use crate::testing::given;

    #[test]
    fn set_capacity_overrides_what_the_backend_asked_for() {
        let set = SetCapacity { max_containers: 4 };
        let event = BackendEvent::CapacitySet(CapacitySet { max_containers: 4 });
        // It asks for 4 too, but may ask for another one day.
        let backend = given([enrolled()]).when(set).then(event).when(set).then_nothing();
        let more = SetCapacity { max_containers: 40 };
        let backend = backend.when(more).then(BackendEvent::CapacitySet(CapacitySet { max_containers: 40 }));
        assert_eq!(backend.state.machine.unwrap().max_containers(), 40);
        given([]).when(set).then_rejected(NotEnrolled);
    }
}
