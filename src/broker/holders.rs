//! The holders of the backends: the run of an agent that a backend's consumer on ASSIGNMENTS was created for.
//!
//! The consumer is where all replicas see it, and it survives their restarts. Each replica remembers the answers, because
//! it compares the run of every heartbeat and report.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, Info, pull};
use dockhost_domain::ids::{AgentRunId, BackendId};
use dockhost_domain::subject::Channel;
use dockhost_domain::timestamp::Timestamp;
use tokio::time::{sleep, timeout};

use super::consumer;
use super::key_holder::{Holder, Recorded};
use super::streams::ASSIGNMENTS;
use crate::common::error::Cause;

/// The broker removes a consumer that was not read for this long; the agent's next hello creates another.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(10 * 60);
/// The longest expiry of one pull request.
const MAX_PULL_EXPIRY: Duration = Duration::from_secs(60);
/// Keys of the consumer's metadata.
const RUN_KEY: &str = "dockhost-agent-run";
const SINCE_KEY: &str = "dockhost-agent-since";
/// How long the node that has a consumer may take to answer: an agent waits 3 s for the answer to its hello.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1200);
/// How long the removal of a consumer may take whose node does not answer. It is removed without a confirmation.
const UNCONFIRMED_TIMEOUT: Duration = Duration::from_millis(300);
/// The shortest time between two questions about one backend, whatever its agents send.
const MIN_LOOKUP_INTERVAL: Duration = Duration::from_secs(1);
/// How long consumers are kept away from a node whose consumer delivered nothing.
const SUSPECTED_FOR: Duration = Duration::from_secs(60);
/// How long to try for a consumer on another node; the broker chooses the node by chance.
const PLACING_TIMEOUT: Duration = Duration::from_millis(1200);

/// What this replica remembers of a backend.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// `None` if no run holds it.
    run: Option<AgentRunId>,
    /// When the question began.
    asked: Instant,
}

impl Known {
    fn is_recent(&self) -> bool {
        self.asked.elapsed() < MIN_LOOKUP_INTERVAL
    }
}

/// Finds out and changes who holds a backend.
pub struct Holders {
    jetstream: Context,
    known: Mutex<HashMap<BackendId, Known>>,
    /// The nodes of the broker whose consumers delivered nothing lately, and when that was noticed.
    suspects: Mutex<HashMap<String, Instant>>,
}

impl Holders {
    /// Asks over this connection.
    #[must_use]
    pub fn new(jetstream: Context) -> Self {
        Self { jetstream, known: Mutex::default(), suspects: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<BackendId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the answer to a question that was asked at `asked`, unless a later one was answered meanwhile.
    fn remember(&self, backend: BackendId, run: Option<AgentRunId>, asked: Instant) {
        let mut known = self.known();
        if known.get(&backend).is_none_or(|earlier| earlier.asked <= asked) {
            known.insert(backend, Known { run, asked });
        }
    }

    /// Whether a run is known to hold the backend, without asking the broker.
    pub fn is_known_holder(&self, backend: BackendId, run: Option<AgentRunId>) -> bool {
        run.is_some() && self.known().get(&backend).is_some_and(|known| known.run == run)
    }

    /// Whether a run was found to hold the backend so lately that [`Holders::counts`] waits before it asks again.
    pub fn was_held_lately(&self, backend: BackendId) -> bool {
        self.known().get(&backend).is_some_and(|known| known.run.is_some() && known.is_recent())
    }

    /// Whether what a run has sent counts: it holds the backend, or nobody does. Another run is only told so by an answer of
    /// the broker to a question that was asked after this call began, because its hello may just have been accepted by
    /// another replica; so this takes up to a second.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn counts(&self, backend: BackendId, run: Option<AgentRunId>) -> Result<bool, Cause> {
        let began = Instant::now();
        loop {
            if self.is_known_holder(backend, run) {
                return Ok(true);
            }
            let known = self.known().get(&backend).copied();
            match known {
                Some(known) if known.run.is_none() && known.is_recent() => return Ok(true),
                Some(known) if known.asked >= began => return Ok(known.run.is_none()),
                Some(known) if known.is_recent() => {
                    sleep(MIN_LOOKUP_INTERVAL.saturating_sub(known.asked.elapsed())).await;
                }
                _ => drop(self.read(backend).await?),
            }
        }
    }

    /// The holder of a backend; `None` if it has no consumer.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn read(&self, backend: BackendId) -> Result<Option<Holder>, Cause> {
        let asked = Instant::now();
        let stream = self.jetstream.get_stream_no_info(ASSIGNMENTS).await?;
        let found = timeout(ANSWER_TIMEOUT, consumer::find(&stream, &backend.to_string())).await??;
        let holder = found.as_ref().map(holder);
        self.remember(backend, holder.and_then(|holder| holder.run), asked);
        Ok(holder)
    }

