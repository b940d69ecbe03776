//! Requests with an `Idempotency-Key`: which of them have changed an aggregate.
//!
//! The envelope of an event has the request that it was stored for. So whoever folds an aggregate knows its last requests as
//! well, on every replica and after a crash, and can tell that a request repeats one of them. A request that stored nothing is
//! not known. Creating an instance has records of its own, in its event ([`Idempotency`](crate::tenancy::Idempotency)).

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Meta;
use crate::ids::EventId;
use crate::tenancy::RETENTION;
use crate::timestamp::Timestamp;

/// The requests that one aggregate remembers; the oldest is forgotten first.
pub const MAX_REQUESTS: usize = 128;

/// Hexadecimal digits of a hash.
const HASH_DIGITS: usize = 32;
/// Between the parts of a request's text.
const SEPARATOR: char = '.';

/// The first 128 bits of a keyed hash. Events stay for good, and a plain hash of a short key could be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestHash(u128);

/// The text is not of the form that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a request as events have it")]
pub struct MalformedRequest;

impl RequestHash {
    /// The hash with these bits.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }
}

impl fmt::Display for RequestHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for RequestHash {
    type Err = MalformedRequest;

    fn from_str(text: &str) -> Result<Self, MalformedRequest> {
        let is_hash = text.len() == HASH_DIGITS && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let bits = is_hash.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        bits.map(Self).ok_or(MalformedRequest)
    }
}

impl TryFrom<String> for RequestHash {
    type Error = MalformedRequest;

    fn try_from(text: String) -> Result<Self, MalformedRequest> {
        text.parse()
    }
}

impl From<RequestHash> for String {
    fn from(hash: RequestHash) -> Self {
        hash.to_string()
    }
}

/// A request with an `Idempotency-Key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyedRequest {
    /// Of the key and its caller.
    pub key: RequestHash,
    /// Of what is asked for.
    pub request: RequestHash,
    /// The id of what it creates, if it creates something.
    pub created: Option<Uuid>,
}

/// As in the envelope: the two hashes, and the id if there is one.
impl fmt::Display for KeyedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{SEPARATOR}{}", self.key, self.request)?;
        self.created.map_or(Ok(()), |created| write!(f, "{SEPARATOR}{created}"))
    }
}

impl FromStr for KeyedRequest {
    type Err = MalformedRequest;

    fn from_str(text: &str) -> Result<Self, MalformedRequest> {
        let mut parts = text.split(SEPARATOR);
        let mut hash = || -> Result<RequestHash, MalformedRequest> { parts.next().ok_or(MalformedRequest)?.parse() };
        let (key, request) = (hash()?, hash()?);
        let created = parts.next().map(Uuid::try_parse).transpose().map_err(|_| MalformedRequest)?;
        if parts.next().is_some() { Err(MalformedRequest) } else { Ok(Self { key, request, created }) }
    }
}

/// The first request with a key, and what it stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FirstRequest {
    key: RequestHash,
    request: RequestHash,
    /// The id of what it created, if it created something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Uuid>,
    /// The event.
    pub event: EventId,
    time: Timestamp,
}

/// What a request is to an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It repeats none that the aggregate remembers.
    New,
    /// It repeats this one.
    Of(FirstRequest),
    /// Its key was used for another request.
    KeyReused,
}

/// The last requests that changed an aggregate, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecentRequests(VecDeque<FirstRequest>);

impl RecentRequests {
    /// Remembers the request that an event was stored for, unless an earlier one has its key. Forgets those that are older than
    /// [`RETENTION`] at the time of the event.
    pub fn record(&mut self, request: &KeyedRequest, meta: &Meta) {
        while self.0.front().is_some_and(|first| first.time.after(RETENTION) < meta.time) {
            self.0.pop_front();
        }
        if self.0.iter().any(|first| first.key == request.key) {
            return;
        }
        let KeyedRequest { key, request, created } = *request;
        self.0.push_back(FirstRequest { key, request, created, event: meta.id, time: meta.time });
        if self.0.len() > MAX_REQUESTS {
            self.0.pop_front();
        }
    }

