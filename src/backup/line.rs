//! One stored event as one line of JSON, and the chain of the lines. No I/O.
//!
//! Each line ends with its chain value: the SHA-256 of the previous line's value and this line's bytes before
//! `,"chain":`. Hashing the bytes as written needs no canonical form.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use async_nats::HeaderMap;
use async_nats::header::{HeaderName, HeaderValue};
use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dockhost_domain::incarnation::Incarnation;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::event_log::raw::RawEvent;

/// The format's name, from which every chain starts.
pub const FORMAT: &str = "dockhost.export.v1";
const CHAIN_PREFIX: &[u8] = b",\"chain\":\"";
const CHAIN_SUFFIX: &[u8] = b"\"}";
const HASH_HEX_DIGITS: usize = 64;

/// A SHA-256: a value of the chain, or of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash([u8; 32]);

impl Hash {
    /// The value before the first line.
    #[must_use]
    pub fn genesis(incarnation: &Incarnation) -> Self {
        Self::of(&[FORMAT.as_bytes(), b"\0", incarnation.to_string().as_bytes()])
    }

    /// The hash of these parts, concatenated.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        parts.iter().for_each(|part| context.update(part));
        Self::finish(context)
    }

    /// The hash that a context has computed.
    #[must_use]
    pub fn finish(context: Context) -> Self {
        let mut bytes = [0; 32];
        // SHA-256 gives exactly 32 bytes.
        bytes.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
        Self(bytes)
    }

    fn chain(self, text: &[u8]) -> Self {
        Self::of(&[&self.0, text])
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(const_hex::Buffer::<32>::new().format(&self.0))
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

impl FromStr for Hash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const_hex::decode_to_array(text).map(Self).map_err(|_| "a hash is 64 hexadecimal digits")
    }
}

impl TryFrom<String> for Hash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Why a line is not the next one of an export.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It does not end with a chain value.
    #[error("not a line of an export")]
    NoChain,
    /// This line or the one before was changed, removed, added or moved.
    #[error("the chain is broken: this line does not follow the one before")]
    Broken,
    /// Its members are not those of an event.
    #[error("not an event: {0}")]
    NotAnEvent(String),
}

/// The line's members, in this order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LineMembers {
    sequence: u64,
    subject: String,
    time: String,
    headers: BTreeMap<String, HeaderValues>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// A header's values; most headers have one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum HeaderValues {
    One(String),
    Many(Vec<String>),
}

/// Appends an event as the line after `chain`, without a newline; returns the line's chain value.
///
/// # Errors
/// [`LineError::NotAnEvent`] if the broker's time is out of range.
pub fn write(raw: &RawEvent, chain: Hash, to: &mut Vec<u8>) -> Result<Hash, LineError> {
    let not_an_event = |error: String| LineError::NotAnEvent(error);
    let time = OffsetDateTime::from_unix_timestamp_nanos(raw.nanos).map_err(|error| not_an_event(error.to_string()))?;
    let headers = raw.headers.iter().map(|(name, values)| {
        let mut values: Vec<String> = values.iter().map(ToString::to_string).collect();
        let values = if values.len() == 1 { HeaderValues::One(values.remove(0)) } else { HeaderValues::Many(values) };
        (name.to_string(), values)
    });
    let (body, body_base64) = match std::str::from_utf8(&raw.body) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(STANDARD.encode(&raw.body))),
    };
    let line = LineMembers {
        sequence: raw.sequence,
        subject: raw.subject.clone(),
        time: time.format(&Rfc3339).map_err(|error| not_an_event(error.to_string()))?,
        headers: headers.collect(),
        body,
        body_base64,
    };
    let start = to.len();
    serde_json::to_writer(&mut *to, &line).map_err(|error| not_an_event(error.to_string()))?;
    // Removes the closing brace; the suffix has another.
    to.pop();
    let chain = chain.chain(&to[start..]);
    to.extend_from_slice(CHAIN_PREFIX);
    to.extend_from_slice(chain.to_string().as_bytes());
    to.extend_from_slice(CHAIN_SUFFIX);
    Ok(chain)
}

