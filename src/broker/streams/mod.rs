//! The streams and buckets: created if absent, and checked.
//!
//! Only a server changes a stream ([`ensure`]). Commands that run beside the servers take the streams as they are
//! ([`find`]): their own settings may be the defaults, and a lowered limit would fill the log.
//!
//! Only the size limit and the replica count of an existing stream are changed, and the limits of REPORTS, which are
//! against floods and may differ from release to release; any other difference is an error, because it may have been
//! made on purpose. While a cluster forms, elects, or lacks a node, start-up waits: creating a
//! stream with fewer replicas would be quicker but permanent.
//!
//! - `definitions`: the configurations. `check`: the comparison with what the broker reports.
//! - [`remake`]: streams that have lost their leader are made again. [`incarnation`]: tells them from their predecessors.
//! - [`store_probe`]: shows whether a stream stores. [`step_down`]: lets another node lead a stream or a consumer.

mod check;
mod definitions;
pub mod incarnation;
pub mod remake;
pub mod step_down;
pub mod store_probe;

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, Info, StorageType};
use async_nats::jetstream::{Context, ErrorCode};
use tokio::time::Instant;

use crate::common::error::{Cause, chain};
use crate::common::retry::{STARTUP_DEADLINE, until_deadline};
use check::check_settings;

pub use definitions::RESERVED_BESIDE_LOG;

/// The stream of events: the log.
pub const EVENTS: &str = "EVENTS";
/// The stream of assignments: what each backend should do.
pub const ASSIGNMENTS: &str = "ASSIGNMENTS";
/// The stream of the backends' reports.
pub const REPORTS: &str = "REPORTS";
/// The stream of scheduled messages.
pub const TIMERS: &str = "TIMERS";
/// The stream of the write probe.
pub const PROBE: &str = "PROBE";
/// The subject of the write probe.
pub const PROBE_SUBJECT: &str = "dockhost.probe";
/// The bucket of wrapped keys.
pub const KEYS_BUCKET: &str = "KEYS";
/// The stream of that bucket.
pub const KEYS_STREAM: &str = "KV_KEYS";
/// The bucket of the leader's lease.
pub const LEADER_BUCKET: &str = "LEADER";
/// The stream of that bucket.
pub const LEADER_STREAM: &str = "KV_LEADER";
/// The key of the lease in that bucket.
pub const LEADER_KEY: &str = "leader";
/// The metadata key of EVENTS that exists while an import is unfinished.
pub const IMPORT_MARKER: &str = "dockhost-import";
/// How long the broker keeps a leader lease that is not renewed (the max age of its bucket).
///
/// Not shorter: with 3 s a leader whose processor was busy for 4 s lost it.
pub const LEADER_LEASE: Duration = Duration::from_secs(5);

/// Replicas of a stream on a cluster: with one node lost, two still have each acknowledged message.
const CLUSTER_REPLICAS: usize = 3;

/// Settings of the streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    /// Replicas of each stream; `None` for three on a cluster and one on a single node.
    pub replicas: Option<usize>,
    /// The size limit of the log in bytes; a full log refuses appends.
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
        /// The stream.
        stream: String,
        /// The error.
        #[source]
        cause: Cause,
    },
    /// The cluster has fewer nodes, or fewer running ones, than the stream needs.
    #[error(
        "the broker has too few running nodes for {copies} copies of stream {stream}; \
         start the missing ones, or set DOCKHOST_REPLICAS to the number of nodes"
    )]
    TooFewNodes {
        /// The stream.
        stream: String,
        /// How many nodes it needs.
        copies: usize,
        /// The broker's reply.
        #[source]
        cause: Cause,
    },
    /// The broker's store has less room than the stream may take.
    #[error(
        "the broker has too little storage for stream {stream}, because it reserves what a stream may take, and has three \
         quarters of what was free on its disk; set DOCKHOST_LOG_MAX_BYTES to less, or make room and restart the broker"
    )]
    NoStorage {
        /// The stream.
        stream: String,
        /// The broker's reply.
        #[source]
        cause: Cause,
    },
    /// The broker refused to create or change the stream.
    #[error("the broker refuses stream {stream}")]
    Refused {
        /// The stream.
        stream: String,
        /// The broker's reply.
        #[source]
        cause: Cause,
    },
    /// The stream does not exist, and the caller does not create streams.
    #[error("the broker has no stream {stream}; a server creates it at its first start (`dockhost serve`)")]
    Missing {
        /// The stream.
        stream: String,
    },
    /// A setting of an existing stream is wrong.
    #[error("stream {stream} must have {field} = {wanted}, but it has {got}; DockHost does not change this setting")]
    Differs {
        /// The stream.
        stream: String,
        /// The setting.
        field: &'static str,
        /// The required value.
        wanted: String,
        /// The value that the broker reports.
        got: String,
    },
}

