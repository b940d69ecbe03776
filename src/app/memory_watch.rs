//! Warns of high memory usage.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::metrics::memory::Memory;

/// How often memory is read.
const INTERVAL: Duration = Duration::from_secs(10);
/// The share of the limit, in percent, below which the next warning is about something new.
const RECOVERED_PERCENT: u64 = 75;

/// Whether a warning was given, and not taken back.
#[derive(Debug, Default)]
struct Warned(bool);

/// What to say.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    High,
    Recovered,
}

impl Warned {
    /// What there is to say about the memory now.
    fn observe(&mut self, memory: Memory) -> Option<Change> {
        let change = match self.0 {
            false if memory.is_high() => Change::High,
            true if memory.percent() < RECOVERED_PERCENT => Change::Recovered,
            _ => return None,
        };
        self.0 = change == Change::High;
        Some(change)
    }
}

/// Watches until cancelled.
pub async fn run(cancel: CancellationToken) {
    let mut warned = Warned::default();
    loop {
        if let Some(memory) = Memory::read() {
            let Memory { resident, used, limit } = memory;
            match warned.observe(memory) {
                Some(Change::High) => tracing::warn!(
                    percent = memory.percent(),
                    used,
                    limit,
                    resident,
                    "memory usage above 80 %: `resident` is this process, the rest is used by others under the same limit"
                ),
                Some(Change::Recovered) => {
                    tracing::info!(percent = memory.percent(), used, limit, "memory usage is below 75 % again");
                }
                None => {}
            }
        }
        if cancel.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warned_once_until_usage_has_gone_down() {
        let mut warned = Warned::default();
        let mut observe = |used| warned.observe(Memory { resident: 1, used, limit: 100 });
        assert_eq!(
            [observe(79), observe(80), observe(95), observe(79), observe(80)],
            [None, Some(Change::High), None, None, None]
        );
        assert_eq!([observe(74), observe(74), observe(81)], [Some(Change::Recovered), None, Some(Change::High)]);
    }
}
