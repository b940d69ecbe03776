//! An operation: a command on an instance, and its outcome.

use dockhost_domain::group::GroupLimits;
use dockhost_domain::ids::{OperationId, UserId};
use dockhost_domain::tenancy::{self, Outcome, Progress};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Instance, backend_reasons};
use crate::http::app::App;
use crate::http::response::Code;
use crate::http::response::details::BackendReason;

/// A command on an instance, and its outcome.
#[derive(Debug, Serialize, ToSchema)]
pub struct Operation {
    #[schema(value_type = Uuid)]
    id: OperationId,
    kind: OperationKind,
    status: OperationStatus,
    /// The instance as it is now; null once it is deleted.
    #[schema(required)]
    instance: Option<Instance>,
    /// Only if the status is `failed` and no later command changed the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<OperationError>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum OperationKind {
    Create,
    Stop,
    Resume,
    Delete,
}

/// `superseded`: another command came before this one was done.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum OperationStatus {
    Pending,
    Succeeded,
    Failed,
    Superseded,
}

/// Why an operation failed.
#[derive(Debug, Serialize, ToSchema)]
struct OperationError {
    #[schema(schema_with = code)]
    code: Code,
    message: String,
    /// The reason of each backend that was tried, in order.
    reasons: Vec<BackendReason>,
}

fn code() -> utoipa::openapi::schema::ObjectBuilder {
    Code::one_of(&[Code::OperationFailed])
}

impl From<tenancy::OperationKind> for OperationKind {
    fn from(kind: tenancy::OperationKind) -> Self {
        match kind {
            tenancy::OperationKind::Create => Self::Create,
            tenancy::OperationKind::Stop => Self::Stop,
            tenancy::OperationKind::Resume => Self::Resume,
            tenancy::OperationKind::Delete => Self::Delete,
        }
    }
}

impl From<&Outcome> for OperationStatus {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Pending => Self::Pending,
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed => Self::Failed,
            Outcome::Superseded => Self::Superseded,
        }
    }
}

impl Operation {
    /// An operation with its instance, if the instance is still known.
    pub fn new(
        app: &App,
        user_id: UserId,
        id: OperationId,
        operation: &tenancy::Operation,
        instance: Option<&tenancy::Instance>,
        group: GroupLimits,
    ) -> Self {
        let existing = instance.filter(|instance| !instance.is_deleted());
        let error = match instance.map(|instance| (instance, &instance.progress)) {
            Some((instance, Progress::Failed { failure })) if operation.outcome == Outcome::Failed => {
                Some(OperationError {
                    code: Code::OperationFailed,
                    message: failure.reason.explain(),
                    reasons: backend_reasons(app, instance),
                })
            }
            _ => None,
        };
        Self {
            id,
            kind: operation.kind.into(),
            status: (&operation.outcome).into(),
            instance: existing.map(|instance| Instance::new(app, user_id, operation.instance_id, instance, group)),
            error,
        }
    }
}
