//! One poll for all who wait for the same thing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Polls in the background while somebody waits, however many they are.
#[derive(Debug, Default)]
pub struct SharedPoll {
    running: Mutex<bool>,
}

impl SharedPoll {
    /// Starts to poll, unless that runs already. It polls after each `interval`, and ends when `is_awaited` is false
    /// then. A waiter must count for `is_awaited` before it calls this.
    pub fn ensure<F: Future<Output = ()> + Send>(
        self: &Arc<Self>,
        interval: Duration,
        is_awaited: impl Fn() -> bool + Send + 'static,
        poll: impl Fn() -> F + Send + 'static,
    ) {
        if std::mem::replace(&mut *self.running(), true) {
            return;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                if this.ends(&is_awaited) {
                    return;
                }
                poll().await;
            }
        });
    }

    /// Decided under the lock, so that a new waiter either is seen here or finds that nothing runs.
    fn ends(&self, is_awaited: impl Fn() -> bool) -> bool {
        let mut running = self.running();
        *running = is_awaited();
        !*running
    }

    fn running(&self) -> std::sync::MutexGuard<'_, bool> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(200);

    #[tokio::test(start_paused = true)]
    async fn shared_poll_many_waiters_cause_one_poll_per_interval() {
        let (poll, polls, waiters) = (Arc::<SharedPoll>::default(), Arc::<AtomicUsize>::default(), Arc::new(()));
        let wait = || {
            let waiter = Arc::clone(&waiters);
            let (counted, polled) = (Arc::downgrade(&waiters), Arc::clone(&polls));
            let poll_once = move || {
                polled.fetch_add(1, Ordering::Relaxed);
                std::future::ready(())
            };
            poll.ensure(INTERVAL, move || counted.strong_count() > 1, poll_once);
            waiter
        };
        let waiting: Vec<_> = (0..250).map(|_| wait()).collect();
        tokio::time::sleep(INTERVAL * 5 + INTERVAL / 2).await;
        assert_eq!(polls.load(Ordering::Relaxed), 5);
        drop(waiting);
        tokio::time::sleep(INTERVAL * 5).await;
        assert_eq!(polls.load(Ordering::Relaxed), 5, "nobody waits");
        let _waiting = wait();
        tokio::time::sleep(INTERVAL + INTERVAL / 2).await;
        assert_eq!(polls.load(Ordering::Relaxed), 6, "somebody waits again");
    }
}
