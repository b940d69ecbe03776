//! Reads of EVENTS that decisions depend on. The stream's leader answers each of them; a "direct get" could be answered
//! by a replica that lags.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Info, RawMessageErrorKind, Stream};
use async_nats::jetstream::{Context, context};
use dockhost_domain::account::AccountEvent;
use dockhost_domain::envelope::header;
use dockhost_domain::ids::{PrincipalId, UserId};
use dockhost_domain::subject::AggregateId;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::LogError;
use crate::broker::connect::ensure_connected;
use crate::broker::streams::EVENTS;
use crate::common::error::Cause;
use crate::sealing::ErasureLookup;

/// A JetStream context whose requests time out after `timeout`.
#[must_use]
pub fn context(client: &Client, timeout: Duration) -> Context {
    ContextBuilder::new().timeout(timeout).build(client.clone())
}

/// Reads of EVENTS from its leader.
#[derive(Debug, Clone)]
pub struct LeaderReads {
    client: Client,
    stream: Stream<()>,
}

impl LeaderReads {
    /// Uses this context.
    ///
    /// # Errors
    /// If the stream's name were invalid.
    pub async fn new(js: &Context) -> Result<Self, context::GetStreamError> {
        Ok(Self { client: js.client(), stream: js.get_stream_no_info(EVENTS).await? })
    }

    /// The first message on `subject` (which may be a filter) from `sequence` on.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn next(&self, subject: &str, sequence: u64) -> Result<Option<StreamMessage>, LogError> {
        ensure_connected(&self.client).map_err(LogError::Unavailable)?;
        let get = self.stream.raw_message_builder().sequence(sequence.max(1)).next_by_subject(subject);
        found(get.send().await)
    }

    /// The last message on `subject`.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn last(&self, subject: &str) -> Result<Option<StreamMessage>, LogError> {
        ensure_connected(&self.client).map_err(LogError::Unavailable)?;
        found(self.stream.raw_message_builder().last_by_subject(subject).send().await)
    }

    /// The stream's own figures.
    ///
    /// # Errors
    /// [`LogError::Unavailable`], also if a node answers for a stream without a leader: its copy may be old.
    pub async fn state(&self) -> Result<Info, LogError> {
        ensure_connected(&self.client).map_err(LogError::Unavailable)?;
        let info = self.stream.get_info().await.map_err(|error| LogError::Unavailable(error.into()))?;
        match &info.cluster {
            Some(cluster) if cluster.leader.as_deref().is_none_or(str::is_empty) => {
                Err(LogError::Unavailable("the stream has no leader".into()))
            }
            _ => Ok(info),
        }
    }

    /// The last sequence of the stream; 0 if it is empty. EVENTS loses no message, so an event or a barrier has this
    /// sequence.
    ///
    /// A busy broker answers requests for a stream's figures seconds later than those for a message, so this asks for the
    /// last message. On `>` it costs no search, unlike on any other wildcard (26 ms with a million subjects).
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn end(&self) -> Result<u64, LogError> {
        self.last_sequence(">").await
    }

    /// The sequence of the last message on `subject` (which may be a filter); 0 if there is none.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn last_sequence(&self, subject: &str) -> Result<u64, LogError> {
        Ok(self.last(subject).await?.map_or(0, |message| message.sequence))
    }
}

/// An account's erasure is the last event on its subject. A backend has no account and is never erased.
impl ErasureLookup for LeaderReads {
    fn is_erased(&self, principal: PrincipalId) -> BoxFuture<'_, Result<bool, Cause>> {
        async move {
            let account = AggregateId::Account(UserId::from_uuid(principal.uuid()));
            let last = self.last(&account.to_string()).await?;
            let kind = last.as_ref().and_then(|last| last.headers.get(header::TYPE));
            Ok(kind.is_some_and(|kind| kind.as_str() == AccountEvent::ERASED))
        }
        .boxed()
    }
}

fn found(
    answer: Result<StreamMessage, async_nats::jetstream::stream::RawMessageError>,
) -> Result<Option<StreamMessage>, LogError> {
    match answer {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(LogError::Unavailable(Cause::from(error))),
    }
}
