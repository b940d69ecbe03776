//! Shares of a queue: one client may have only so many jobs in it; its others wait outside, and hold up nobody else.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a job may wait for its client's share.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The shares of all clients that have jobs.
pub struct Shares<Client> {
    size: usize,
    clients: Mutex<HashMap<Client, Weak<Semaphore>>>,
}

/// A place in the queue; freed on drop.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "frees the place when it is dropped")] OwnedSemaphorePermit);

impl<Client: Hash + Eq> Shares<Client> {
    /// Shares of `size` jobs each.
    pub fn new(size: usize) -> Self {
        Self { size, clients: Mutex::new(HashMap::new()) }
    }

    /// Waits until the client has fewer than its share of jobs; none if that takes too long.
    pub async fn wait(&self, client: Client) -> Option<Place> {
        let share = self.of(client);
        tokio::time::timeout(MAX_WAIT, share.acquire_owned()).await.ok()?.ok().map(Place)
    }

    fn of(&self, client: Client) -> Arc<Semaphore> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = clients.get(&client).and_then(Weak::upgrade) {
            return share;
        }
        // A share lives as long as a job that has a place in it or waits for one.
        if clients.len() == clients.capacity() {
            clients.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Semaphore::new(self.size));
        clients.insert(client, Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn wait_beyond_the_share_holds_up_only_the_same_client() {
        let shares = Shares::new(2);
        let (first, _second) = (shares.wait("a").await.unwrap(), shares.wait("a").await.unwrap());
        let mut third = Box::pin(shares.wait("a"));
        assert!((&mut third).now_or_never().is_none());
        assert!(shares.wait("b").now_or_never().flatten().is_some());
        drop(first);
        assert!(third.await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn wait_for_too_long_gets_no_place() {
        let shares = Shares::new(1);
        let _place = shares.wait("a").await.unwrap();
        assert!(shares.wait("a").await.is_none());
    }

    #[tokio::test]
    async fn wait_forgets_clients_without_jobs() {
        let shares = Shares::new(1);
        for client in 0..10_000 {
            shares.wait(client).await.unwrap();
        }
        assert!(shares.clients.lock().unwrap().len() < 100);
    }
}
