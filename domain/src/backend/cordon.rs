//! Keeps new instances away from a backend, or lets it take them again. Instances that are on it go on: they can be
//! stopped, resumed and deleted.

use super::{Backend, BackendEvent, Cordoned, NotEnrolled, Uncordoned};
use crate::aggregate::{Command, CommandClass};

/// Cordon or uncordon a backend; nothing if it is so already.
#[derive(Debug, Clone, Copy)]
pub struct ChangeCordon {
    /// Whether it shall be cordoned.
    pub cordoned: bool,
}

impl Command for ChangeCordon {
    type Aggregate = Backend;
    type Rejection = NotEnrolled;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Backend) -> Result<Option<BackendEvent>, NotEnrolled> {
        let machine = state.machine.as_ref().ok_or(NotEnrolled)?;
        Ok(match (machine.is_cordoned, self.cordoned) {
            (false, true) => Some(BackendEvent::Cordoned(Cordoned {})),
            (true, false) => Some(BackendEvent::Uncordoned(Uncordoned {})),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::tests::{enrolled, lost, mark_connected};
    use crate::testing::given;

    #[test]
    fn change_cordon_records_each_change_once() {
        let (cordon, uncordon) = (ChangeCordon { cordoned: true }, ChangeCordon { cordoned: false });
        let cordoned = given([enrolled()])
            .when(uncordon)
            .then_nothing()
            .when(cordon)
            .then(BackendEvent::Cordoned(Cordoned {}))
            .when(cordon)
            .then_nothing();
        assert!(cordoned.state.machine.as_ref().unwrap().is_cordoned);
        let uncordoned = cordoned.when(uncordon).then(BackendEvent::Uncordoned(Uncordoned {}));
        assert!(!uncordoned.state.machine.unwrap().is_cordoned);
    }

    #[test]
    fn change_cordon_of_an_unknown_backend_is_rejected() {
        given([]).when(ChangeCordon { cordoned: true }).then_rejected(NotEnrolled);
    }

    #[test]
    fn cordon_lasts_while_the_connection_changes() {
        let backend = given([enrolled(), BackendEvent::Cordoned(Cordoned {}), lost()]);
        let event = mark_connected("10.0.0.1").decide(&backend.state).unwrap();
        assert!(backend.and(event).state.machine.unwrap().is_cordoned);
    }
}
