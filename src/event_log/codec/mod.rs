//! An event's form on the wire: CloudEvents headers and a JSON body whose personal values are sealed.
//!
//! An event that this binary cannot read, or whose decoding panics, is decoded to a value, so that it freezes only its
//! own aggregate. So is an event whose owner's key is lost, while few keys are. A key that is not available otherwise is
//! an error, because skipping the event would leave a gap in the fold. Sealed values become erased ones only if the log
//! says that their owner was erased.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::header::HeaderValue;
use bytes::Bytes;
use dockhost_domain::account::AccountEvent;
use dockhost_domain::envelope::{self, Envelope, RecordedEvent, header};
use dockhost_domain::event::{Encoded, Event};
use dockhost_domain::ids::EventId;
use dockhost_domain::personal::MARKER;
use dockhost_domain::subject::{AggregateId, BARRIER};
use futures::FutureExt;
use serde_json::Value;

use crate::common::error::Cause;
use crate::sealing::{self, Binding, KeyError, Keyring};

/// The value of `ce-source`: the program and its version.
const SOURCE: &str = concat!("dockhost/", env!("CARGO_PKG_VERSION"));

/// The first byte of the marker of a sealed value.
const SEALED_MARKER_BYTE: u8 = b'$';

/// A stored message.
#[derive(Debug, Clone)]
pub struct StoredMessage<'a> {
    /// Its sequence.
    pub sequence: u64,
    /// Its subject.
    pub subject: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body.
    pub body: &'a [u8],
}

/// What a message of the log is. Every reader learns it here.
#[derive(Debug, Clone)]
pub enum Decoded {
    /// An event.
    Event(Arc<RecordedEvent>),
    /// A barrier ([`BARRIER`]): no event.
    Barrier,
    /// A message that this binary cannot read.
    Unreadable {
        /// Its sequence.
        sequence: u64,
        /// Why it is unreadable; contains no personal values.
        why: String,
    },
}

/// Encodes and decodes events with the keys of one log.
#[derive(Debug, Clone)]
pub struct Codec(Arc<Keyring>);

impl Codec {
    /// A codec with these keys.
    #[must_use]
    pub const fn new(keyring: Arc<Keyring>) -> Self {
        Self(keyring)
    }

    /// The headers and body of one event. The key of its principal is stored before this returns.
    ///
    /// # Errors
    /// The key is not available, an aggregate without an owner has a personal value, or a header value is invalid.
    pub async fn encode(&self, envelope: &Envelope) -> Result<(HeaderMap, Bytes), Cause> {
        let Envelope { aggregate, meta, origin, event } = envelope;
        let Encoded { kind, mut data } = event.encode()?;
        if sealing::has_personal(&data) {
            let principal = aggregate.sealed_under().ok_or("an aggregate without an owner has a personal value")?;
            let cipher = self.0.for_sealing(principal).await?;
            sealing::seal(&mut data, &cipher, Binding { principal, event: meta.id })?;
        }
        let mut headers = HeaderMap::new();
        for (name, value) in envelope::headers(aggregate, meta, origin, &kind, SOURCE) {
            headers.insert(name, value.parse::<HeaderValue>()?);
        }
        Ok((headers, serde_json::to_vec(&data)?.into()))
    }

    /// Decodes a stored message.
    ///
    /// # Errors
    /// [`KeyError`] if the key of a sealed value is not available, and either may become so or many keys are lost.
    pub async fn decode(&self, stored: &StoredMessage<'_>) -> Result<Decoded, KeyError> {
        if stored.subject == BARRIER {
            return Ok(Decoded::Barrier);
        }
        // The text of a panic may contain personal data.
        let panicked = |_| Err(DecodeError::Content("decoding the event panicked".to_owned()));
        match AssertUnwindSafe(self.read(stored)).catch_unwind().await.unwrap_or_else(panicked) {
            Ok(envelope) => {
                self.note_erasure(&envelope);
                Ok(Decoded::Event(Arc::new(RecordedEvent { sequence: stored.sequence, envelope })))
            }
            Err(DecodeError::Key(error)) => Err(error),
            Err(DecodeError::Content(why)) => Ok(Decoded::Unreadable { sequence: stored.sequence, why }),
        }
    }

