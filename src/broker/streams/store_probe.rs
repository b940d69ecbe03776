//! Probes: messages without content that show whether a stream stores. A stream can have a leader and store nothing, for
//! example because the disk of the leader's node is full.
//!
//! Each probed stream has one subject for them, which the readers of the stream skip.

use std::time::Duration;

use async_nats::header::HeaderMap;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{Client, Request};

use super::{ASSIGNMENTS, KEYS_STREAM, PROBE, PROBE_SUBJECT, REPORTS, TIMERS};
use crate::broker::connect::ensure_connected;

/// The subject of probes in REPORTS. The intake acknowledges them.
pub const REPORTS_PROBE: &str = "dockhost.report.probe";

/// The streams that are probed, each with the subject of its probes. In KEYS a probe is a tombstone, which is no key. Not
/// EVENTS, which would grow: there appends show it, and barriers after one that was not acknowledged. Not the lease's
/// stream, which is in memory.
pub const PROBED: [(&str, &str); 5] = [
    (REPORTS, REPORTS_PROBE),
    (TIMERS, "dockhost.timer.probe"),
    (ASSIGNMENTS, "dockhost.assignment.probe"),
    (KEYS_STREAM, "$KV.KEYS.probe"),
    (PROBE, PROBE_SUBJECT),
];

/// How long the broker may take to store a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// What became of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// The stream stores.
    Stored,
    /// It was not stored, although it should have been.
    NotStored,
    /// This shows nothing: the probe was not sent, or the stream has reached a limit.
    Unknown,
}

/// Publishes a probe, and waits for the stream's reply.
pub async fn publish(client: &Client, subject: &'static str) -> Probed {
    if ensure_connected(client).is_err() {
        return Probed::Unknown;
    }
    let mut headers = HeaderMap::new();
    if subject.starts_with("$KV.") {
        headers.insert("KV-Operation", "PURGE");
    }
    let request = Request::new().headers(headers).payload("".into()).timeout(Some(PROBE_TIMEOUT));
    match client.send_request(subject, request).await {
        Ok(reply) => meaning(&reply.payload),
        Err(_) if ensure_connected(client).is_err() => Probed::Unknown,
        Err(_) => Probed::NotStored,
    }
}

fn meaning(reply: &[u8]) -> Probed {
    match serde_json::from_slice::<Response<PublishAck>>(reply) {
        Ok(Response::Ok(_)) => Probed::Stored,
        // "maximum bytes exceeded", "maximum messages per subject exceeded": the stream works.
        Ok(Response::Err { error }) if error.to_string().contains("maximum") => Probed::Unknown,
        Ok(Response::Err { .. }) | Err(_) => Probed::NotStored,
    }
}

#[cfg(test)]
mod tests {
    use dockhost_domain::subject::{AggregateId, Channel};

    use super::*;

    #[test]
    fn meaning_of_a_reached_limit_is_no_failure_of_the_store() {
        let error = |description: &str| {
            let body = serde_json::json!({ "error": { "code": 503, "err_code": 10077, "description": description } });
            meaning(body.to_string().as_bytes())
        };
        assert_eq!(meaning(br#"{"stream":"REPORTS","seq":7}"#), Probed::Stored);
        assert_eq!(error("maximum bytes exceeded"), Probed::Unknown);
        assert_eq!(error("maximum messages per subject exceeded"), Probed::Unknown);
        assert_eq!(error("write 1.blk: no space left on device"), Probed::NotStored);
        assert_eq!(meaning(b"{"), Probed::NotStored);
    }

    #[test]
    fn probes_have_subjects_that_nothing_else_has() {
        for (stream, subject) in PROBED {
            assert!(subject.parse::<Channel>().is_err() && subject.parse::<AggregateId>().is_err(), "{stream}");
        }
    }
}
