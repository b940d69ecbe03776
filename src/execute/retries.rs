//! When a command decides again, because another append came first or has no outcome yet.

use std::time::Duration;

use rand::Rng;
use tokio::time::{Instant, sleep};

use crate::event_log::AppendError;

/// How often a command meets other appends before it gives up.
pub(super) const MAX_CONFLICTS: u32 = 10;
/// How long a command waits for the outcome of appends in flight: longer than the quorum of a busy broker takes.
const MAX_IN_FLIGHT: Duration = Duration::from_secs(3);
/// The longest pause is 2^7 ms.
const MAX_EXPONENT: u32 = 7;

/// The retries of one command.
#[derive(Debug, Default)]
pub struct Retries {
    pauses: u32,
    conflicts: u32,
    in_flight_since: Option<Instant>,
}

impl Retries {
    /// Pauses before the next attempt; `false` if there should be none.
    pub async fn pause_after(&mut self, error: &AppendError) -> bool {
        let again = match error {
            AppendError::Conflict => {
                self.conflicts += 1;
                self.conflicts < MAX_CONFLICTS
            }
            AppendError::InFlight => self.in_flight_since.get_or_insert_with(Instant::now).elapsed() < MAX_IN_FLIGHT,
            AppendError::Full | AppendError::Unavailable(_) | AppendError::Unknown(_) => false,
        };
        if again {
            // A random time, so that replicas whose appends collided do not collide again. (Full jitter, which `backon`
            // does not offer.)
            let max_millis = 1_u64 << self.pauses.min(MAX_EXPONENT);
            let millis = rand::rng().random_range(0..=max_millis);
            sleep(Duration::from_millis(millis)).await;
            self.pauses += 1;
        }
        again
    }

    /// Whether an append had no outcome yet. It may be this command's, from an earlier request.
    pub const fn met_append_in_flight(&self) -> bool {
        self.in_flight_since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pause_after_append_in_flight_waits_for_its_outcome_and_after_conflicts_only_so_often() {
        let (mut retries, begun) = (Retries::default(), Instant::now());
        while retries.pause_after(&AppendError::InFlight).await {}
        assert!((MAX_IN_FLIGHT..MAX_IN_FLIGHT * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        assert!(retries.met_append_in_flight());
        let mut retries = Retries::default();
        let mut attempts = 1;
        while retries.pause_after(&AppendError::Conflict).await {
            attempts += 1;
        }
        assert_eq!((attempts, retries.met_append_in_flight()), (MAX_CONFLICTS, false));
        assert!(!Retries::default().pause_after(&AppendError::Full).await);
    }
}
