//! What happens when a container ends that nobody stopped, and why one did.

use dockhost_domain::tenancy::LastEnd;
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::RestartPolicy;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// - `never`: it stays ended, and the instance is `failed` until it is resumed or stopped.
/// - `on-failure`: its backend starts it again, whatever its exit code, with growing delays. After five starts within
///   minutes, the next end is final.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    Never,
    #[default]
    OnFailure,
}

impl From<Restart> for RestartPolicy {
    fn from(restart: Restart) -> Self {
        match restart {
            Restart::Never => Self::Never,
            Restart::OnFailure => Self::OnFailure,
        }
    }
}

impl From<RestartPolicy> for Restart {
    fn from(policy: RestartPolicy) -> Self {
        match policy {
            RestartPolicy::Never => Self::Never,
            RestartPolicy::OnFailure => Self::OnFailure,
        }
    }
}

/// The last time that the container ended though nobody stopped it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerEnd {
    /// `out_of_memory`, `exited`, `killed`, `engine_restarted` or `unknown`.
    cause: &'static str,
    /// The exit code of its main process, if it exited.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    exit_code: Option<u8>,
    /// The cause as a clause, such as `it ran out of memory`.
    message: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// How many times it has ended so since the instance was created, stopped or resumed.
    count: u32,
}

impl From<LastEnd> for ContainerEnd {
    fn from(LastEnd { cause, at, count }: LastEnd) -> Self {
        Self { cause: cause.code(), exit_code: cause.exit_code(), message: cause.explain(), at, count }
    }
}
