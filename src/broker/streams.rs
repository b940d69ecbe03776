//! The streams: made if absent, and checked field by field, because a guarantee is what the broker says it keeps and
//! not what it was asked for (it answers some settings with silently changed ones).
//!
//! In: the replica count and the log's size limit. Out: the returned configuration of EVENTS, or a refusal that names
//! the stream, the field, what is wanted and what is there. Of a stream that exists only size limit and replica count
//! are changed; a different guarantee was somebody's decision and is not overruled.
//!
//! A cluster that forms, or elects, or waits for a node is waited for. Taking fewer copies meanwhile would be quicker,
//! and the log would keep them for ever.

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, PersistenceMode, RetentionPolicy, StorageType};
use async_nats::jetstream::{Context, ErrorCode};
use dockhost_domain::subject::{ALL_ASSIGNMENTS, ALL_EVENTS, ALL_REPORTS, ALL_TIMERS};

use tokio::time::Instant;

use crate::common::error::Cause;
use crate::common::error::chain;
use crate::common::retry::{STARTUP_DEADLINE, until_deadline};

/// The truth.
pub const EVENTS: &str = "EVENTS";
/// What each backend should do.
pub const ASSIGNMENTS: &str = "ASSIGNMENTS";
/// What the backends say.
pub const REPORTS: &str = "REPORTS";
/// Scheduled messages.
pub const TIMERS: &str = "TIMERS";
/// The bucket of wrapped keys.
pub const KEYS_BUCKET: &str = "KEYS";
/// The bucket of the leader's lease.
pub const LEADER_BUCKET: &str = "LEADER";
/// The key of EVENTS' metadata that stands there while an import is not finished.
pub const IMPORT_MARKER: &str = "dockhost-import";
/// How long the broker keeps a leader lease that is not renewed (the max age of its bucket).
pub const LEADER_LEASE: Duration = Duration::from_secs(5);

/// Reports of one backend that may wait to be taken in; the next is refused, and so sent again by the agent.
const MAX_WAITING_REPORTS_PER_BACKEND: i64 = 10_000;
/// Copies of a stream on a cluster: with one node lost, what was acknowledged is still on two.
const CLUSTER_REPLICAS: usize = 3;
/// How long the broker recognises a repeated `Nats-Msg-Id`.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// What the streams are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    /// Copies of each stream; `None` for three on a cluster and one on a lone node.
    pub replicas: Option<usize>,
    /// Bytes that the log may take; when it is full, appends are refused.
    pub max_bytes: i64,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { replicas: None, max_bytes: 10 << 30 }
    }
}

/// The streams cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The broker can't be reached or does not answer.
    #[error("the broker does not answer about stream {stream}")]
    Unavailable {
        /// Which stream.
        stream: String,
        /// What went wrong.
        #[source]
        cause: Cause,
    },
    /// The cluster has fewer nodes, or fewer that are up, than the stream needs.
    #[error(
        "the broker has too few nodes (that are up) for {copies} copies of stream {stream}; \
         start the missing ones, or set DOCKHOST_REPLICAS to what there is"
    )]
    TooFewNodes {
        /// Which stream.
        stream: String,
        /// How many it needs.
        copies: usize,
        /// What the broker said.
        #[source]
        cause: Cause,
    },
    /// The broker did not make or change the stream.
    #[error("the broker refuses stream {stream}")]
    Refused {
        /// Which stream.
        stream: String,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// The stream is not as it must be.
    #[error("stream {stream} must have {field} = {wanted}, but it has {got}; it is not changed by itself")]
    Differs {
        /// Which stream.
        stream: String,
        /// Which setting.
        field: &'static str,
        /// As it must be.
        wanted: String,
        /// As it is.
        got: String,
    },
}

impl StreamError {
    /// Whether it may be otherwise in a moment.
    const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::TooFewNodes { .. })
    }

    /// What it means that the broker did not make or change a stream.
    fn from_create_error(config: &Config, error: CreateStreamError) -> Self {
        let (stream, copies) = (config.name.clone(), config.num_replicas);
        match error.kind() {
            CreateStreamErrorKind::JetStream(reply) => match reply.error_code() {
                ErrorCode::CLUSTER_NO_PEERS => Self::TooFewNodes { stream, copies, cause: error.into() },
                ErrorCode::CLUSTER_NOT_AVAILABLE | ErrorCode::CLUSTER_NOT_LEADER | ErrorCode::STREAM_OFFLINE => {
                    Self::Unavailable { stream, cause: error.into() }
                }
                _ => Self::Refused { stream, cause: error.into() },
            },
            CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::JetStreamUnavailable => {
                Self::Unavailable { stream, cause: error.into() }
            }
            _ => Self::Refused { stream, cause: error.into() },
        }
    }
}

/// Makes what is absent, checks all, and returns what the broker says of EVENTS. Waits for half a minute for a broker
/// that is not ready.
///
/// # Errors
/// [`StreamError`].
pub async fn ensure(js: &Context, options: &StreamOptions) -> Result<Info, StreamError> {
    let deadline = Instant::now() + STARTUP_DEADLINE;
    let events = ensure_until(js, &events(options), options.replicas, deadline).await?;
    // The others take the count that EVENTS has got.
    let replicas = Some(events.config.num_replicas);
    for config in [assignments(), reports(), timers(), keys(), leader()] {
        ensure_until(js, &config, replicas, deadline).await?;
    }
    Ok(events)
}

async fn ensure_until(
    js: &Context,
    wanted: &Config,
    replicas: Option<usize>,
    deadline: Instant,
) -> Result<Info, StreamError> {
    let transient_cause = |error: &StreamError| error.is_transient().then(|| chain(error));
    until_deadline("the broker's streams", deadline, transient_cause, || ensure_one(js, wanted, replicas)).await
}

