//! Watches whether somebody is connected to the containers by SSH, for the heartbeats.
//!
//! The runtime counts the connections from outside the containers. The server stops what nobody has used for long, so the watch must
//! not claim more than it saw: it begins anew after a gap, and is left out of the heartbeats if the last look was long ago.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dockhost_domain::ids::InstanceId;
use dockhost_domain::wire::{SshWatch, SshWatches};
use tokio_util::sync::CancellationToken;

use crate::runtime::Runtime;

/// Interval between two looks.
const INTERVAL: Duration = Duration::from_secs(5);
/// The longest time between two looks that is no gap. A connection that begins and ends in it may be missed.
const MAX_GAP: Duration = Duration::from_secs(30);

/// What was seen so far; clones share it.
#[derive(Debug, Clone, Default)]
pub struct SharedSshWatch(Arc<Mutex<Watch>>);

#[derive(Debug, Default)]
struct Watch {
    /// When the last look ended.
    looked: Option<Instant>,
    containers: BTreeMap<InstanceId, Watched>,
}

#[derive(Debug, Clone, Copy)]
struct Watched {
    since: Instant,
    connected: Option<Instant>,
}

impl Watch {
    /// Takes the result of a look: for each container that it could look at, whether somebody is connected.
    fn observe(&mut self, seen: &BTreeMap<InstanceId, bool>, now: Instant) {
        if self.looked.is_some_and(|looked| now.saturating_duration_since(looked) > MAX_GAP) {
            self.containers.clear();
        }
        self.looked = Some(now);
        self.containers.retain(|instance, _| seen.contains_key(instance));
        for (instance, is_connected) in seen {
            let watched = self.containers.entry(*instance).or_insert(Watched { since: now, connected: None });
            if *is_connected {
                watched.connected = Some(now);
            }
        }
    }

    /// For a heartbeat; `None` before the first look, and if the last one is too old.
    fn report(&self, now: Instant) -> Option<SshWatches> {
        let looked = self.looked.filter(|looked| now.saturating_duration_since(*looked) <= MAX_GAP)?;
        // As of the last look: it says nothing about the time since.
        let before =
            |then: Instant| u32::try_from(looked.saturating_duration_since(then).as_secs()).unwrap_or(u32::MAX);
        Some(SshWatches::of(self.containers.iter().map(|(instance_id, watched)| SshWatch {
            instance_id: *instance_id,
            watched_seconds: before(watched.since),
            connected_seconds_ago: watched.connected.map(before),
        })))
    }
}

impl SharedSshWatch {
    fn locked(&self) -> MutexGuard<'_, Watch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a heartbeat says now.
    #[must_use]
    pub fn report(&self) -> Option<SshWatches> {
        self.locked().report(Instant::now())
    }

    /// Looks until shutdown.
    pub async fn run(&self, runtime: &impl Runtime, stop: &CancellationToken) {
        let look = async {
            loop {
                match runtime.ssh_connections().await {
                    Ok(seen) => self.locked().observe(&seen, Instant::now()),
                    Err(error) => {
                        tracing::debug!(error = error.with_causes(), "could not look for SSH connections");
                    }
                }
                tokio::time::sleep(INTERVAL).await;
            }
        };
        tokio::select! {
            () = look => {}
            () = stop.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const WEB: InstanceId = InstanceId::from_uuid(Uuid::from_u128(1));
    const DB: InstanceId = InstanceId::from_uuid(Uuid::from_u128(2));

    fn watch(instance_id: InstanceId, watched_seconds: u32, connected_seconds_ago: Option<u32>) -> SshWatch {
        SshWatch { instance_id, watched_seconds, connected_seconds_ago }
    }

    #[test]
    fn watch_says_for_how_long_it_has_watched_and_when_it_saw_a_connection() {
        let (mut shared, start) = (Watch::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(shared.report(start), None);
        shared.observe(&[(WEB, true)].into(), start);
        shared.observe(&[(WEB, false), (DB, false)].into(), at(10));
        let expected = |watches: &[SshWatch]| Some(SshWatches::of(watches.iter().copied()));
        assert_eq!(shared.report(at(12)), expected(&[watch(WEB, 10, Some(10)), watch(DB, 0, None)]));
        shared.observe(&[(WEB, false), (DB, true)].into(), at(30));
        assert_eq!(shared.report(at(30)), expected(&[watch(WEB, 30, Some(30)), watch(DB, 20, Some(0))]));
    }

    #[test]
    fn watch_begins_anew_for_a_container_that_it_could_not_look_at_and_after_a_gap() {
        let (mut shared, start) = (Watch::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let both = [(WEB, true), (DB, false)].into();
        shared.observe(&both, start);
        shared.observe(&[(DB, false)].into(), at(20));
        shared.observe(&[(WEB, false), (DB, false)].into(), at(40));
        let expected = SshWatches::of([watch(WEB, 0, None), watch(DB, 40, None)]);
        assert_eq!(shared.report(at(40)), Some(expected));
        assert_eq!(shared.report(at(71)), None, "the last look is too old");
        shared.observe(&[(DB, false)].into(), at(71));
        assert_eq!(shared.report(at(71)), Some(SshWatches::of([watch(DB, 0, None)])));
    }
}