    /// Keeps new consumers away from a node for a while, because one of it delivered nothing.
    pub fn suspect(&self, node: &str) {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner).insert(node.to_owned(), Instant::now());
    }

    fn is_suspected(&self, node: &str) -> bool {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.retain(|_, since| since.elapsed() < SUSPECTED_FOR);
        suspects.contains_key(node)
    }

    async fn delete(&self, consumer: &str, limit: Duration) -> Result<(), String> {
        let deleted = timeout(limit, self.jetstream.delete_consumer_from_stream(consumer, ASSIGNMENTS)).await;
        deleted.map_err(|error| error.to_string())?.map(drop).map_err(|error| error.to_string())
    }

    /// Replaces the backend's consumer by one of this run, which delivers all assignments again; returns their number.
    /// `recorded` is what [`Holders::read`] found.
    ///
    /// # Errors
    /// If the broker does not answer, or another run has become the holder since.
    pub async fn replace(
        &self,
        backend: BackendId,
        recorded: Recorded,
        run: AgentRunId,
        since: Timestamp,
    ) -> Result<u64, Cause> {
        let name = backend.to_string();
        let limit = match recorded {
            Recorded::Nobody => None,
            Recorded::Held(_) => Some(ANSWER_TIMEOUT),
            Recorded::Unknown => Some(UNCONFIRMED_TIMEOUT),
        };
        if let Some(limit) = limit
            && let Err(error) = self.delete(&name, limit).await
        {
            // It may have been removed since, or the node that had it does not confirm it. The next step fails for any
            // other reason.
            tracing::debug!(%backend, error, "no old consumer removed");
        }
        let config = pull::Config {
            name: Some(name),
            filter_subject: Channel::assignments_of(backend),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            inactive_threshold: INACTIVE_THRESHOLD,
            max_expires: MAX_PULL_EXPIRY,
            // It can be created again at any time, so it needs neither disk nor replicas.
            memory_storage: true,
            num_replicas: 1,
            metadata: HashMap::from([(RUN_KEY.to_owned(), run.to_string()), (SINCE_KEY.to_owned(), since.to_string())]),
            ..pull::Config::default()
        };
        let info = self.create(config).await?;
        self.remember(backend, Some(run), Instant::now());
        Ok(info.num_pending)
    }

    /// Creates a consumer, if possible on a node that is not suspected.
    async fn create(&self, config: pull::Config) -> Result<Info, Cause> {
        let began = Instant::now();
        loop {
            // Strict: of two runs that say hello at the same moment, only one can create it.
            let consumer = self.jetstream.create_consumer_strict_on_stream(config.clone(), ASSIGNMENTS).await?;
            let info = consumer.cached_info();
            let is_suspected = consumer::node_of(info).is_some_and(|node| self.is_suspected(node));
            if !is_suspected || began.elapsed() >= PLACING_TIMEOUT {
                return Ok(info.clone());
            }
            if let Err(error) = self.delete(&info.name, UNCONFIRMED_TIMEOUT).await {
                tracing::debug!(consumer = info.name, error, "a consumer stays on a suspected node");
                return Ok(info.clone());
            }
        }
    }
}

fn holder(info: &Info) -> Holder {
    let metadata = &info.config.metadata;
    let created = || Timestamp::from_millis(info.created.unix_timestamp() * 1000);
    Holder {
        run: metadata.get(RUN_KEY).and_then(|run| run.parse().ok()),
        since: metadata.get(SINCE_KEY).and_then(|since| since.parse().ok()).unwrap_or_else(created),
        is_pulling: info.num_waiting > 0,
    }
}
