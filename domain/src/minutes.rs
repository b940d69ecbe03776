//! A span of whole minutes for which instances may run, from 5 minutes to 366 days.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number of minutes between [`Minutes::MIN`] and [`Minutes::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Minutes(u32);

/// The number is out of the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a number of minutes from {} to {}", Minutes::MIN, Minutes::MAX)]
pub struct InvalidMinutes;

impl Minutes {
    /// The least number.
    pub const MIN: u32 = 5;
    /// The greatest number: 366 days.
    pub const MAX: u32 = 366 * 24 * 60;

    /// The number of minutes.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64 * 60)
    }
}

impl TryFrom<u32> for Minutes {
    type Error = InvalidMinutes;

    fn try_from(minutes: u32) -> Result<Self, InvalidMinutes> {
        if (Self::MIN..=Self::MAX).contains(&minutes) { Ok(Self(minutes)) } else { Err(InvalidMinutes) }
    }
}

impl From<Minutes> for u32 {
    fn from(minutes: Minutes) -> Self {
        minutes.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_out_of_the_range_are_rejected() {
        let parse = |text: &str| serde_json::from_str::<Minutes>(text).map(Minutes::get).ok();
        assert_eq!(["5", "527040"].map(parse), [Some(5), Some(527_040)]);
        assert_eq!(["4", "527041", "0", "-5", "5.5", "\"5\""].map(parse), [None; 6]);
        assert_eq!(Minutes(90).duration(), Duration::from_secs(5400));
    }
}
