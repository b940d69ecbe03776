//! Exponential backoff with jitter, without a limit on attempts.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// Delays of 50 % to 100 % of `first`, 2 × `first`, 4 × `first` and so on up to `longest`. The jitter keeps agents that
/// lost the same broker from reconnecting at the same moment.
#[must_use]
pub fn backoff((first, longest): (Duration, Duration)) -> ExponentialBuilder {
    // backon adds 0 % to 100 % to each delay, so the bounds are halved.
    ExponentialBuilder::new().with_min_delay(first / 2).with_max_delay(longest / 2).with_jitter().without_max_times()
}

/// One delay of that series: the first after 0 earlier failures, and so on.
#[must_use]
pub fn delay((first, longest): (Duration, Duration), failures: usize) -> Duration {
    // After 32 doublings every series is at its longest delay.
    backoff((first, longest)).build().nth(failures.min(32)).unwrap_or(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_doubles_up_to_the_longest_with_half_of_it_random() {
        let bounds = (Duration::from_millis(100), Duration::from_millis(300));
        for (failures, upper) in [(0, 100), (1, 200), (2, 300), (3, 300), (1_000_000, 300)] {
            let delay = delay(bounds, failures);
            assert!((upper / 2..=upper).contains(&delay.as_millis()), "{delay:?} after {failures} failures");
        }
        assert_eq!(delay((Duration::ZERO, Duration::ZERO), 5), Duration::ZERO);
    }
}