impl StreamError {
    /// Classifies the error of a question about a stream.
    fn from_get_error(stream: &str, error: GetStreamError) -> Self {
        let stream = stream.to_owned();
        match error.kind() {
            GetStreamErrorKind::JetStream(ref reply) if reply.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Self::Missing { stream }
            }
            _ => Self::Unavailable { stream, cause: error.into() },
        }
    }

    const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::TooFewNodes { .. })
    }

    /// Classifies the error of a create or an update.
    fn from_create_error(config: &Config, error: CreateStreamError) -> Self {
        let (stream, copies) = (config.name.clone(), config.num_replicas);
        match error.kind() {
            CreateStreamErrorKind::JetStream(reply) => match reply.error_code() {
                ErrorCode::CLUSTER_NO_PEERS => Self::TooFewNodes { stream, copies, cause: error.into() },
                ErrorCode::CLUSTER_NOT_AVAILABLE | ErrorCode::CLUSTER_NOT_LEADER | ErrorCode::STREAM_OFFLINE => {
                    Self::Unavailable { stream, cause: error.into() }
                }
                ErrorCode::STORAGE_RESOURCES_EXCEEDED => Self::NoStorage { stream, cause: error.into() },
                _ => Self::Refused { stream, cause: error.into() },
            },
            CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::JetStreamUnavailable => {
                Self::Unavailable { stream, cause: error.into() }
            }
            _ => Self::Refused { stream, cause: error.into() },
        }
    }
}

/// What happens to a stream that exists with another size limit or another number of replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    /// It gets the new ones.
    Update,
    /// It stays as it is.
    Keep,
}

/// Creates absent streams, gives existing ones the size limit and the replicas of `options`, checks all, and returns
/// the broker's info about EVENTS. Waits until [`STARTUP_DEADLINE`] for a broker that is not ready.
///
/// # Errors
/// [`StreamError`].
pub async fn ensure(js: &Context, options: &StreamOptions) -> Result<Info, StreamError> {
    ensure_all(js, options, Existing::Update).await
}

/// Like [`ensure`], but leaves the size limit and the replicas of existing streams as they are.
///
/// # Errors
/// [`StreamError`].
pub async fn create_missing(js: &Context, options: &StreamOptions) -> Result<Info, StreamError> {
    ensure_all(js, options, Existing::Keep).await
}

/// The broker's info about a stream, which is neither created nor changed. Waits until [`STARTUP_DEADLINE`] for a
/// broker that is not ready.
///
/// # Errors
/// [`StreamError::Missing`] at once if there is no such stream, [`StreamError::Unavailable`].
pub async fn find(js: &Context, stream: &str) -> Result<Info, StreamError> {
    let get = || async {
        let found = js.get_stream(stream).await.map_err(|error| StreamError::from_get_error(stream, error))?;
        Ok(found.cached_info().clone())
    };
    let transient_cause = |error: &StreamError| error.is_transient().then(|| chain(error));
    until_deadline("the broker's streams", Instant::now() + STARTUP_DEADLINE, transient_cause, get).await
}

async fn ensure_all(js: &Context, options: &StreamOptions, existing: Existing) -> Result<Info, StreamError> {
    let deadline = Instant::now() + STARTUP_DEADLINE;
    let events = ensure_until(js, &definitions::events(options), options.replicas, existing, deadline).await?;
    // The others get as many replicas as EVENTS has.
    let replicas = Some(events.config.num_replicas);
    remake_lease_on_disk(js).await?;
    for config in beside_events() {
        ensure_until(js, &config, replicas, existing, deadline).await?;
    }
    Ok(events)
}

