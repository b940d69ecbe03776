//! Sets the labels of a backend.

use super::{Backend, BackendEvent, LabelsSet, NotEnrolled};
use crate::aggregate::{Command, CommandClass};
use crate::labels::Labels;

/// Set a backend's labels, in place of those that it has; nothing if it has the same.
#[derive(Debug, Clone)]
pub struct SetLabels {
    /// All its labels.
    pub labels: Labels,
}

impl Command for SetLabels {
    type Aggregate = Backend;
    type Rejection = NotEnrolled;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Backend) -> Result<Option<BackendEvent>, NotEnrolled> {
        let machine = state.machine.as_ref().ok_or(NotEnrolled)?;
        let labels = self.labels.clone();
        Ok((machine.labels != labels).then_some(BackendEvent::LabelsSet(LabelsSet { labels })))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::backend::tests::{details, enrolled};
    use crate::backend::{Enrolled, UsedToken};
    use crate::ids::EnrolmentTokenId;
    use crate::testing::given;

    fn labels(value: serde_json::Value) -> Labels {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn set_labels_replaces_those_of_the_token() {
        let (gpu, room) = (labels(json!({ "gpu": "yes" })), labels(json!({ "room": "b12" })));
        let token = UsedToken {
            id: EnrolmentTokenId::from_uuid(uuid::Uuid::from_u128(1)),
            max_containers: None,
            labels: gpu.clone(),
        };
        let with_token = BackendEvent::Enrolled(Enrolled { token: Some(token), ..details("lab-1") });
        let set = |labels: &Labels| SetLabels { labels: labels.clone() };
        let event = |labels: &Labels| BackendEvent::LabelsSet(LabelsSet { labels: labels.clone() });
        let backend = given([with_token]).when(set(&gpu)).then_nothing();
        let backend = backend.when(set(&room)).then(event(&room)).when(set(&room)).then_nothing();
        assert_eq!(backend.state.machine.unwrap().labels, room);
        let none = Labels::default();
        given([enrolled()])
            .when(set(&none))
            .then_nothing()
            .when(set(&room))
            .then(event(&room))
            .when(set(&none))
            .then(event(&none));
        given([]).when(set(&room)).then_rejected(NotEnrolled);
    }
}
