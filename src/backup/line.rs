//! One stored event as one line of JSON, and the chain from line to line. Pure.
//!
//! In: a raw event and the chain so far. Out: a line that ends in its own chain value, and back, if it is exactly the
//! line that follows. The value is the SHA-256 of the previous value and the line's bytes before `,"chain":`, so that
//! nothing has to be brought into a canonical form: what was written is what is hashed.

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

/// The format's name, which begins every chain.
pub const FORMAT: &str = "dockhost.export.v1";
const CHAIN_PREFIX: &[u8] = b",\"chain\":\"";
const CHAIN_SUFFIX: &[u8] = b"\"}";
const HASH_HEX_DIGITS: usize = 64;

/// A value of the chain, or of a file's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash([u8; 32]);

impl Hash {
    /// The value before the first line.
    #[must_use]
    pub fn genesis(incarnation: &Incarnation) -> Self {
        Self::of(&[FORMAT.as_bytes(), b"\0", incarnation.to_string().as_bytes()])
    }

    /// The hash of these parts, one after the other.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        parts.iter().for_each(|part| context.update(part));
        Self::finish(context)
    }

    /// The hash of what a context was given.
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
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
        const WRONG: &str = "a hash is 64 hexadecimal digits";
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        if text.len() != HASH_HEX_DIGITS {
            return Err(WRONG);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let [high, low] = [pair[0], pair[1]].map(digit);
            *byte = high.zip(low).map(|(high, low)| high << 4 | low).ok_or(WRONG)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Hash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Why a line is not the one that follows.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It does not end in a chain value.
    #[error("no line of an export")]
    NoChain,
    /// It, or one before it, was changed, dropped, added or moved.
    #[error("the chain is broken: this line does not follow the one before")]
    Broken,
    /// Its members are not those of an event.
    #[error("no event: {0}")]
    NoEvent(String),
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

/// A header is there once, as a rule.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum HeaderValues {
    One(String),
    Many(Vec<String>),
}

/// Writes an event as the line after `chain`, without a line's end; returns the line's own value.
///
/// # Errors
/// If the broker's time is none.
pub fn write(raw: &RawEvent, chain: Hash, to: &mut Vec<u8>) -> Result<Hash, LineError> {
    let no_event = |error: String| LineError::NoEvent(error);
    let time = OffsetDateTime::from_unix_timestamp_nanos(raw.nanos).map_err(|error| no_event(error.to_string()))?;
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
        time: time.format(&Rfc3339).map_err(|error| no_event(error.to_string()))?,
        headers: headers.collect(),
        body,
        body_base64,
    };
    let start = to.len();
    serde_json::to_writer(&mut *to, &line).map_err(|error| no_event(error.to_string()))?;
    // The closing brace makes room for the chain.
    to.pop();
    let chain = chain.chain(&to[start..]);
    to.extend_from_slice(CHAIN_PREFIX);
    to.extend_from_slice(chain.to_string().as_bytes());
    to.extend_from_slice(CHAIN_SUFFIX);
    Ok(chain)
}

/// Reads the line after `chain`; returns the event and the line's own value.
///
/// # Errors
/// [`LineError`].
pub fn read(line: &[u8], chain: Hash) -> Result<(RawEvent, Hash), LineError> {
    let tail = CHAIN_PREFIX.len() + HASH_HEX_DIGITS + CHAIN_SUFFIX.len();
    let (text, end) = line.split_at_checked(line.len().wrapping_sub(tail)).ok_or(LineError::NoChain)?;
    let hex =
        end.strip_prefix(CHAIN_PREFIX).and_then(|end| end.strip_suffix(CHAIN_SUFFIX)).ok_or(LineError::NoChain)?;
    let named: Hash = std::str::from_utf8(hex).ok().and_then(|hex| hex.parse().ok()).ok_or(LineError::NoChain)?;
    let chain = chain.chain(text);
    if chain != named {
        return Err(LineError::Broken);
    }
    let no_event = |error: String| LineError::NoEvent(error);
    let line: LineMembers = serde_json::from_slice(line).map_err(|error| no_event(error.to_string()))?;
    let time = OffsetDateTime::parse(&line.time, &Rfc3339).map_err(|error| no_event(error.to_string()))?;
    let body = match (line.body, line.body_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(text)) => STANDARD.decode(text).map_err(|error| no_event(error.to_string()))?,
        (Some(_), Some(_)) | (None, None) => return Err(no_event("exactly one of body and bodyBase64".to_owned())),
    };
    let mut headers = HeaderMap::new();
    for (name, values) in line.headers {
        let name: HeaderName = name.parse().map_err(|_| no_event(format!("header name {name:?}")))?;
        for value in match values {
            HeaderValues::One(value) => vec![value],
            HeaderValues::Many(values) => values,
        } {
            let value: HeaderValue = value.parse().map_err(|_| no_event(format!("the value of header {name}")))?;
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
        fn every_stored_message_comes_back_as_it_was(
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
        fn no_flipped_bit_passes(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let mut line = Vec::new();
            write(&raw(7, b"{\"a\":1}".to_vec(), &[("ce-id".into(), "x".into())]), start(), &mut line).unwrap();
            let at = at.index(line.len());
            line[at] ^= 1_u8 << bit;
            prop_assert!(read(&line, start()).is_err());
        }
    }

    /// Exports are kept for years: this very line must be read, and written, for ever.
    #[test]
    fn the_form_never_changes() {
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
    fn a_line_follows_one_line_only() {
        let mut line = Vec::new();
        write(&raw(1, b"x".to_vec(), &[]), start(), &mut line).unwrap();
        assert!(matches!(read(&line, Hash::of(&[b"another"])), Err(LineError::Broken)));
        assert!(matches!(read(b"{}", start()), Err(LineError::NoChain)));
        assert!(matches!(read(b"", start()), Err(LineError::NoChain)));
    }
}
