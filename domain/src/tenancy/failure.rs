//! Why a placement failed.

use std::ops::Not;

use serde::{Deserialize, Serialize};

use super::recorded::RecordedError;
use crate::ids::BackendId;
use crate::personal::Personal;

/// What failed on which backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlacementFailure {
    /// The backend.
    pub backend_id: BackendId,
    /// The reason.
    pub reason: FailureReason,
}

/// The reason of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredReason", into = "StoredReason")]
pub enum FailureReason {
    /// The agent refused.
    Refused(RecordedError),
    /// The agent tried and failed.
    Failed(RecordedError),
    /// The deadline passed without a report.
    Late,
    /// The backend was lost.
    Lost,
    /// An administrator removed the backend.
    Removed,
}

/// The form in the log. A removed backend is a lost one to servers that don't know of removals.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum StoredReason {
    Refused(RecordedError),
    Failed(RecordedError),
    Late,
    Lost {
        #[serde(default, skip_serializing_if = "Not::not")]
        removed: bool,
    },
}

impl From<StoredReason> for FailureReason {
    fn from(stored: StoredReason) -> Self {
        match stored {
            StoredReason::Refused(error) => Self::Refused(error),
            StoredReason::Failed(error) => Self::Failed(error),
            StoredReason::Late => Self::Late,
            StoredReason::Lost { removed: false } => Self::Lost,
            StoredReason::Lost { removed: true } => Self::Removed,
        }
    }
}

impl From<FailureReason> for StoredReason {
    fn from(reason: FailureReason) -> Self {
        match reason {
            FailureReason::Refused(error) => Self::Refused(error),
            FailureReason::Failed(error) => Self::Failed(error),
            FailureReason::Late => Self::Late,
            FailureReason::Lost => Self::Lost { removed: false },
            FailureReason::Removed => Self::Lost { removed: true },
        }
    }
}

impl FailureReason {
    /// The reason for the instance's owner, as what the backend did: `refused: no free ports`. Not for logs, because the
    /// message is personal.
    #[must_use]
    pub fn explain(&self) -> String {
        let with_message = |verb: &str, error: &RecordedError| match error.shown_message() {
            Some(message) => format!("{verb}: {message}"),
            None => verb.to_owned(),
        };
        match self {
            Self::Refused(error) => with_message("refused", error),
            Self::Failed(error) => with_message("failed", error),
            Self::Late => "did not answer in time".to_owned(),
            Self::Lost => "was lost".to_owned(),
            Self::Removed => "was removed by an administrator".to_owned(),
        }
    }
}

impl PlacementFailure {
    /// Removes the backend's message.
    pub fn erase_personal_values(&mut self) {
        match &mut self.reason {
            FailureReason::Refused(error) | FailureReason::Failed(error) => error.message = Personal::Erased,
            FailureReason::Late | FailureReason::Lost | FailureReason::Removed => {}
        }
    }
}

/// The form of failures in states, for `#[serde(with)]`. Documents of the read models hold states, and replicas of the
/// previous release read them, so the message stays a plain text there; an erased one is empty. Snapshots are sealed as a
/// whole.
pub(super) mod plain {
    use std::ops::Not;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{FailureReason, PlacementFailure, RecordedError};
    use crate::ids::BackendId;
    use crate::personal::Personal;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Plain {
        backend_id: BackendId,
        reason: PlainReason,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(tag = "kind", rename_all = "kebab-case")]
    enum PlainReason {
        Refused(PlainError),
        Failed(PlainError),
        Late,
        Lost {
            #[serde(default, skip_serializing_if = "Not::not")]
            removed: bool,
        },
    }

    #[derive(Serialize, Deserialize)]
    struct PlainError {
        code: String,
        message: String,
    }

    impl From<&RecordedError> for PlainError {
        fn from(error: &RecordedError) -> Self {
            Self { code: error.code.clone(), message: error.message.plain().cloned().unwrap_or_default() }
        }
    }

    impl From<PlainError> for RecordedError {
        fn from(PlainError { code, message }: PlainError) -> Self {
            let message = if message.is_empty() { Personal::Erased } else { Personal::Plain(message) };
            Self { code, message }
        }
    }

    impl From<&PlacementFailure> for Plain {
        fn from(failure: &PlacementFailure) -> Self {
            let reason = match &failure.reason {
                FailureReason::Refused(error) => PlainReason::Refused(error.into()),
                FailureReason::Failed(error) => PlainReason::Failed(error.into()),
                FailureReason::Late => PlainReason::Late,
                FailureReason::Lost => PlainReason::Lost { removed: false },
                FailureReason::Removed => PlainReason::Lost { removed: true },
            };
            Self { backend_id: failure.backend_id, reason }
        }
    }

    impl From<Plain> for PlacementFailure {
        fn from(Plain { backend_id, reason }: Plain) -> Self {
            let reason = match reason {
                PlainReason::Refused(error) => FailureReason::Refused(error.into()),
                PlainReason::Failed(error) => FailureReason::Failed(error.into()),
                PlainReason::Late => FailureReason::Late,
                PlainReason::Lost { removed: false } => FailureReason::Lost,
                PlainReason::Lost { removed: true } => FailureReason::Removed,
            };
            Self { backend_id, reason }
        }
    }

    pub fn serialize<S: Serializer>(failure: &PlacementFailure, serializer: S) -> Result<S::Ok, S::Error> {
        Plain::from(failure).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PlacementFailure, D::Error> {
        Plain::deserialize(deserializer).map(PlacementFailure::from)
    }

    /// The same for a list.
    pub mod list {
        use super::{Deserialize, Deserializer, PlacementFailure, Plain, Serializer};

        pub fn serialize<S: Serializer>(failures: &[PlacementFailure], serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(failures.iter().map(Plain::from))
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PlacementFailure>, D::Error> {
            Ok(Vec::<Plain>::deserialize(deserializer)?.into_iter().map(PlacementFailure::from).collect())
        }
    }
}
