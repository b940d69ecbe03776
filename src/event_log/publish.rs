//! One attempt to store events, and the meaning of its reply. [`PublishOutcome`] distinguishes what was certainly not
//! stored from what may have been.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{Client, HeaderMap, Request};
use bytes::Bytes;
use dockhost_domain::subject::BARRIER;

use super::Append;
use super::codec::Codec;
use crate::broker::CONFLICT_IN_FLIGHT;
use crate::broker::connect::ensure_connected;
use crate::common::error::Cause;

/// A message to publish.
#[derive(Debug, Clone)]
pub struct OutgoingMessage {
    /// The aggregate's literal subject.
    pub subject: String,
    /// The envelope and the expectation.
    pub headers: HeaderMap,
    /// The sealed body.
    pub body: Bytes,
}

/// The outcome of one attempt.
#[derive(Debug)]
pub enum PublishOutcome {
    /// Stored at this sequence, by this attempt: a quorum has it.
    Stored(u64),
    /// Stored at this sequence by an earlier attempt. The broker knows it from memory, so this proves no quorum.
    Duplicate(u64),
    /// Not stored: the subject does not end at the expected sequence (10071).
    Conflict,
    /// Not stored: another append to the subject is in flight (10164).
    InFlight,
    /// An earlier attempt is in flight (10158): it may be stored, now or later.
    SameInFlight,
    /// Stored by an earlier attempt, it is not known where (10201).
    AlreadyStored,
    /// Not stored: the log or its account has reached a limit (10077, 10047, 10023, 10002).
    Full,
    /// Not stored, for any other reason.
    Refused(Cause),
    /// Not sent by this process, or received by no stream.
    NotSent(Cause),
    /// No reply: it may be stored, now or later.
    NoReply(Cause),
}

const CONFLICT: u64 = ErrorCode::STREAM_WRONG_LAST_SEQUENCE.0;
/// The same message id is being stored. The client has no constant for it.
const DUPLICATE_IN_FLIGHT: u64 = 10_158;
const BATCH_ALREADY_STORED: u64 = ErrorCode::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE.0;
const STORE_FAILED: u64 = ErrorCode::STREAM_STORE_FAILED.0;
const LIMITS_REACHED: [u64; 3] = [
    ErrorCode::ACCOUNT_RESOURCES_EXCEEDED.0,
    ErrorCode::INSUFFICIENT_RESOURCES.0,
    ErrorCode::STORAGE_RESOURCES_EXCEEDED.0,
];

/// The message of one append. The event's id is also the broker's message id: idempotency does not depend on that, but
/// most repeated publishes get the first one's reply.
///
/// # Errors
/// As [`Codec::encode`].
pub async fn outgoing(codec: &Codec, append: &Append) -> Result<OutgoingMessage, Cause> {
    let (mut headers, body) = codec.encode(&append.envelope).await?;
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, append.expected.to_string());
    headers.insert(NATS_MESSAGE_ID, append.envelope.meta.id.to_string());
    Ok(OutgoingMessage { subject: append.envelope.aggregate.to_string(), headers, body })
}

/// A barrier.
#[must_use]
pub fn barrier() -> OutgoingMessage {
    OutgoingMessage { subject: BARRIER.to_owned(), headers: HeaderMap::new(), body: Bytes::new() }
}

/// Publishes and waits for the stream's reply.
pub async fn send(client: &Client, message: OutgoingMessage, timeout: Duration) -> PublishOutcome {
    if let Err(cause) = ensure_connected(client) {
        return PublishOutcome::NotSent(cause);
    }
    let request = Request::new().headers(message.headers).payload(message.body).timeout(Some(timeout));
    match client.send_request(message.subject, request).await {
        Ok(reply) => parse_reply(&reply.payload),
        Err(error) => match error.kind() {
            RequestErrorKind::NoResponders | RequestErrorKind::InvalidSubject => PublishOutcome::NotSent(error.into()),
            RequestErrorKind::MaxPayloadExceeded => PublishOutcome::Refused(error.into()),
            RequestErrorKind::TimedOut | RequestErrorKind::Other => PublishOutcome::NoReply(error.into()),
        },
    }
}

/// The meaning of the stream's reply.
#[must_use]
pub fn parse_reply(payload: &[u8]) -> PublishOutcome {
    match serde_json::from_slice::<Response<PublishAck>>(payload) {
        Ok(Response::Ok(ack)) if ack.duplicate => PublishOutcome::Duplicate(ack.sequence),
        Ok(Response::Ok(ack)) => PublishOutcome::Stored(ack.sequence),
        Ok(Response::Err { error }) => match error.error_code().0 {
            CONFLICT => PublishOutcome::Conflict,
            CONFLICT_IN_FLIGHT => PublishOutcome::InFlight,
            DUPLICATE_IN_FLIGHT => PublishOutcome::SameInFlight,
            BATCH_ALREADY_STORED => PublishOutcome::AlreadyStored,
            code if LIMITS_REACHED.contains(&code) => PublishOutcome::Full,
            STORE_FAILED if error.to_string().contains("maximum") => PublishOutcome::Full,
            _ => PublishOutcome::Refused(error.into()),
        },
        // A reply that does not tell the outcome.
        Err(error) => PublishOutcome::NoReply(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_reply_maps_error_codes_to_outcomes() {
        let error = |err_code: u64, description: &str| {
            let body =
                serde_json::json!({ "error": { "code": 400, "err_code": err_code, "description": description } });
            parse_reply(body.to_string().as_bytes())
        };
        assert!(matches!(parse_reply(br#"{"stream":"EVENTS","seq":7}"#), PublishOutcome::Stored(7)));
        assert!(matches!(
            parse_reply(br#"{"stream":"EVENTS","seq":7,"duplicate":true}"#),
            PublishOutcome::Duplicate(7)
        ));
        assert!(matches!(error(10071, "wrong last sequence: 3"), PublishOutcome::Conflict));
        assert!(matches!(error(10164, "wrong last sequence"), PublishOutcome::InFlight));
        assert!(matches!(error(10158, "duplicate message id is in process"), PublishOutcome::SameInFlight));
        assert!(matches!(error(10201, "batch contains duplicate message id"), PublishOutcome::AlreadyStored));
        assert!(matches!(error(10077, "maximum bytes exceeded"), PublishOutcome::Full));
        assert!(matches!(error(10077, "no such device"), PublishOutcome::Refused(_)));
        assert!(matches!(error(10047, "insufficient storage resources available"), PublishOutcome::Full));
        assert!(matches!(error(10174, "atomic publish is disabled"), PublishOutcome::Refused(_)));
        assert!(matches!(parse_reply(b"{"), PublishOutcome::NoReply(_)));
    }
}
