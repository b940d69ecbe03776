//! Receives this backend's assignments: sends hello, then pulls from the consumer that the server created for it.
//!
//! The agent sends the pull requests of `docs/EVENTS.md` itself, because async-nats' `messages()` needs a consumer-info
//! request, which a backend may not send, and hides the idle heartbeats that tell the agent that it has received
//! everything. There are no acknowledgements: an assignment is a state and not a task, so anything missed is delivered
//! again after the next hello. That makes a new hello the remedy for a new connection, silence, or a lost consumer.

use std::time::{Duration, Instant};

use async_nats::{Client, Message, StatusCode, Subscriber};
use bytes::Bytes;
use dockhost_domain::ids::AgentRunId;
use dockhost_domain::reported::ShortText;
use dockhost_domain::subject::Channel;
use dockhost_domain::trace::HEADER as TRACE_PARENT;
use dockhost_domain::wire::{AgentKey, Assignment, Hello, Welcome};
use dockhost_telemetry::trace;
use futures::StreamExt;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;

use crate::backoff;
use crate::capacity::Capacity;
use crate::connect::{Broker, RequestError, request};
use crate::hold::Hold;
use crate::key::{ApiKey, key_digest};
use crate::key_store::KeyStore;
use crate::nodes::Sign;
use crate::reconcile::Reconciler;
use crate::reports_stream::ReportsStream;
use crate::runtime::Runtime;

/// Assignments per pull request.
const ASSIGNMENTS_PER_PULL: usize = 256;
/// How long a pull request stays open.
const PULL_EXPIRY: Duration = Duration::from_secs(30);
/// Interval at which the broker sends a heartbeat while no assignment is pending.
const IDLE_HEARTBEAT: Duration = Duration::from_secs(2);
/// Time without a message or heartbeat after which the pull request counts as lost: the broker's node that has the consumer
/// is gone or hangs. About as long as the other nodes need to elect leaders, without which no new consumer can be created.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of one hello request.
const HELLO_TIMEOUT: Duration = Duration::from_secs(3);
/// First and longest delay before the next hello after a session failed.
const HELLO_BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// The same while another agent holds the backend.
const REFUSED_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Refusals before the delay grows: after a crash, the server takes some seconds to see that this machine's previous run
/// is gone.
const QUICK_REFUSALS: usize = 8;
/// Interval at which a refusal that continues is logged.
const REFUSED_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionEnd {
    #[error("reconnected to the broker")]
    Reconnected,
    #[error("the stream of reports was made again")]
    ReportsLost,
    #[error("hello failed: {0}")]
    Hello(#[from] RequestError),
    #[error("the server answered hello for another backend")]
    WrongBackend,
    #[error("the consumer sent no heartbeat")]
    MissedHeartbeats,
    #[error("the consumer returned status {0}")]
    Consumer(String),
    #[error("the connection is closed: {0}")]
    Closed(String),
}

impl SessionEnd {
    /// The server's text if another agent holds this backend.
    fn other_agent(&self) -> Option<&str> {
        if let Self::Hello(error) = self { error.other_agent() } else { None }
    }
}

/// Refusals because another agent holds the backend.
#[derive(Debug, Default)]
struct Refusals {
    /// Without an accepted hello in between.
    in_a_row: usize,
    logged: Option<Instant>,
}

impl Refusals {
    /// Counts and logs a refusal; returns the delay before the next hello.
    fn record(&mut self, text: &str) -> Duration {
        let delay = backoff::delay(REFUSED_BACKOFF, self.in_a_row.saturating_sub(QUICK_REFUSALS));
        self.in_a_row += 1;
        if self.logged.is_none_or(|logged| logged.elapsed() >= REFUSED_LOG_INTERVAL) {
            self.logged = Some(Instant::now());
            tracing::error!("this agent does nothing, because {text}; it takes over when the other one is gone");
        }
        delay
    }
}

/// What a session needs.
pub struct Session<'a, R> {
    /// The key of this backend.
    pub keys: &'a KeyStore,
    /// This run of the agent.
    pub run: AgentRunId,
    /// Takes the backend's limit.
    pub capacity: &'a Capacity,
    /// Takes the assignments.
    pub reconciler: &'a Reconciler<R>,
    /// Whether the server accepts this agent.
    pub hold: &'a Hold,
    /// The stream that reports go to.
    pub reports: &'a ReportsStream,
}

/// Meaning of a pull request's status message.
#[derive(Debug, PartialEq, Eq)]
enum PullStatus {
    /// Heartbeat: no assignment is pending.
    Idle,
    /// The pull request has expired, as expected.
    Expired,
    /// The consumer can't be used any more.
    Invalid,
}