/// Reads the line after `chain`; returns the event and the line's chain value.
///
/// # Errors
/// [`LineError`].
pub fn read(line: &[u8], chain: Hash) -> Result<(RawEvent, Hash), LineError> {
    let tail = CHAIN_PREFIX.len() + HASH_HEX_DIGITS + CHAIN_SUFFIX.len();
    let (text, end) = line.split_at_checked(line.len().wrapping_sub(tail)).ok_or(LineError::NoChain)?;
    let hex =
        end.strip_prefix(CHAIN_PREFIX).and_then(|end| end.strip_suffix(CHAIN_SUFFIX)).ok_or(LineError::NoChain)?;
    let chain = chain.chain(text);
    if chain.to_string().as_bytes() != hex {
        return Err(LineError::Broken);
    }
    let not_an_event = |error: String| LineError::NotAnEvent(error);
    let line: LineMembers = serde_json::from_slice(line).map_err(|error| not_an_event(error.to_string()))?;
    let time = OffsetDateTime::parse(&line.time, &Rfc3339).map_err(|error| not_an_event(error.to_string()))?;
    let body = match (line.body, line.body_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(text)) => STANDARD.decode(text).map_err(|error| not_an_event(error.to_string()))?,
        (Some(_), Some(_)) | (None, None) => return Err(not_an_event("exactly one of body and bodyBase64".to_owned())),
    };
    let mut headers = HeaderMap::new();
    for (name, values) in line.headers {
        let name: HeaderName = name.parse().map_err(|_| not_an_event(format!("header name {name:?}")))?;
        for value in match values {
            HeaderValues::One(value) => vec![value],
            HeaderValues::Many(values) => values,
        } {
            let value: HeaderValue = value.parse().map_err(|_| not_an_event(format!("the value of header {name}")))?;
            headers.append(name.clone(), value);
        }
    }
    let nanos = time.unix_timestamp_nanos();
    Ok((RawEvent { sequence: line.sequence, subject: line.subject, nanos, headers, body: body.into() }, chain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn start() -> Hash {
        Hash::genesis(&"18b".to_owned().into())
    }

    fn raw(sequence: u64, body: Vec<u8>, headers: &[(String, String)]) -> RawEvent {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.as_str(), value.as_str());
        }
        let nanos = 1_795_387_000_123_456_789;
        RawEvent { sequence, subject: "dockhost.event.session.x".to_owned(), nanos, headers: map, body: body.into() }
    }

    proptest! {
        #[test]
        fn line_write_and_read_round_trips(
            sequence in 1..u64::MAX,
            body in proptest::collection::vec(any::<u8>(), 0..60),
            headers in proptest::collection::vec(("[A-Za-z-]{1,12}", "[ -~]{0,20}"), 0..5),
        ) {
            let raw = raw(sequence, body, &headers);
            let mut line = Vec::new();
            let chain = write(&raw, start(), &mut line).unwrap();
            prop_assert!(!line.contains(&b'\n'));
            let (back, read_chain) = read(&line, start()).unwrap();
            prop_assert_eq!(back, raw);
            prop_assert_eq!(read_chain, chain);
        }

        #[test]
        fn line_read_refuses_any_flipped_bit(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let mut line = Vec::new();
            write(&raw(7, b"{\"a\":1}".to_vec(), &[("ce-id".into(), "x".into())]), start(), &mut line).unwrap();
            let at = at.index(line.len());
            line[at] ^= 1_u8 << bit;
            prop_assert!(read(&line, start()).is_err());
        }
    }

    /// Old exports must stay readable.
    #[test]
    fn line_format_never_changes() {
        let headers =
            [("ce-id".to_owned(), "1".to_owned()), ("x".to_owned(), "a".to_owned()), ("x".into(), "b".into())];
        let mut line = Vec::new();
        write(&raw(7, b"{}".to_vec(), &headers), start(), &mut line).unwrap();
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"sequence\":7,\"subject\":\"dockhost.event.session.x\",\"time\":\"2026-11-22T22:36:40.123456789Z\",\
             \"headers\":{\"ce-id\":\"1\",\"x\":[\"a\",\"b\"]},\"body\":\"{}\",\
             \"chain\":\"fda3f0ad10ad91621139319bf5cd80629e8ef1f377a3bca40728b4736e08c354\"}"
        );
    }

    #[test]
    fn line_read_refuses_a_line_of_another_chain() {
        let mut line = Vec::new();
        write(&raw(1, b"x".to_vec(), &[]), start(), &mut line).unwrap();
        assert!(matches!(read(&line, Hash::of(&[b"another"])), Err(LineError::Broken)));
        assert!(matches!(read(b"{}", start()), Err(LineError::NoChain)));
        assert!(matches!(read(b"", start()), Err(LineError::NoChain)));
    }
}
