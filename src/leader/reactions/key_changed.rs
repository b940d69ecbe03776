//! Closes a backend's connections when its key no longer counts: it was revoked or replaced, or the backend was removed.
//!
//! Also when the key before stays valid for a while: the agent connects again at once, gets the new key with its hello, and
//! a connection with the old one is closed by the broker at that key's end. A repeated run closes that connection once more, which harms nothing.

use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::backend::BackendEvent;
use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::event::Event;
use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::AggregateId;
use tokio_util::sync::CancellationToken;

use crate::broker::kick::{Kick, NoSystemAccount};
use crate::common::error::Cause;
use crate::event_log::jetstream::JetStreamLog;
use crate::leader::job_runner::{self, EventSource};
use crate::replica::follower::Follower;

/// The reaction.
pub struct KeyChanged {
    /// The log.
    pub log: Arc<JetStreamLog>,
    /// Closes the connections.
    pub kick: Kick,
    /// Knows how far the log goes.
    pub follower: Arc<Follower>,
}

fn changed(recorded: &RecordedEvent) -> Option<((BackendId, ()), BackendId)> {
    match (&recorded.envelope.aggregate, &recorded.envelope.event) {
        (
            AggregateId::Backend(backend),
            Event::Backend(BackendEvent::KeyRevoked(_) | BackendEvent::KeyIssued(_) | BackendEvent::Removed(_)),
        ) => Some(((*backend, ()), *backend)),
        _ => None,
    }
}

impl KeyChanged {
    /// Reacts until cancelled.
    ///
    /// # Errors
    /// When the broker can't be reached.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Cause> {
        let react = |backend| self.react(backend);
        let reading = EventSource {
            role: "key-changed",
            consumer: "key-changed",
            kind: "backend",
            debounce: Duration::ZERO,
            follower: &self.follower,
        };
        job_runner::process_events(reading, &self.log, &cancel, changed, |_, _| {}, react).await?;
        Ok(())
    }

    async fn react(&self, backend: BackendId) -> Result<(), Cause> {
        match self.kick.close_connections(backend).await {
            Ok(closed) => tracing::info!(%backend, closed, "connections closed, because the key has changed"),
            Err(error) if error.is::<NoSystemAccount>() => {
                tracing::warn!(%backend, %error, "connections not closed, although the key has changed");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