impl PullStatus {
    /// An unknown status is invalid, because a new hello repairs that.
    fn of(code: StatusCode) -> Self {
        match code.as_u16() {
            100 => Self::Idle,
            404 | 408 => Self::Expired,
            _ => Self::Invalid,
        }
    }
}

/// What the sessions before this one have shown.
#[derive(Debug, Default)]
struct Earlier {
    /// Sessions that ended before the consumer delivered, in a row.
    failures: usize,
    /// Whether the last one that the server accepted said that the backend awaits approval.
    awaited_approval: bool,
}

impl Earlier {
    /// Logs whether the backend awaits approval, when that has changed.
    fn record_approval(&mut self, awaits_approval: bool) {
        match (self.awaited_approval, awaits_approval) {
            (false, true) => {
                tracing::warn!("this backend awaits approval: it gets no instances until an administrator approves it");
            }
            (true, false) => tracing::info!("an administrator has approved this backend"),
            _ => {}
        }
        self.awaited_approval = awaits_approval;
    }
}

/// Receives assignments until shutdown.
pub async fn receive_assignments<R: Runtime>(broker: Broker, session: Session<'_, R>, stop: &CancellationToken) {
    let mut broker = broker;
    let (mut earlier, mut refusals) = (Earlier::default(), Refusals::default());
    loop {
        let end = tokio::select! {
            end = session.run(&mut broker, &mut earlier) => end,
            () = stop.cancelled() => return,
        };
        if session.hold.is_held() {
            refusals = Refusals::default();
        }
        match end {
            SessionEnd::Reconnected => {
                tracing::info!("reconnected to the broker; sending hello");
                continue;
            }
            SessionEnd::ReportsLost => {
                tracing::info!("the stream of reports was made again; sending hello");
                continue;
            }
            _ => {}
        }
        let delay = if let Some(text) = end.other_agent() {
            session.suspend();
            refusals.record(text)
        } else {
            let delay = backoff::delay(HELLO_BACKOFF, earlier.failures);
            earlier.failures += 1;
            tracing::warn!(error = %end, retry_in = ?delay, "assignment session ended; sending hello again");
            delay
        };
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stop.cancelled() => return,
        }
    }
}

impl<R: Runtime> Session<'_, R> {
    /// Sends hello, then pulls assignments until an error or a new connection. Resets the count of failures when the consumer
    /// delivers.
    async fn run(&self, broker: &mut Broker, earlier: &mut Earlier) -> SessionEnd {
        let Self { keys, run, capacity, reconciler, hold, reports } = *self;
        keys.save();
        let key = keys.current();
        broker.connections.mark_unchanged();
        let client = broker.client.clone();
        let welcome = tokio::select! {
            welcome = hello(&client, &key, run, keys.takes_others()) => welcome,
            // The answer to a request on the old connection would never arrive.
            _ = broker.connections.changed() => return SessionEnd::Reconnected,
        };
        // A refusal because of another agent is an answer as well.
        let is_answered = welcome.as_ref().map_or_else(|end| end.other_agent().is_some(), |_| true);
        broker.trouble.record(Sign::Hello, is_answered);
        if is_answered {
            // None are sent while another agent holds the backend.
            broker.trouble.record(Sign::Heartbeats, true);
        }
        let welcome = match welcome {
            Ok(welcome) => welcome,
            Err(end) => return end,
        };
        capacity.set_enrolled(welcome.max_containers, welcome.overcommit);
        if let Some(AgentKey(new)) = &welcome.api_key {
            keys.replace(new);
        }
        reconciler.images().set_default(welcome.image.clone());
        reconciler.resume();
        reports.observe(welcome.reports_created_at);
        if reports.switch() {
            tracing::warn!("the broker lost the stream of reports; reporting on every assignment again");
            reconciler.report_again();
        }
        hold.set(true);
        reconciler.notify_changed();
        tracing::info!(backend = %welcome.backend_id, assignments = welcome.assignments,
            max_containers = capacity.max(), "accepted by the server");
        earlier.record_approval(welcome.awaits_approval);
        let mut subscription = match PullSubscription::open(client, &welcome).await {
            Ok(subscription) => subscription,
            Err(end) => return end,
        };
        let mut unseen = Some(welcome.assignments);
        loop {
            if unseen == Some(0) {
                unseen = None;
                if let Err(error) = reconciler.report_unassigned().await {
                    tracing::warn!(error = error.with_causes(), "could not look for containers without an assignment");
                }
            }
            let next = tokio::select! {
                next = subscription.next() => next,
                _ = broker.connections.changed() => return SessionEnd::Reconnected,
                () = reports.replaced() => return SessionEnd::ReportsLost,
            };
            match next {
                Ok(Some(message)) => {
                    earlier.failures = 0;
                    unseen = unseen.map(|unseen| unseen.saturating_sub(1));
                    self.take(&message).await;
                }
                // The consumer is empty, so everything has been seen, even if an assignment was removed since the welcome.
                Ok(None) => {
                    earlier.failures = 0;
                    unseen = unseen.map(|_| 0);
                }
                Err(end) => return end,
            }
        }
    }

    /// Takes an assignment, in the trace in which it was published.
    async fn take(&self, message: &Message) {
        let sent = message.headers.as_ref().and_then(|headers| headers.get(TRACE_PARENT));
        let parent = sent.and_then(|text| text.as_str().parse().ok());
        let span = tracing::info_span!("receive", trace = Empty);
        let take = async {
            match serde_json::from_slice::<Assignment>(&message.payload) {
                Ok(assignment) => self.reconciler.assign(assignment),
                Err(error) => tracing::error!(%error, "ignoring an assignment that can't be decoded"),
            }
        };
        trace::in_span(span, parent, take).await;
    }

    /// Stops everything but hellos.
    fn suspend(&self) {
        self.hold.set(false);
        self.reconciler.suspend();
    }
}

