//! Whether a stream has a leader, and making streams again that the system can fill anew.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::context::{DeleteStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, Info};
use async_nats::jetstream::{Context, ErrorCode};

use super::{
    ASSIGNMENTS, LEADER_STREAM, PROBE, REPORTS, StreamError, TIMERS, create as create_with_copies, definitions,
};

/// The streams that may be made again: the leader's lease is renewed, agents send their reports again, and the leader
/// fills TIMERS and ASSIGNMENTS from the log. Never EVENTS and the keys, which nothing can fill again.
pub const REMAKEABLE: [&str; 5] = [LEADER_STREAM, REPORTS, TIMERS, ASSIGNMENTS, PROBE];

/// What the broker answers about a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamSight {
    /// It has a leader, or needs none because it has one copy.
    Led(Box<Info>),
    /// It exists, but no node leads its copies.
    Leaderless,
    /// It does not exist.
    Missing,
    /// The broker did not answer.
    Unknown,
}

/// Asks the broker about a stream.
pub async fn look(js: &Context, stream: &str) -> StreamSight {
    match js.get_stream(stream).await {
        Ok(found) => {
            let info = found.cached_info();
            let is_led = info.cluster.as_ref().is_none_or(|cluster| cluster.leader.is_some());
            if is_led { StreamSight::Led(Box::new(info.clone())) } else { StreamSight::Leaderless }
        }
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(reply) if reply.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                StreamSight::Missing
            }
            _ => StreamSight::Unknown,
        },
    }
}

/// A node that is not heard for this long has no part in a stream.
pub const MAX_SILENCE: Duration = Duration::from_secs(10);

/// The nodes that should have a copy of the stream and have none that is kept up: they are down, or their JetStream is
/// disabled, as after a full disk.
#[must_use]
pub fn absent_copies(info: &Info) -> BTreeSet<String> {
    let peers = info.cluster.iter().flat_map(|cluster| &cluster.replicas);
    let absent = peers.filter(|peer| peer.offline || (!peer.current && peer.active >= MAX_SILENCE));
    absent.map(|peer| peer.name.clone()).collect()
}

/// The nodes that are heard and yet don't have all of the stream: they catch up, or their copy takes nothing more.
#[must_use]
pub fn lagging_copies(info: &Info) -> BTreeSet<String> {
    let peers = info.cluster.iter().flat_map(|cluster| &cluster.replicas);
    let lagging = peers.filter(|peer| !peer.offline && !peer.current && peer.active < MAX_SILENCE);
    lagging.map(|peer| peer.name.clone()).collect()
}

/// Creates a stream of [`REMAKEABLE`] unless it exists.
///
/// # Errors
/// [`StreamError`].
pub async fn create(js: &Context, stream: &'static str, copies: usize) -> Result<(), StreamError> {
    create_with_copies(js, &definition(stream)?, Some(copies)).await.map(drop)
}

/// Deletes a stream of [`REMAKEABLE`] with everything in it, and creates it again. If this is interrupted, the stream is
/// missing, and [`create`] completes it.
///
/// # Errors
/// [`StreamError`].
pub async fn remake(js: &Context, stream: &'static str, copies: usize) -> Result<(), StreamError> {
    let config = definition(stream)?;
    delete(js, stream).await?;
    create_with_copies(js, &config, Some(copies)).await.map(drop)
}

/// Deletes a stream; succeeds if there is none.
pub(super) async fn delete(js: &Context, stream: &str) -> Result<(), StreamError> {
    let Err(error) = js.delete_stream(stream).await else { return Ok(()) };
    match error.kind() {
        DeleteStreamErrorKind::JetStream(reply) if reply.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(()),
        _ => Err(StreamError::Unavailable { stream: stream.to_owned(), cause: error.into() }),
    }
}

fn definition(stream: &'static str) -> Result<Config, StreamError> {
    Ok(match stream {
        LEADER_STREAM => definitions::leader(),
        REPORTS => definitions::reports(),
        TIMERS => definitions::timers(),
        ASSIGNMENTS => definitions::assignments(),
        PROBE => definitions::probe(),
        _ => {
            let cause = "nothing can fill it again".into();
            return Err(StreamError::Refused { stream: stream.to_owned(), cause });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::{EVENTS, KEYS_BUCKET};
    use super::*;

    #[test]
    fn remakeable_streams_are_those_that_the_system_fills_again() {
        for stream in REMAKEABLE {
            assert_eq!(definition(stream).unwrap().name, stream);
        }
        for stream in [EVENTS, "KV_KEYS", KEYS_BUCKET] {
            assert!(definition(stream).is_err(), "{stream}");
        }
    }
}
