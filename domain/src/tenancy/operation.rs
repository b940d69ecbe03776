//! Operations: what a user asked for, and what became of it, for as long as it is remembered.
//!
//! In: an instance's progress before and after an event. Out: the operation that began, and the outcomes of those
//! that ended. Derived here and nowhere else, so an operation can't disagree with its instance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::instance::{Instance, OperationKind, Progress};
use crate::aggregate::Meta;
use crate::ids::{InstanceId, OperationId};

/// Something a user asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// What.
    pub kind: OperationKind,
    /// Of which instance.
    pub instance_id: InstanceId,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing yet.
    Pending,
    /// It is so.
    Succeeded,
    /// It can't be so.
    Failed,
    /// The user asked for something else before it was done.
    Superseded,
}

/// Brings the operations up to date with one instance's step; returns the one that began.
pub(super) fn advance(
    operations: &mut BTreeMap<OperationId, Operation>,
    instance_id: InstanceId,
    before: Option<&Progress>,
    after: &Instance,
    meta: &Meta,
) -> Option<OperationId> {
    let own = OperationId::from(meta.id);
    let was_pending = match before {
        Some(Progress::Pending { operation, .. }) => *operation,
        _ => None,
    };
    let (ended_as, begins) = match &after.progress {
        Progress::Pending { operation, .. } if *operation == was_pending && before.is_some() => return None,
        Progress::Pending { operation_kind: step, operation: Some(id), .. } if *id == own => {
            (Outcome::Superseded, Some((*step, Outcome::Pending)))
        }
        Progress::Pending { .. } => return None,
        Progress::Stable => (Outcome::Succeeded, None),
        Progress::Failed { .. } => (Outcome::Failed, None),
        // Deleted at once, without a step between: the wish and its fulfilment are one event.
        Progress::Deleted { .. } if !matches!(before, Some(Progress::Pending { .. } | Progress::Deleted { .. })) => {
            (Outcome::Superseded, Some((OperationKind::Delete, Outcome::Succeeded)))
        }
        Progress::Deleted { .. } => (Outcome::Succeeded, None),
    };
    if let Some(operation) = was_pending.and_then(|id| operations.get_mut(&id)) {
        operation.outcome = ended_as;
    }
    let (kind, outcome) = begins?;
    operations.insert(own, Operation { kind, instance_id, outcome });
    Some(own)
}