/// Says hello. The answer may have another key, if this agent `takes_keys`.
async fn hello(client: &Client, key: &ApiKey, run: AgentRunId, takes_keys: bool) -> Result<Welcome, SessionEnd> {
    let subject = Channel::Hello(key.backend()).to_string();
    let hello = Hello {
        agent_version: ShortText::cleaned(env!("CARGO_PKG_VERSION")),
        agent_run: Some(run),
        key_digest: takes_keys.then(|| key_digest(key.reveal())),
    };
    let welcome: Welcome = request(client, subject, &hello, HELLO_TIMEOUT).await?;
    if welcome.backend_id == key.backend() { Ok(welcome) } else { Err(SessionEnd::WrongBackend) }
}

/// The messages of the consumer; one pull request is always open.
struct PullSubscription {
    client: Client,
    request_subject: String,
    inbox: String,
    answers: Subscriber,
    /// Number of the open pull request; the last token of its reply subject.
    pull: u64,
    /// Assignments received by the open pull request.
    received: usize,
}

impl PullSubscription {
    async fn open(client: Client, welcome: &Welcome) -> Result<Self, SessionEnd> {
        let request_subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", welcome.stream, welcome.consumer);
        let inbox = client.new_inbox();
        let answers =
            client.subscribe(format!("{inbox}.*")).await.map_err(|error| SessionEnd::Closed(error.to_string()))?;
        let mut subscription = Self { client, request_subject, inbox, answers, pull: 0, received: 0 };
        subscription.send_pull().await?;
        Ok(subscription)
    }

    async fn send_pull(&mut self) -> Result<(), SessionEnd> {
        (self.pull, self.received) = (self.pull + 1, 0);
        let body = json!({
            "batch": ASSIGNMENTS_PER_PULL,
            "expires": PULL_EXPIRY.as_nanos(),
            "idle_heartbeat": IDLE_HEARTBEAT.as_nanos(),
        });
        self.client
            .publish_with_reply(self.request_subject.clone(), self.reply_subject(), Bytes::from(body.to_string()))
            .await
            .map_err(|error| SessionEnd::Closed(error.to_string()))
    }

    fn reply_subject(&self) -> String {
        format!("{}.{}", self.inbox, self.pull)
    }

    /// The next assignment, or `None` if the consumer has no more at the moment.
    async fn next(&mut self) -> Result<Option<Message>, SessionEnd> {
        loop {
            let message = match tokio::time::timeout(HEARTBEAT_TIMEOUT, self.answers.next()).await {
                Ok(Some(message)) => message,
                Ok(None) => return Err(SessionEnd::Closed("the subscription ended".to_owned())),
                Err(_) => return Err(SessionEnd::MissedHeartbeats),
            };
            let Some(code) = message.status.filter(|code| code.as_u16() != 200) else {
                self.received += 1;
                if self.received == ASSIGNMENTS_PER_PULL {
                    self.send_pull().await?;
                }
                return Ok(Some(message));
            };
            if message.subject.as_str() != self.reply_subject() {
                // A status of an earlier pull request.
                continue;
            }
            match PullStatus::of(code) {
                PullStatus::Idle => return Ok(None),
                PullStatus::Expired => self.send_pull().await?,
                PullStatus::Invalid => return Err(SessionEnd::Consumer(describe(code, &message))),
            }
        }
    }
}

fn describe(code: StatusCode, message: &Message) -> String {
    format!("{code} {}", message.description.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_status_unknown_code_is_invalid() {
        let of = |code: u16| PullStatus::of(StatusCode::from_u16(code).unwrap());
        assert_eq!(of(100), PullStatus::Idle);
        assert_eq!((of(404), of(408)), (PullStatus::Expired, PullStatus::Expired));
        for code in [400, 409, 423, 503] {
            assert_eq!(of(code), PullStatus::Invalid, "{code}");
        }
    }
}
