//! JetStream consumers.
//!
//! - [`pull`]: one consumer and the pull requests to it. [`ordered`]: an ordered read through ephemeral consumers.
//! - [`durable`]: a durable consumer, read in batches by one role of the leader.

pub mod durable;
pub mod ordered;
pub mod pull;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::{ConsumerErrorKind, Stream};

use crate::common::error::Cause;

/// A consumer as the node that has it knows it; `None` if there is none.
///
/// # Errors
/// If the broker does not answer.
pub async fn find<I>(stream: &Stream<I>, name: &str) -> Result<Option<Info>, Cause> {
    match stream.consumer_info(name).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The node of the broker that leads a consumer, in a cluster.
#[must_use]
pub fn node_of(info: &Info) -> Option<&str> {
    info.cluster.as_ref()?.leader.as_deref()
}

/// Removes a consumer; succeeds if there is none.
///
/// # Errors
/// If the broker does not answer.
pub async fn delete<I>(stream: &Stream<I>, name: &str) -> Result<(), Cause> {
    match stream.delete_consumer(name).await.map_err(|error| (error.kind(), error)) {
        Ok(_) => Ok(()),
        Err((ConsumerErrorKind::JetStream(reply), _)) if reply.error_code() == ErrorCode::CONSUMER_NOT_FOUND => Ok(()),
        Err((_, error)) => Err(error.into()),
    }
}
