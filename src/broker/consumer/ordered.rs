//! An ordered read of a stream: every message after a sequence, without a gap.
//!
//! It reads through ephemeral consumers. When one breaks, the next call creates another after the last message
//! returned; when to call again, and when to give up, is for the caller to decide.

use std::time::Duration;

use async_nats::jetstream::{Context, Message};

use super::pull::{Puller, ephemeral_consumer};
use crate::common::error::Cause;

/// What to read.
#[derive(Debug, Clone)]
pub struct OrderedConfig {
    /// The stream.
    pub stream: &'static str,
    /// The subjects to read.
    pub filter: String,
    /// The sequence after which to start.
    pub after: u64,
    /// Messages per pull request. The broker sends nothing between two requests, so long reads need large ones.
    pub messages_per_pull: usize,
    /// After this long without a read the broker removes the consumer.
    pub inactive_threshold: Duration,
}

/// One ordered read.
pub struct OrderedConsumer {
    js: Context,
    config: OrderedConfig,
    /// The sequence of the last message returned.
    position: u64,
    puller: Option<Puller>,
    /// How many messages the current consumer has delivered, by its own count.
    delivered: u64,
}

impl OrderedConsumer {
    /// Prepares a read; the first call of [`OrderedConsumer::next`] creates the consumer.
    #[must_use]
    pub const fn new(js: Context, config: OrderedConfig) -> Self {
        let position = config.after;
        Self { js, config, position, puller: None, delivered: 0 }
    }

    /// The sequence of the last message returned, or where the read started.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Discards the consumer, which may be stuck; the next call creates another.
    pub fn reset(&mut self) {
        self.puller = None;
    }

    /// The next message and its sequence; `None` for a heartbeat. Cancel-safe.
    ///
    /// # Errors
    /// If there is no connection, or the consumer broke. The next call creates another.
    pub async fn next(&mut self) -> Result<Option<(u64, Box<Message>)>, Cause> {
        let result = self.pull().await;
        if result.is_err() {
            self.reset();
        }
        result
    }

    async fn pull(&mut self) -> Result<Option<(u64, Box<Message>)>, Cause> {
        let puller = match &mut self.puller {
            Some(puller) => puller,
            none => {
                let OrderedConfig { stream, filter, messages_per_pull, inactive_threshold, .. } = &self.config;
                let consumer = ephemeral_consumer(self.position, filter.clone(), *inactive_threshold);
                self.delivered = 0;
                none.insert(Puller::open(&self.js, stream, consumer, *messages_per_pull).await?)
            }
        };
        let Some(message) = puller.next().await? else { return Ok(None) };
        let info = message.info()?;
        if info.consumer_sequence != self.delivered + 1 || info.stream_sequence <= self.position {
            return Err("a message was lost or repeated on the way".into());
        }
        (self.delivered, self.position) = (info.consumer_sequence, info.stream_sequence);
        Ok(Some((self.position, message)))
    }
}