    /// What a request is to the aggregate.
    #[must_use]
    pub fn find(&self, request: &KeyedRequest) -> Repeat {
        match self.0.iter().find(|first| first.key == request.key) {
            None => Repeat::New,
            Some(first) if first.request == request.request => Repeat::Of(*first),
            Some(_) => Repeat::KeyReused,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn request(key: u128, body: u128, created: Option<u128>) -> KeyedRequest {
        KeyedRequest { key: RequestHash(key), request: RequestHash(body), created: created.map(Uuid::from_u128) }
    }

    fn meta(n: usize, time: i64) -> Meta {
        Meta { id: EventId::from_uuid(Uuid::from_u128(n as u128)), time: Timestamp::from_millis(time) }
    }

    #[test]
    fn request_text_of_another_form_is_malformed() {
        let valid = request(1, 2, Some(3)).to_string();
        let signed = format!("+{}", &valid[1..]);
        for text in ["", ".", "1.2", &valid[1..], &format!("{valid}.x"), &valid.replace('.', "-"), &signed] {
            assert_eq!(text.parse::<KeyedRequest>(), Err(MalformedRequest), "{text}");
        }
    }

    #[test]
    fn requests_beyond_the_bound_are_forgotten_the_oldest_first() {
        let mut recent = RecentRequests::default();
        for n in 0..=MAX_REQUESTS {
            recent.record(&request(n as u128, 0, None), &meta(n, 0));
        }
        assert_eq!(recent.0.len(), MAX_REQUESTS);
        assert_eq!(recent.find(&request(0, 0, None)), Repeat::New);
        assert!(matches!(recent.find(&request(1, 0, None)), Repeat::Of(_)));
    }

    /// A key, what is asked for, and how long after the request before it comes, in parts of the retention.
    fn requests() -> impl Strategy<Value = Vec<(u128, u128, u32)>> {
        vec((0..12_u128, 0..2_u128, 0..4_u32), 0..60)
    }

    proptest! {
        #[test]
        fn request_text_is_read_as_it_was_written(key: u128, body: u128, created in option::of(any::<u128>())) {
            let request = request(key, body, created);
            prop_assert_eq!(request.to_string().parse(), Ok(request));
        }

        /// Only new requests are decided, as `execute` does it: whoever has a key first keeps it until it is forgotten.
        #[test]
        fn request_is_new_exactly_if_no_younger_one_has_its_key(requests in requests()) {
            let step = i64::try_from(RETENTION.as_millis()).unwrap() / 8;
            let (mut recent, mut stored, mut time) = (RecentRequests::default(), Vec::<(_, _, EventId, i64)>::new(), 0);
            for (n, (key, body, steps)) in requests.into_iter().enumerate() {
                time += i64::from(steps) * step;
                let request = request(key, body, None);
                // What is too old is forgotten with the next event, at the latest when its own key is recorded again.
                let first = stored.iter().rev().find(|(stored_key, ..)| *stored_key == key).copied();
                let expected = match first {
                    Some((_, first_body, event, _)) if recent.0.iter().any(|first| first.event == event) => {
                        if first_body == body { "repeat" } else { "reused" }
                    }
                    _ => "new",
                };
                match recent.find(&request) {
                    Repeat::New => {
                        prop_assert_eq!(expected, "new");
                        let meta = meta(n, time);
                        recent.record(&request, &meta);
                        stored.push((key, body, meta.id, time));
                    }
                    Repeat::Of(found) => {
                        prop_assert_eq!(expected, "repeat");
                        prop_assert_eq!(Some(found.event), first.map(|(_, _, event, _)| event));
                    }
                    Repeat::KeyReused => prop_assert_eq!(expected, "reused"),
                }
                let last_stored = stored.last().map_or(0, |(.., at)| *at);
                let young = stored.iter().filter(|(.., at)| at + 8 * step >= last_stored);
                prop_assert_eq!(recent.0.len(), young.count(), "no key is remembered twice, and nothing young is forgotten");
            }
        }

        /// A snapshot may be taken anywhere.
        #[test]
        fn requests_read_from_a_snapshot_go_on_as_before(requests in requests(), cut in 0..60_usize) {
            let (mut whole, mut parts, mut time) = (RecentRequests::default(), RecentRequests::default(), 0);
            for (n, (key, body, steps)) in requests.into_iter().enumerate() {
                time += i64::from(steps) * i64::try_from(RETENTION.as_millis()).unwrap() / 8;
                for recent in [&mut whole, &mut parts] {
                    recent.record(&request(key, body, Some(key)), &meta(n, time));
                }
                if n == cut {
                    parts = serde_json::from_slice(&serde_json::to_vec(&parts).unwrap()).unwrap();
                }
            }
            prop_assert_eq!(whole, parts);
        }
    }
}
