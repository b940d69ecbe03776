//! Notices that the leader is gone, before its lease expires.
//!
//! Whoever takes part in the election listens on a subject of its own. A process that is killed loses its connections at once,
//! so the broker says that nobody listens there. A leader that is there keeps its lease until it expires, also if it does not
//! renew it for a moment, because its machine is busy.

use std::time::{Duration, Instant};

use async_nats::client::RequestErrorKind;
use async_nats::{Client, SubscribeError};
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// The common part of the subjects.
const SUBJECT: &str = "dockhost.replica";
/// Nobody is asked about a lease that was renewed more recently: a leader whose broker's node is lost is connected again and
/// has renewed before.
const MIN_SILENCE: Duration = Duration::from_millis(1_500);
/// A leader that does not answer within this time is there, but busy.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

fn subject(name: &str) -> String {
    format!("{SUBJECT}.{name}")
}

/// Shows that a process is connected, until it is dropped.
pub struct Presence {
    _answers: AbortOnDropHandle<()>,
}

impl Presence {
    /// Shows that the process with this name is connected.
    ///
    /// # Errors
    /// The client is closed.
    pub async fn show(client: &Client, name: &str) -> Result<Self, SubscribeError> {
        let (client, mut questions) = (client.clone(), client.subscribe(subject(name)).await?);
        let answers = tokio::spawn(async move {
            while let Some(question) = questions.next().await {
                if let Some(reply) = question.reply {
                    // Fails only if the client is closed.
                    let _ = client.publish(reply, Bytes::new()).await;
                }
            }
        });
        Ok(Self { _answers: AbortOnDropHandle::new(answers) })
    }
}

/// Whether the broker says that no process with this name is connected.
pub async fn is_absent(client: &Client, name: &str) -> bool {
    match timeout(ANSWER_TIMEOUT, client.request(subject(name), Bytes::new())).await {
        Ok(Err(error)) => error.kind() == RequestErrorKind::NoResponders,
        _ => false,
    }
}

/// Since when a lease has not been renewed.
#[derive(Debug, Default)]
pub struct Renewals {
    /// The highest revision seen, and when it was seen first.
    last: Option<(u64, Instant)>,
}

impl Renewals {
    /// Takes the lease's revision at `now`; returns whether it has not been renewed for so long that its holder may be gone.
    pub fn have_stopped(&mut self, revision: u64, now: Instant) -> bool {
        match self.last {
            // An older revision is that of a node that lags.
            Some((seen, since)) if revision <= seen => {
                revision == seen && now.saturating_duration_since(since) >= MIN_SILENCE
            }
            _ => {
                self.last = Some((revision, now));
                false
            }
        }
    }

    /// The lease is free, so the next one may have any revision.
    pub fn reset(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewals_have_stopped_when_the_revision_stays_the_same() {
        let (mut renewals, start) = (Renewals::default(), Instant::now());
        let mut at = |revision, millis| renewals.have_stopped(revision, start + Duration::from_millis(millis));
        assert!(!at(7, 0));
        assert!(!at(7, 1_499));
        assert!(at(7, 1_500));
        assert!(!at(6, 1_600), "from a node that lags");
        assert!(at(7, 1_700));
        assert!(!at(8, 1_800), "renewed");
        assert!(!at(8, 3_299));
        assert!(at(8, 3_300));
        renewals.reset();
        assert!(!renewals.have_stopped(1, start + Duration::from_millis(9_000)), "another lease");
    }
}
