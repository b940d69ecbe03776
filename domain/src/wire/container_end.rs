//! How a container ended that nobody asked to stop, and what follows.

use serde::{Deserialize, Serialize};

/// Why a container ended although it should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum ContainerEnd {
    /// Its processes needed more memory than its limit, and the kernel ended it.
    OutOfMemory,
    /// Its main process exited.
    Exited {
        /// The exit code.
        exit_code: u8,
    },
    /// A signal ended its main process.
    Killed {
        /// The number of the signal.
        signal: u8,
    },
    /// It ended while the container engine restarted or was down.
    EngineRestarted,
    /// The agent does not know it, or is of a release that knows more causes.
    #[serde(other)]
    Unknown,
}

impl ContainerEnd {
    /// The end of a main process with this code: shells and engines add 128 to the number of a signal.
    #[must_use]
    pub const fn of_exit_code(code: u8) -> Self {
        match code {
            129..=192 => Self::Killed { signal: code - 128 },
            exit_code => Self::Exited { exit_code },
        }
    }

    /// The cause as a stable code, as in JSON.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::OutOfMemory => "out_of_memory",
            Self::Exited { .. } => "exited",
            Self::Killed { .. } => "killed",
            Self::EngineRestarted => "engine_restarted",
            Self::Unknown => "unknown",
        }
    }

    /// The exit code of its main process, if that is why it ended.
    #[must_use]
    pub const fn exit_code(self) -> Option<u8> {
        if let Self::Exited { exit_code } = self { Some(exit_code) } else { None }
    }

    /// One clause for the instance's owner.
    #[must_use]
    pub fn explain(self) -> String {
        match self {
            Self::OutOfMemory => "it ran out of memory".to_owned(),
            Self::Exited { exit_code } => format!("its main process exited with code {exit_code}"),
            Self::Killed { signal } => format!("its main process was killed by signal {signal}"),
            Self::EngineRestarted => "the container engine of its machine was restarted".to_owned(),
            Self::Unknown => "it ended for an unknown reason".to_owned(),
        }
    }
}

/// What the agent does when the container of an instance ends that should run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// It leaves it ended and reports a failure.
    Never,
    /// It starts it again, each time after a longer delay and not without end. Every end that nobody requested is a
    /// failure, whatever the exit code.
    #[default]
    OnFailure,
}

impl RestartPolicy {
    /// Whether it is the default, which is left out of messages and events.
    #[must_use]
    pub const fn is_default(&self) -> bool {
        matches!(self, Self::OnFailure)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn container_end_of_a_later_release_is_unknown() {
        let read = |json| serde_json::from_value::<ContainerEnd>(json).unwrap();
        assert_eq!(read(json!({ "cause": "struck_by_lightning", "volts": 7 })), ContainerEnd::Unknown);
        assert_eq!(read(json!({ "cause": "exited", "exitCode": 3 })), ContainerEnd::Exited { exit_code: 3 });
        for invalid in [json!({ "cause": "exited" }), json!({ "cause": "exited", "exitCode": 256 }), json!({})] {
            assert!(serde_json::from_value::<ContainerEnd>(invalid.clone()).is_err(), "{invalid}");
        }
    }

    #[test]
    fn container_end_code_is_the_cause_in_json() {
        for end in [
            ContainerEnd::OutOfMemory,
            ContainerEnd::Exited { exit_code: 1 },
            ContainerEnd::Killed { signal: 9 },
            ContainerEnd::EngineRestarted,
            ContainerEnd::Unknown,
        ] {
            assert_eq!(serde_json::to_value(end).unwrap()["cause"], end.code());
        }
    }

    #[test]
    fn exit_code_above_128_is_a_signal() {
        let of = ContainerEnd::of_exit_code;
        assert_eq!((of(0), of(128)), (ContainerEnd::Exited { exit_code: 0 }, ContainerEnd::Exited { exit_code: 128 }));
        assert_eq!((of(137), of(192)), (ContainerEnd::Killed { signal: 9 }, ContainerEnd::Killed { signal: 64 }));
        assert_eq!(of(255), ContainerEnd::Exited { exit_code: 255 });
    }
}
