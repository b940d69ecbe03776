//! Appends. One publish per attempt, with the expected last sequence of its subject.
//!
//! A missing reply leaves the outcome open, so the same event is published again until a reply is final; then the log
//! is searched for its id.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::{Instant, sleep};

use super::JetStreamLog;
use crate::common::clock;
use crate::common::error::Cause;
use crate::event_log::batch::send_batch;
use crate::event_log::codec;
use crate::event_log::publish::{OutgoingMessage, PublishOutcome, outgoing, send};
use crate::event_log::{Append, AppendError, LogError};

/// The delays between two attempts.
const RETRY_BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(10))
    .with_max_delay(Duration::from_millis(200))
    .with_jitter()
    .without_max_times();

/// What a search of the log for an append's events found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// They are stored; the last one at this sequence.
    Stored(u64),
    /// Another event follows the expected sequence on one of the subjects, so they are not stored and never will be.
    Superseded,
    /// No event follows. A new leader of the stream may not have applied what the old one has accepted.
    Nothing,
}

/// What the retries need of the log.
trait Attempts {
    /// Publishes once.
    async fn publish(&self, timeout: Duration) -> PublishOutcome;

    /// Searches the log.
    async fn find(&self) -> Result<Found, LogError>;
}

/// Repeats attempts until an outcome is final or `limit` is over. After an attempt without a reply, the events count as
/// not stored only if the log proves it.
async fn retry(attempts: &impl Attempts, attempt_timeout: Duration, limit: Duration) -> Result<u64, AppendError> {
    let deadline = Instant::now() + limit;
    let mut delays = RETRY_BACKOFF.build();
    // Set once an earlier attempt may have been stored.
    let mut uncertain: Option<Cause> = None;
    loop {
        let timeout = attempt_timeout.min(deadline - Instant::now());
        match (attempts.publish(timeout).await, &uncertain) {
            (PublishOutcome::Stored(sequence) | PublishOutcome::Duplicate(sequence), _) => return Ok(sequence),
            (PublishOutcome::Conflict, None) => {
                return match attempts.find().await {
                    Ok(Found::Stored(sequence)) => Ok(sequence),
                    Ok(Found::Superseded | Found::Nothing) | Err(_) => Err(AppendError::Conflict),
                };
            }
            (PublishOutcome::Conflict, Some(_)) => match attempts.find().await {
                Ok(Found::Stored(sequence)) => return Ok(sequence),
                Ok(Found::Superseded) => return Err(AppendError::Conflict),
                Ok(Found::Nothing) => {}
                Err(error) => uncertain = Some(error.into()),
            },
            (PublishOutcome::AlreadyStored, _) => match attempts.find().await {
                Ok(Found::Stored(sequence)) => return Ok(sequence),
                Ok(Found::Superseded | Found::Nothing) => {
                    uncertain = Some("the broker reports the batch as stored, but has no such event".into());
                }
                Err(error) => uncertain = Some(error.into()),
            },
            (PublishOutcome::SameInFlight, _) => uncertain = Some("an earlier attempt has no outcome yet".into()),
            // With an uncertain attempt before, the append in flight may be that one.
            (PublishOutcome::InFlight, None) => return Err(AppendError::InFlight),
            (PublishOutcome::Full, None) => return Err(AppendError::Full),
            (PublishOutcome::Refused(cause) | PublishOutcome::NotSent(cause), None) => {
                return Err(AppendError::Unavailable(cause));
            }
            (PublishOutcome::NoReply(cause), _) => uncertain = Some(cause),
            (
                PublishOutcome::InFlight
                | PublishOutcome::Full
                | PublishOutcome::Refused(_)
                | PublishOutcome::NotSent(_),
                Some(_),
            ) => {}
        }
        match delays.next().filter(|delay| Instant::now() + *delay < deadline) {
            Some(delay) => sleep(delay).await,
            None => {
                return match attempts.find().await {
                    Ok(Found::Stored(sequence)) => Ok(sequence),
                    Ok(Found::Superseded | Found::Nothing) | Err(_) => {
                        Err(AppendError::Unknown(uncertain.unwrap_or_else(|| "no final reply in time".into())))
                    }
                };
            }
        }
    }
}

/// An append on the stream.
struct OnStream<'a> {
    log: &'a JetStreamLog,
    entries: &'a [Append],
    messages: Vec<OutgoingMessage>,
}

impl JetStreamLog {
    /// Repeats attempts until an outcome is final or `append_timeout` is over.
    pub(super) async fn append_until_final(&self, entries: &[Append]) -> Result<u64, AppendError> {
        let mut messages = Vec::with_capacity(entries.len());
        for entry in entries {
            messages.push(outgoing(&self.codec, entry).await.map_err(AppendError::Unavailable)?);
        }
        let append = OnStream { log: self, entries, messages };
        retry(&append, self.options.attempt_timeout, self.options.append_timeout).await
    }
}

