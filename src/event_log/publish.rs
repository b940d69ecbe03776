//! One attempt to store, and what its answer means. In: a message with its expectation. Out: a [`PublishOutcome`], which keeps
//! apart what was certainly not stored from what may have been.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{Client, HeaderMap, Request};
use bytes::Bytes;

use super::Append;
use super::codec::Codec;
use crate::broker::CONFLICT_IN_FLIGHT;
use crate::broker::connect::ensure_connected;
use crate::common::error::Cause;

/// A message ready to be published.
#[derive(Debug, Clone)]
pub struct OutgoingMessage {
    /// The aggregate's literal subject.
    pub subject: String,
    /// The envelope and the expectation.
    pub headers: HeaderMap,
    /// The sealed body.
    pub body: Bytes,
}

/// What came of one attempt.
#[derive(Debug)]
pub enum PublishOutcome {
    /// Stored at this sequence.
    Stored(u64),
    /// Not stored: the subject does not end where it was expected to (10071).
    Conflict,
    /// Not stored: another append to the subject is under way (10164), or the same one (10158).
    InFlight,
    /// Not stored now, because it was before (10201).
    AlreadyStored,
    /// Not stored: the log or its account is at its limit (10077, 10047, 10023, 10002).
    Full,
    /// Not stored, for another reason.
    Refused(Cause),
    /// Never left this process, or nobody took it.
    NotSent(Cause),
    /// No answer: it may be stored, or be stored yet.
    NoReply(Cause),
}

const CONFLICT: u64 = ErrorCode::STREAM_WRONG_LAST_SEQUENCE.0;
/// Not among the client's constants: the same message id is being stored right now.
const DUPLICATE_IN_FLIGHT: u64 = 10_158;
const BATCH_ALREADY_STORED: u64 = ErrorCode::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE.0;
const STORE_FAILED: u64 = ErrorCode::STREAM_STORE_FAILED.0;
const LIMITS_REACHED: [u64; 3] = [
    ErrorCode::ACCOUNT_RESOURCES_EXCEEDED.0,
    ErrorCode::INSUFFICIENT_RESOURCES.0,
    ErrorCode::STORAGE_RESOURCES_EXCEEDED.0,
];

/// The message of one append. Its id doubles as the broker's message id: that is not our idempotency, but it turns
/// most repeats into the first one's answer.
///
/// # Errors
/// What [`Codec::encode`] says.
pub async fn outgoing(codec: &Codec, append: &Append) -> Result<OutgoingMessage, Cause> {
    let (mut headers, body) = codec.encode(&append.envelope).await?;
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, append.expected.to_string());
    headers.insert(NATS_MESSAGE_ID, append.envelope.meta.id.to_string());
    Ok(OutgoingMessage { subject: append.envelope.aggregate.to_string(), headers, body })
}

/// Publishes and waits for the stream's answer.
pub async fn send(client: &Client, message: OutgoingMessage, timeout: Duration) -> PublishOutcome {
    if let Err(cause) = ensure_connected(client) {
        return PublishOutcome::NotSent(cause);
    }
    let request = Request::new().headers(message.headers).payload(message.body).timeout(Some(timeout));
    match client.send_request(message.subject, request).await {
        Ok(answer) => parse_reply(&answer.payload),
        Err(error) => match error.kind() {
            RequestErrorKind::NoResponders | RequestErrorKind::InvalidSubject => PublishOutcome::NotSent(error.into()),
            RequestErrorKind::MaxPayloadExceeded => PublishOutcome::Refused(error.into()),
            RequestErrorKind::TimedOut | RequestErrorKind::Other => PublishOutcome::NoReply(error.into()),
        },
    }
}

/// What an answer of the stream means.
#[must_use]
pub fn parse_reply(payload: &[u8]) -> PublishOutcome {
    match serde_json::from_slice::<Response<PublishAck>>(payload) {
        Ok(Response::Ok(ack)) => PublishOutcome::Stored(ack.sequence),
        Ok(Response::Err { error }) => match error.error_code().0 {
            CONFLICT => PublishOutcome::Conflict,
            CONFLICT_IN_FLIGHT | DUPLICATE_IN_FLIGHT => PublishOutcome::InFlight,
            BATCH_ALREADY_STORED => PublishOutcome::AlreadyStored,
            code if LIMITS_REACHED.contains(&code) => PublishOutcome::Full,
            STORE_FAILED if error.to_string().contains("maximum") => PublishOutcome::Full,
            _ => PublishOutcome::Refused(error.into()),
        },
        // An answer, but none that says what became of the message.
        Err(error) => PublishOutcome::NoReply(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_meaning() {
        let error = |err_code: u64, description: &str| {
            let body =
                serde_json::json!({ "error": { "code": 400, "err_code": err_code, "description": description } });
            parse_reply(body.to_string().as_bytes())
        };
        assert!(matches!(parse_reply(br#"{"stream":"EVENTS","seq":7}"#), PublishOutcome::Stored(7)));
        assert!(matches!(parse_reply(br#"{"stream":"EVENTS","seq":7,"duplicate":true}"#), PublishOutcome::Stored(7)));
        assert!(matches!(error(10071, "wrong last sequence: 3"), PublishOutcome::Conflict));
        assert!(matches!(error(10164, "wrong last sequence"), PublishOutcome::InFlight));
        assert!(matches!(error(10201, "batch contains duplicate message id"), PublishOutcome::AlreadyStored));
        assert!(matches!(error(10077, "maximum bytes exceeded"), PublishOutcome::Full));
        assert!(matches!(error(10077, "no such device"), PublishOutcome::Refused(_)));
        assert!(matches!(error(10047, "insufficient storage resources available"), PublishOutcome::Full));
        assert!(matches!(error(10174, "atomic publish is disabled"), PublishOutcome::Refused(_)));
        assert!(matches!(parse_reply(b"{"), PublishOutcome::NoReply(_)));
    }
}