/// Earlier releases kept the lease on disk, and a stream's storage can't be changed. Running servers of such a release
/// notice that the lease is gone, and acquire it in the new stream.
async fn remake_lease_on_disk(js: &Context) -> Result<(), StreamError> {
    let remake::StreamSight::Led(found) = remake::look(js, LEADER_STREAM).await else { return Ok(()) };
    if found.config.storage == StorageType::File {
        tracing::info!(stream = LEADER_STREAM, "moving the leader's lease from disk to memory");
        remake::delete(js, LEADER_STREAM).await?;
    }
    Ok(())
}

fn beside_events() -> [Config; 6] {
    let (assignments, reports, timers) = (definitions::assignments(), definitions::reports(), definitions::timers());
    [assignments, reports, timers, definitions::keys(), definitions::leader(), definitions::probe()]
}

/// The names of all streams, each with its size limit in bytes if it has one.
#[must_use]
pub fn size_limits(options: &StreamOptions) -> Vec<(String, Option<u64>)> {
    let all = std::iter::once(definitions::events(options)).chain(beside_events());
    all.map(|config| (config.name, u64::try_from(config.max_bytes).ok())).collect()
}

async fn ensure_until(
    js: &Context,
    wanted: &Config,
    replicas: Option<usize>,
    existing: Existing,
    deadline: Instant,
) -> Result<Info, StreamError> {
    let transient_cause = |error: &StreamError| error.is_transient().then(|| chain(error));
    let ensure = || ensure_one(js, wanted, replicas, existing);
    until_deadline("the broker's streams", deadline, transient_cause, ensure).await
}

async fn ensure_one(
    js: &Context,
    wanted: &Config,
    replicas: Option<usize>,
    existing: Existing,
) -> Result<Info, StreamError> {
    let found = match js.get_stream(&wanted.name).await {
        Ok(found) => found.cached_info().clone(),
        Err(error) => match StreamError::from_get_error(&wanted.name, error) {
            StreamError::Missing { .. } => create(js, wanted, replicas).await?,
            error => return Err(error),
        },
    };
    let wanted = match existing {
        Existing::Update => limits_that_remove_nothing(wanted, &found),
        Existing::Keep => with_limits_of(&found.config, wanted.clone()),
    };
    let num_replicas = match existing {
        Existing::Update => replicas.unwrap_or(found.config.num_replicas),
        Existing::Keep => found.config.num_replicas,
    };
    let wanted = Config { num_replicas, ..wanted };
    let adjusted = Config { num_replicas, ..with_limits_of(&wanted, found.config.clone()) };
    let found = if adjusted == found.config {
        found
    } else {
        // Only a stream that is otherwise right is changed.
        check_settings(&wanted, &adjusted)?;
        js.update_stream(&adjusted).await.map_err(|error| StreamError::from_create_error(&adjusted, error))?
    };
    check_settings(&wanted, &found.config)?;
    Ok(found)
}

/// `config` with those limits of `limits` that may change.
fn with_limits_of(limits: &Config, config: Config) -> Config {
    let config = Config { max_bytes: limits.max_bytes, ..config };
    if config.name != REPORTS {
        return config;
    }
    Config {
        max_messages_per_subject: limits.max_messages_per_subject,
        max_message_size: limits.max_message_size,
        duplicate_window: limits.duplicate_window,
        ..config
    }
}

/// The wanted settings. But the broker would remove reports that wait beyond a lower limit, so that limit is set at a
/// start without so many.
fn limits_that_remove_nothing(wanted: &Config, found: &Info) -> Config {
    let mut wanted = wanted.clone();
    let waiting = i64::try_from(found.state.messages).unwrap_or(i64::MAX);
    if wanted.name == REPORTS && waiting > wanted.max_messages_per_subject {
        wanted.max_messages_per_subject = found.config.max_messages_per_subject;
    }
    wanted
}

async fn create(js: &Context, wanted: &Config, replicas: Option<usize>) -> Result<Info, StreamError> {
    // A single node refuses more than one replica with an error of its own; a cluster that lacks nodes gives another.
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
            // Another replica of this server created it at the same time.
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
