//! The durable reader of EVENTS, for roles of the leader whose position must outlive the process: at-least-once
//! delivery.
//!
//! An event that is not acknowledged is delivered again, perhaps out of order and perhaps after its work was done, so
//! the work must be idempotent.

use std::time::Duration;

use async_nats::jetstream::Context;

use super::codec::Codec;
use super::reader::{decode, subjects};
use super::{Delivery, Filter, LogError};
use crate::broker::consumer::durable::{Ack, DurableConsumer};
use crate::broker::streams::EVENTS;

/// Events that may be unacknowledged at once: far more than one aggregate has while its work is slow.
const MAX_ACK_PENDING: i64 = 4096;

/// One event and its acknowledgement.
#[derive(Debug)]
pub struct DurableDelivery {
    /// [`Delivery::Event`], [`Delivery::Unreadable`] or [`Delivery::Barrier`].
    pub delivery: Delivery,
    /// To be confirmed after the work.
    pub ack: Ack,
}

/// A durable, named reader.
pub struct DurableReader {
    codec: Codec,
    consumer: DurableConsumer,
}

impl DurableReader {
    /// Creates the consumer, or takes it over.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn open(js: Context, codec: Codec, name: &str, filter: Filter) -> Result<Self, LogError> {
        let consumer = DurableConsumer::new(js, EVENTS, name, subjects(filter));
        let mut consumer = consumer.with_max_ack_pending(MAX_ACK_PENDING);
        consumer.open().await.map_err(LogError::Unavailable)?;
        Ok(Self { codec, consumer })
    }

    /// The highest sequence that was delivered so far; at first the one after which the reader starts.
    #[must_use]
    pub const fn delivered(&self) -> u64 {
        self.consumer.delivered()
    }

    /// The events that are available, at most `max`; waits up to `wait` for the first one.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] while the broker or a key cannot be reached; the next call tries again.
    pub async fn next_batch(&mut self, max: usize, wait: Duration) -> Result<Vec<DurableDelivery>, LogError> {
        let messages = self.consumer.next_batch(max, wait).await.map_err(LogError::Unavailable)?;
        let mut deliveries = Vec::with_capacity(messages.len());
        for message in messages {
            let sequence = message.info().map_err(LogError::Unavailable)?.stream_sequence;
            let delivery = decode(&self.codec, sequence, &message).await;
            let delivery = delivery.map_err(|error| LogError::Unavailable(error.into()))?;
            deliveries.push(DurableDelivery { delivery, ack: Ack::of(message) });
        }
        Ok(deliveries)
    }
}
