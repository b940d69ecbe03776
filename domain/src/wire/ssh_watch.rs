//! What a heartbeat says about the SSH connections of the containers.

use serde::{Deserialize, Serialize};

use crate::ids::InstanceId;

/// For how long the agent has watched the SSH connections of a running container, and when it saw one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SshWatch {
    /// The instance.
    pub instance_id: InstanceId,
    /// Seconds since it began to watch without a gap.
    pub watched_seconds: u32,
    /// Seconds since it last saw an established connection, 0 while there is one; absent if it saw none in that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_seconds_ago: Option<u32>,
}

/// The watched containers, [`SshWatches::MAX`] at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<SshWatch>", into = "Vec<SshWatch>")]
pub struct SshWatches(Vec<SshWatch>);

/// More than [`SshWatches::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("are more than {}", SshWatches::MAX)]
pub struct TooManyWatches;

impl SshWatches {
    /// The most in one heartbeat.
    pub const MAX: usize = 10_000;

    /// The first ones of these.
    pub fn of(watches: impl IntoIterator<Item = SshWatch>) -> Self {
        Self(watches.into_iter().take(Self::MAX).collect())
    }

    /// That of an instance; `None` if its connections are not watched.
    #[must_use]
    pub fn get(&self, instance: InstanceId) -> Option<&SshWatch> {
        self.0.iter().find(|watch| watch.instance_id == instance)
    }
}

impl TryFrom<Vec<SshWatch>> for SshWatches {
    type Error = TooManyWatches;

    fn try_from(watches: Vec<SshWatch>) -> Result<Self, TooManyWatches> {
        if watches.len() > Self::MAX { Err(TooManyWatches) } else { Ok(Self(watches)) }
    }
}

impl From<SshWatches> for Vec<SshWatch> {
    fn from(watches: SshWatches) -> Self {
        watches.0
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn ssh_watches_more_than_the_limit_are_rejected() {
        let watch = |n| {
            let instance_id = InstanceId::from_uuid(Uuid::from_u128(n));
            SshWatch { instance_id, watched_seconds: 1, connected_seconds_ago: None }
        };
        let json = |count: u128| serde_json::to_value((0..count).map(watch).collect::<Vec<_>>()).unwrap();
        let found: SshWatches = serde_json::from_value(json(10_000)).unwrap();
        assert_eq!(found.get(watch(9_999).instance_id), Some(&watch(9_999)));
        assert_eq!(found.get(watch(10_000).instance_id), None);
        assert!(serde_json::from_value::<SshWatches>(json(10_001)).is_err());
        assert_eq!(SshWatches::of((0..10_001).map(watch)), found);
    }
}