    async fn read(&self, stored: &StoredMessage<'_>) -> Result<Envelope, DecodeError> {
        let aggregate: AggregateId = stored.subject.parse().map_err(unreadable_content)?;
        let (meta, origin, kind) =
            envelope::read(|name| stored.headers.get(name).map(HeaderValue::as_str)).map_err(unreadable_content)?;
        let named = stored.headers.get(header::SUBJECT).map(HeaderValue::as_str);
        if named != Some(stored.subject) {
            return Err(DecodeError::Content(format!("header {} is {named:?}", header::SUBJECT)));
        }
        // Fast path: a body without the marker has no sealed value and is decoded directly from its text. If that
        // fails, the full decoder below produces a precise error.
        if !stored.body.contains(&SEALED_MARKER_BYTE)
            && let Ok(event) = Event::decode_text(&aggregate, &kind, stored.body)
        {
            return Ok(Envelope { aggregate, meta, origin, event });
        }
        let mut data: Value = serde_json::from_slice(stored.body).map_err(unreadable_content)?;
        let sealed = sealing::has_sealed(&data);
        if sealed {
            let principal = aggregate
                .sealed_under()
                .ok_or_else(|| DecodeError::Content("an aggregate without an owner has a sealed value".to_owned()))?;
            self.open(&mut data, Binding { principal, event: meta.id }).await?;
        }
        let plain = if sealed { personal_texts(&data) } else { Vec::new() };
        let event = Event::decode(&aggregate, Encoded { kind, data })
            .map_err(|error| DecodeError::Content(redacted(error.to_string(), &plain)))?;
        Ok(Envelope { aggregate, meta, origin, event })
    }
}

impl Codec {
    async fn open(&self, data: &mut Value, binding: Binding) -> Result<(), DecodeError> {
        let cipher = match self.0.for_opening(binding.principal).await {
            Ok(cipher) => cipher,
            Err(KeyError::Erased(_)) => {
                sealing::erase(data);
                return Ok(());
            }
            Err(KeyError::Missing(_) | KeyError::Damaged(_)) if self.0.note_lost(binding.principal) => {
                return Err(DecodeError::Content(format!("the key of {} is lost", binding.principal)));
            }
            Err(error) => return Err(DecodeError::Key(error)),
        };
        let Err(error) = sealing::open(data, &cipher, binding) else { return Ok(()) };
        // A replica that did not know of the erasure may have created a new key after the old one was destroyed.
        if !self.0.is_erased(binding.principal).await.map_err(DecodeError::Key)? {
            return Err(unreadable_content(error));
        }
        sealing::erase(data);
        Ok(())
    }

    /// Drops the cached key of a principal whose erasure was read.
    fn note_erasure(&self, envelope: &Envelope) {
        if let (AggregateId::Account(user), Event::Account(AccountEvent::Erased(_))) =
            (&envelope.aggregate, &envelope.event)
        {
            self.0.mark_erased((*user).into());
        }
    }
}

/// The id of a stored event, if it is readable.
#[must_use]
pub fn id_of(headers: &HeaderMap) -> Option<EventId> {
    headers.get(header::ID)?.as_str().parse().ok()
}

enum DecodeError {
    Key(KeyError),
    Content(String),
}

#[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
fn unreadable_content(error: impl ToString) -> DecodeError {
    DecodeError::Content(error.to_string())
}

/// The personal texts in an opened body, which a decoder's message may quote.
fn personal_texts(value: &Value) -> Vec<String> {
    fn collect(value: &Value, personal: bool, found: &mut Vec<String>) {
        match value {
            Value::String(text) if personal && !text.is_empty() => found.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| collect(item, personal, found)),
            Value::Object(members) => {
                members.iter().for_each(|(name, child)| collect(child, personal || name == MARKER, found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(value, false, &mut found);
    found
}

fn redacted(message: String, texts: &[String]) -> String {
    texts.iter().fold(message, |message, text| message.replace(text.as_str(), "[PERSONAL]"))
}

#[cfg(test)]
mod tests;
