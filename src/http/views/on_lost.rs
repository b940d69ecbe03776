//! What happens to an instance if its backend is lost, and whether that happened.

use dockhost_domain::ids::BackendId;
use dockhost_domain::tenancy::{self, LastMove};
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What happens to an instance with a container if its backend is lost, or drained.
///
/// - `wait`: it waits for its backend, which has its files; a drain stops it.
/// - `recreate`: if it is running, it is created again on another backend, without its files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnLost {
    #[default]
    Wait,
    Recreate,
}

impl From<tenancy::OnLost> for OnLost {
    fn from(on_lost: tenancy::OnLost) -> Self {
        match on_lost {
            tenancy::OnLost::Wait => Self::Wait,
            tenancy::OnLost::Recreate => Self::Recreate,
        }
    }
}

impl From<OnLost> for tenancy::OnLost {
    fn from(on_lost: OnLost) -> Self {
        match on_lost {
            OnLost::Wait => Self::Wait,
            OnLost::Recreate => Self::Recreate,
        }
    }
}

/// A move of an instance to another backend.
#[derive(Debug, Serialize, ToSchema)]
pub struct InstanceMove {
    /// The backend that it was on.
    #[schema(value_type = Uuid)]
    from: BackendId,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Why; one sentence.
    #[schema(value_type = String)]
    reason: &'static str,
}

impl From<LastMove> for InstanceMove {
    fn from(LastMove { from, at, reason }: LastMove) -> Self {
        Self { from, at, reason: reason.explain() }
    }
}