fn file_stream(name: &str, subjects: &[&str]) -> Config {
    Config {
        name: name.to_owned(),
        subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
        storage: StorageType::File,
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        num_replicas: 1,
        duplicate_window: DUPLICATE_WINDOW,
        ..Config::default()
    }
}

fn events(options: &StreamOptions) -> Config {
    Config {
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        max_bytes: options.max_bytes,
        deny_delete: true,
        deny_purge: true,
        allow_atomic_publish: true,
        ..file_stream(EVENTS, &[ALL_EVENTS])
    }
}

fn assignments() -> Config {
    Config { max_messages_per_subject: 1, discard: DiscardPolicy::Old, ..file_stream(ASSIGNMENTS, &[ALL_ASSIGNMENTS]) }
}

fn reports() -> Config {
    Config {
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        max_messages_per_subject: MAX_WAITING_REPORTS_PER_BACKEND,
        deny_purge: true,
        ..file_stream(REPORTS, &[ALL_REPORTS])
    }
}

/// One schedule and one fired message per (instance, generation): setting a schedule again replaces it. Fired messages
/// carry a time to live.
fn timers() -> Config {
    Config {
        max_messages_per_subject: 1,
        discard: DiscardPolicy::Old,
        allow_message_schedules: true,
        allow_message_ttl: true,
        allow_rollup: true,
        ..file_stream(TIMERS, &[ALL_TIMERS])
    }
}

/// A bucket that forbids direct gets (so every read is the leader's) and allows deletion by sequence, which is how a
/// key is destroyed; the client's own way of making buckets has both the other way round.
fn keys() -> Config {
    bucket(KEYS_BUCKET)
}

fn leader() -> Config {
    Config { max_age: LEADER_LEASE, duplicate_window: LEADER_LEASE, ..bucket(LEADER_BUCKET) }
}

fn bucket(name: &str) -> Config {
    Config {
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        ..file_stream(&format!("KV_{name}"), &[&format!("$KV.{name}.>")])
    }
}

async fn ensure_one(js: &Context, wanted: &Config, replicas: Option<usize>) -> Result<Info, StreamError> {
    let stream = wanted.name.clone();
    let found = match js.get_stream(&stream).await {
        Ok(found) => found.cached_info().clone(),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(ref reply) if reply.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                create(js, wanted, replicas).await?
            }
            _ => return Err(StreamError::Unavailable { stream, cause: error.into() }),
        },
    };
    let wanted = Config { num_replicas: replicas.unwrap_or(found.config.num_replicas), ..wanted.clone() };
    let adjusted = Config { max_bytes: wanted.max_bytes, num_replicas: wanted.num_replicas, ..found.config.clone() };
    let found = if adjusted == found.config {
        found
    } else {
        // Only a stream whose guarantees are right is touched at all.
        check_settings(&wanted, &adjusted)?;
        js.update_stream(&adjusted).await.map_err(|error| StreamError::from_create_error(&adjusted, error))?
    };
    check_settings(&wanted, &found.config)?;
    Ok(found)
}

async fn create(js: &Context, wanted: &Config, replicas: Option<usize>) -> Result<Info, StreamError> {
    // A lone node, and only that, says that it can't copy at all.
    let counts = replicas.map_or(vec![CLUSTER_REPLICAS, 1], |count| vec![count]);
    let mut last = None;
    for num_replicas in counts {
        let config = Config { num_replicas, ..wanted.clone() };
        let error = match js.create_stream(&config).await {
            Ok(stream) => return Ok(stream.cached_info().clone()),
            Err(error) => error,
        };
        match error.kind() {
            CreateStreamErrorKind::JetStream(reply)
                if reply.error_code() == ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED =>
            {
                last = Some(error);
            }
            // Another replica of this server was faster.
            CreateStreamErrorKind::JetStream(reply) if reply.error_code() == ErrorCode::STREAM_NAME_EXIST => {
                let stream = wanted.name.clone();
                return match js.get_stream(&stream).await {
                    Ok(found) => Ok(found.cached_info().clone()),
                    Err(error) => Err(StreamError::Unavailable { stream, cause: error.into() }),
                };
            }
            _ => return Err(StreamError::from_create_error(&config, error)),
        }
    }
    let cause = last.map_or_else(|| "no replica count to try".into(), Into::into);
    Err(StreamError::Refused { stream: wanted.name.clone(), cause })
}

/// The first setting that differs from what a guarantee needs.
fn check_settings(wanted: &Config, got: &Config) -> Result<(), StreamError> {
    macro_rules! require_equal {
        ($($field:ident),* $(,)?) => {
            $(if wanted.$field != got.$field {
                return Err(StreamError::Differs {
                    stream: wanted.name.clone(),
                    field: stringify!($field),
                    wanted: format!("{:?}", wanted.$field),
                    got: format!("{:?}", got.$field),
                });
            })*
        };
    }
    require_equal!(
        subjects,
        storage,
        retention,
        discard,
        discard_new_per_subject,
        max_bytes,
        max_messages,
        max_messages_per_subject,
        max_age,
        num_replicas,
        no_ack,
        sealed,
        duplicate_window,
        deny_delete,
        deny_purge,
        allow_rollup,
        allow_atomic_publish,
        allow_message_schedules,
        allow_message_ttl,
        allow_message_counter,
        subject_transform,
        republish,
        mirror,
        sources,
    );
    // Acknowledging before the write would undo the broker's fsync setting.
    if got.persist_mode.as_ref().is_some_and(|mode| *mode == PersistenceMode::Async) {
        return Err(StreamError::Differs {
            stream: wanted.name.clone(),
            field: "persist_mode",
            wanted: "default".to_owned(),
            got: "async".to_owned(),
        });
    }
    Ok(())
}
