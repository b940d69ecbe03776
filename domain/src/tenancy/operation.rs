//! The operations of a user and their outcomes. Both are derived from the progress of the instance before and after an
//! event, so that an operation always agrees with its instance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::instance::Instance;
use super::progress::{OperationKind, Progress};
use crate::aggregate::Meta;
use crate::ids::{InstanceId, OperationId};

/// A requested change of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// The kind of change.
    pub kind: OperationKind,
    /// The instance.
    pub instance_id: InstanceId,
    /// The outcome.
    pub outcome: Outcome,
}

/// The outcome of an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It has not ended.
    Pending,
    /// The instance reached the desired state.
    Succeeded,
    /// The instance did not reach the desired state.
    Failed,
    /// Another request replaced it before it ended.
    Superseded,
}

/// Updates the operations after an event of an instance; returns the operation that the event began.
pub(super) fn advance(
    operations: &mut BTreeMap<OperationId, Operation>,
    instance_id: InstanceId,
    before: Option<&Progress>,
    after: &Instance,
    meta: &Meta,
) -> Option<OperationId> {
    let own_id = OperationId::from(meta.id);
    let was_pending = match before {
        Some(Progress::Pending { operation, .. }) => *operation,
        _ => None,
    };
    let (ended_as, begins) = match &after.progress {
        Progress::Pending { operation, .. } if *operation == was_pending && before.is_some() => return None,
        Progress::Pending { operation_kind, operation: Some(id), .. } if *id == own_id => {
            (Outcome::Superseded, Some((*operation_kind, Outcome::Pending)))
        }
        Progress::Pending { .. } => return None,
        Progress::Stable => (Outcome::Succeeded, None),
        Progress::Failed { .. } => (Outcome::Failed, None),
        // Without a placement, one event requests and completes the deletion.
        Progress::Deleted { .. } if !matches!(before, Some(Progress::Pending { .. } | Progress::Deleted { .. })) => {
            (Outcome::Superseded, Some((OperationKind::Delete, Outcome::Succeeded)))
        }
        Progress::Deleted { .. } => (Outcome::Succeeded, None),
    };
    if let Some(operation) = was_pending.and_then(|id| operations.get_mut(&id)) {
        operation.outcome = ended_as;
    }
    let (kind, outcome) = begins?;
    operations.insert(own_id, Operation { kind, instance_id, outcome });
    Some(own_id)
}
