//! The configuration of each stream and bucket.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use dockhost_domain::subject::{ALL_ASSIGNMENTS, ALL_EVENTS, ALL_REPORTS, ALL_TIMERS};

use super::{
    ASSIGNMENTS, EVENTS, KEYS_BUCKET, LEADER_BUCKET, LEADER_LEASE, PROBE, PROBE_SUBJECT, REPORTS, StreamOptions, TIMERS,
};

/// Reports of one backend that may wait. The stream refuses the next one, and the agent, which sends 32 at once, sends it
/// again. What one backend floods the stream with costs a sync of the disk each, and delays the others' reports, which are
/// read in order.
const MAX_WAITING_REPORTS_PER_BACKEND: i64 = 64;
/// The size of the largest report in bytes, with its headers.
const MAX_REPORT_SIZE: i32 = 8 << 10;
/// The size limit of REPORTS in bytes: 1,000 backends can fill their share with the largest reports.
const MAX_REPORTS_BYTES: i64 = 512 << 20;
/// The size limit of PROBE in bytes; its message is empty.
const MAX_PROBE_BYTES: i64 = 64 << 10;
/// What the broker reserves for the streams beside EVENTS, in bytes.
pub const RESERVED_BESIDE_LOG: u64 = (MAX_REPORTS_BYTES + MAX_PROBE_BYTES).unsigned_abs();
/// How long the broker recognises a repeated `Nats-Msg-Id`.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// The same for reports. The broker keeps every id in memory for so long, and a backend chooses its ids. A repeated
/// report changes nothing, so the window only has to cover a retry.
const REPORT_DUPLICATE_WINDOW: Duration = Duration::from_secs(5);

fn file_stream(name: &str, subjects: &[&str]) -> Config {
    Config {
        name: name.to_owned(),
        subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
        storage: StorageType::File,
        max_messages: -1,
        max_bytes: -1,
        max_message_size: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        num_replicas: 1,
        duplicate_window: DUPLICATE_WINDOW,
        ..Config::default()
    }
}

pub(super) fn events(options: &StreamOptions) -> Config {
    Config {
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        max_bytes: options.max_bytes,
        deny_delete: true,
        deny_purge: true,
        allow_atomic_publish: true,
        ..file_stream(EVENTS, &[ALL_EVENTS])
    }
}

pub(super) fn assignments() -> Config {
    Config { max_messages_per_subject: 1, discard: DiscardPolicy::Old, ..file_stream(ASSIGNMENTS, &[ALL_ASSIGNMENTS]) }
}

pub(super) fn reports() -> Config {
    Config {
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        max_messages_per_subject: MAX_WAITING_REPORTS_PER_BACKEND,
        max_message_size: MAX_REPORT_SIZE,
        max_bytes: MAX_REPORTS_BYTES,
        duplicate_window: REPORT_DUPLICATE_WINDOW,
        deny_purge: true,
        ..file_stream(REPORTS, &[ALL_REPORTS])
    }
}

/// One schedule and one fired message per instance and generation: a new schedule replaces the old one. Fired messages
/// have a time to live.
pub(super) fn timers() -> Config {
    Config {
        max_messages_per_subject: 1,
        discard: DiscardPolicy::Old,
        allow_message_schedules: true,
        allow_message_ttl: true,
        allow_rollup: true,
        ..file_stream(TIMERS, &[ALL_TIMERS])
    }
}

/// The last message of the write probe. In a file and with a message at all times, so that it needs of the broker what
/// EVENTS needs.
pub(super) fn probe() -> Config {
    Config {
        max_messages_per_subject: 1,
        discard: DiscardPolicy::Old,
        max_bytes: MAX_PROBE_BYTES,
        ..file_stream(PROBE, &[PROBE_SUBJECT])
    }
}

pub(super) fn keys() -> Config {
    bucket(KEYS_BUCKET)
}

/// In memory: a lease of a few seconds needs no disk, and after a power cut the copies of a stream on disk that is empty
/// most of the time may have ends that fit no more, so that no node may lead them. No write depends on its revisions.
pub(super) fn leader() -> Config {
    Config {
        storage: StorageType::Memory,
        max_age: LEADER_LEASE,
        duplicate_window: LEADER_LEASE,
        ..bucket(LEADER_BUCKET)
    }
}

/// A bucket without direct gets, so that the leader answers every read, and with deletion by sequence, which destroys a
/// key. The client's own function creates buckets the other way round.
fn bucket(name: &str) -> Config {
    Config {
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        ..file_stream(&format!("KV_{name}"), &[&format!("$KV.{name}.>")])
    }
}