impl Attempts for OnStream<'_> {
    async fn publish(&self, timeout: Duration) -> PublishOutcome {
        let (log, mut messages, began) = (self.log, self.messages.clone(), Instant::now());
        let outcome = match messages.len() {
            1 => send(&log.client, messages.remove(0), timeout).await,
            _ => send_batch(&log.client, &clock::fresh_uuid().to_string(), messages, timeout).await,
        };
        match outcome {
            PublishOutcome::Stored(sequence) => {
                log.write_proof.record(began);
                log.barriers.record(began, sequence);
            }
            PublishOutcome::Refused(_) | PublishOutcome::NoReply(_) => log.write_proof.record_failure(began),
            _ => {}
        }
        outcome
    }

    /// Searches for the last event, because all or none are stored, and then for what keeps them from being stored.
    async fn find(&self) -> Result<Found, LogError> {
        let mut found = Found::Nothing;
        for (n, Append { expected, envelope }) in self.entries.iter().enumerate().rev() {
            let is_last = n + 1 == self.entries.len();
            let subject = envelope.aggregate.to_string();
            let mut position = *expected;
            while let Some(message) = self.log.reads.next(&subject, position + 1).await? {
                let is_own = codec::id_of(&message.headers) == Some(envelope.meta.id);
                if is_own && is_last {
                    return Ok(Found::Stored(message.sequence));
                }
                if !is_own && position == *expected {
                    found = Found::Superseded;
                }
                if !is_last {
                    break;
                }
                position = message.sequence;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;

    /// The outcomes of the attempts and of the searches, in order. The last ones repeat.
    struct Script {
        publishes: Mutex<VecDeque<fn() -> PublishOutcome>>,
        searches: Mutex<VecDeque<Found>>,
    }

    fn next<T: Copy>(queue: &Mutex<VecDeque<T>>) -> T {
        let mut queue = queue.lock().unwrap();
        if queue.len() > 1 { queue.pop_front().unwrap() } else { queue[0] }
    }

    impl Attempts for Script {
        async fn publish(&self, _: Duration) -> PublishOutcome {
            next(&self.publishes)()
        }

        async fn find(&self) -> Result<Found, LogError> {
            Ok(next(&self.searches))
        }
    }

    async fn run(publishes: &[fn() -> PublishOutcome], searches: &[Found]) -> Result<u64, AppendError> {
        let publishes = Mutex::new(publishes.iter().copied().collect());
        let script = Script { publishes, searches: Mutex::new(searches.iter().copied().collect()) };
        retry(&script, Duration::from_secs(2), Duration::from_secs(5)).await
    }

    const NO_REPLY: fn() -> PublishOutcome = || PublishOutcome::NoReply("no reply".into());
    const SAME_IN_FLIGHT: fn() -> PublishOutcome = || PublishOutcome::SameInFlight;
    const CONFLICT: fn() -> PublishOutcome = || PublishOutcome::Conflict;
    const NOT_STORED: [fn() -> PublishOutcome; 5] = [
        CONFLICT,
        || PublishOutcome::InFlight,
        || PublishOutcome::Full,
        || PublishOutcome::Refused("refused".into()),
        || PublishOutcome::NotSent("not sent".into()),
    ];

    #[tokio::test(start_paused = true)]
    async fn retry_after_an_uncertain_attempt_never_ends_as_not_stored() {
        for uncertain in [NO_REPLY, SAME_IN_FLIGHT] {
            for refusal in NOT_STORED {
                let outcome = run(&[uncertain, refusal], &[Found::Nothing]).await;
                assert!(matches!(outcome, Err(AppendError::Unknown(_))), "{:?}: {outcome:?}", refusal());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retry_conflict_with_a_new_leader_that_lags_finds_the_event_later() {
        let outcome = run(&[NO_REPLY, CONFLICT], &[Found::Nothing, Found::Nothing, Found::Stored(7)]).await;
        assert!(matches!(outcome, Ok(7)), "{outcome:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn retry_uncertain_attempt_that_another_event_has_superseded_is_a_conflict() {
        let outcome = run(&[NO_REPLY, CONFLICT], &[Found::Superseded]).await;
        assert!(matches!(outcome, Err(AppendError::Conflict)), "{outcome:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn retry_first_attempt_that_is_refused_is_final() {
        for (refusal, expected) in NOT_STORED.into_iter().zip(["Conflict", "InFlight", "Full", "Unavail", "Unavail"]) {
            let error = run(&[refusal], &[Found::Nothing]).await.unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{error:?}");
        }
    }
}
