//! The durable reader of EVENTS, for the roles of the leader whose place must outlive the process.
//!
//! In: a name, under which the broker keeps what was acknowledged. Out: deliveries, each an event with the acknowledgement
//! to be given after its work. A job that isn't acknowledged comes again, perhaps out of order and perhaps although
//! its work was done: what is done for it must bear that.

use std::time::Duration;

use async_nats::jetstream::Context;

use super::codec::Codec;
use super::reader::{decode, subjects};
use super::{Delivery, Filter, LogError};
use crate::broker::consumer::durable::{Ack, DurableConsumer};
use crate::broker::streams::EVENTS;

/// One event to be worked on.
#[derive(Debug)]
pub struct DurableDelivery {
    /// [`Delivery::Event`] or [`Delivery::Unreadable`].
    pub delivery: Delivery,
    /// To be given after the work.
    pub ack: Ack,
}

/// A durable, named reader.
pub struct DurableReader {
    codec: Codec,
    consumer: DurableConsumer,
}

impl DurableReader {
    /// Makes the broker's side of it, or takes it over where it stands.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn open(js: Context, codec: Codec, name: &str, filter: Filter) -> Result<Self, LogError> {
        let mut consumer = DurableConsumer::new(js, EVENTS, name, subjects(filter));
        consumer.puller().await.map_err(LogError::Unavailable)?;
        Ok(Self { codec, consumer })
    }

    /// What is there, at most `max` deliveries; waits up to `wait` for the first. Empty when nothing came.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] while the broker or a key cannot be reached; the next call tries anew.
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
