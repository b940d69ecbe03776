//! Wrong streams and keys: the server refuses to start and names what is wrong.

use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use dockhost::broker::streams::{EVENTS, REPORTS, StreamOptions};
use dockhost::event_log::EventLog;
use dockhost::event_log::jetstream::JetStreamLog;

use super::world::{Live, at, master, options, sign_in, user};
use crate::harness::wait::DEADLINE;
use crate::harness::{Nats, wait_until};

#[tokio::test]
async fn streams_ensure_creates_the_required_settings() {
    let live = Live::start().await;
    let js = jetstream::new(live.client.clone());
    let config = js.get_stream(EVENTS).await.unwrap().cached_info().config.clone();
    assert_eq!(config.storage, StorageType::File);
    assert_eq!(config.discard, DiscardPolicy::New);
    assert!(config.deny_delete && config.deny_purge && config.allow_atomic_publish);
    assert!(!config.allow_rollup && !config.allow_message_ttl && !config.allow_message_schedules);
    assert_eq!(config.num_replicas, 1);
    // A second replica accepts the streams and reads the same incarnation.
    let second = live.replica(master(1)).await.unwrap();
    assert_eq!(second.incarnation(), live.log.incarnation());
}

/// Each setting that a guarantee needs is wrong in an existing stream.
#[tokio::test]
async fn streams_ensure_wrong_setting_is_refused_and_not_changed() {
    let right = Config {
        name: EVENTS.to_owned(),
        subjects: vec!["dockhost.event.>".to_owned()],
        max_bytes: options().streams.max_bytes,
        discard: DiscardPolicy::New,
        deny_delete: true,
        deny_purge: true,
        allow_atomic_publish: true,
        ..Config::default()
    };
    let cases = [
        ("discard", Config { discard: DiscardPolicy::Old, ..right.clone() }),
        ("storage", Config { storage: StorageType::Memory, ..right.clone() }),
        ("deny_delete", Config { deny_delete: false, ..right.clone() }),
        ("deny_purge", Config { deny_purge: false, ..right.clone() }),
        ("allow_atomic_publish", Config { allow_atomic_publish: false, ..right.clone() }),
        ("max_age", Config { max_age: std::time::Duration::from_secs(3600), ..right.clone() }),
        ("max_messages_per_subject", Config { max_messages_per_subject: 5, ..right.clone() }),
        ("subjects", Config { subjects: vec!["dockhost.>".to_owned()], ..right.clone() }),
        ("allow_rollup", Config { allow_rollup: true, deny_purge: false, ..right }),
    ];
    let nats = Nats::start().await;
    let client = nats.main().await.client().clone();
    let js = jetstream::new(client.clone());
    for (field, wrong) in cases {
        // The broker may still be removing the previous stream.
        wait_until(field, DEADLINE, async || js.create_stream(&wrong).await.map(drop)).await;
        let before = js.get_stream(EVENTS).await.unwrap().cached_info().config.clone();
        let error = JetStreamLog::open(client.clone(), master(1), options()).await.unwrap_err().to_string();
        let named = if field == "allow_rollup" { "deny_purge" } else { field };
        assert!(error.contains(EVENTS) && error.contains(named), "{field}: {error}");
        assert_eq!(js.get_stream(EVENTS).await.unwrap().cached_info().config, before, "{field}");
        js.delete_stream(EVENTS).await.unwrap();
    }
}

#[tokio::test]
async fn streams_ensure_changes_the_size_limit() {
    let live = Live::start().await;
    let larger = options().streams.max_bytes * 2;
    let streams = StreamOptions { max_bytes: larger, ..options().streams };
    let changed = dockhost::event_log::jetstream::LogOptions { streams, ..options() };
    JetStreamLog::open(live.client.clone(), master(1), changed).await.unwrap();
    let js = jetstream::new(live.client.clone());
    assert_eq!(js.get_stream(EVENTS).await.unwrap().cached_info().config.max_bytes, larger);
}

/// The broker reserves what a stream may take.
#[tokio::test]
async fn streams_ensure_beyond_the_brokers_disk_names_the_setting() {
    let nats = Nats::start().await;
    let client = nats.main().await.client().clone();
    let streams = StreamOptions { max_bytes: 1 << 60, ..options().streams };
    let huge = dockhost::event_log::jetstream::LogOptions { streams, ..options() };
    let error = JetStreamLog::open(client, master(1), huge).await.unwrap_err().to_string();
    assert!(error.contains(EVENTS) && error.contains("DOCKHOST_LOG_MAX_BYTES"), "{error}");
}

/// An installation of an earlier release has larger limits, or none.
#[tokio::test]
async fn streams_ensure_limits_an_existing_reports_stream() {
    let live = Live::start().await;
    let js = jetstream::new(live.client.clone());
    let right = js.get_stream(REPORTS).await.unwrap().cached_info().config.clone();
    assert_eq!((right.max_message_size, right.duplicate_window.as_secs()), (8192, 5));
    assert!(right.max_bytes > 0);
    let earlier = Config {
        max_bytes: -1,
        max_message_size: -1,
        max_messages_per_subject: 10_000,
        duplicate_window: std::time::Duration::from_secs(120),
        ..right.clone()
    };
    js.update_stream(&earlier).await.unwrap();
    live.replica(master(1)).await.unwrap();
    assert_eq!(js.get_stream(REPORTS).await.unwrap().cached_info().config, right);
}

/// The broker would remove what exceeds a lowered limit.
#[tokio::test]
async fn streams_ensure_with_many_reports_waiting_removes_none() {
    let live = Live::start().await;
    let js = jetstream::new(live.client.clone());
    let right = js.get_stream(REPORTS).await.unwrap().cached_info().config.clone();
    let waiting = u64::try_from(right.max_messages_per_subject).unwrap() + 1;
    js.update_stream(&Config { max_messages_per_subject: 10_000, ..right }).await.unwrap();
    for _ in 0..waiting {
        live.client.publish("dockhost.report.earlier", "{}".into()).await.unwrap();
    }
    let messages = async || js.get_stream(REPORTS).await.unwrap().cached_info().state.messages;
    wait_until("the reports are stored", DEADLINE, async || {
        let stored = messages().await;
        if stored == waiting { Ok(()) } else { Err(stored) }
    })
    .await;
    live.replica(master(1)).await.unwrap();
    assert_eq!(messages().await, waiting);
}

#[tokio::test]
async fn log_open_with_a_wrong_master_key_or_lost_keys_fails() {
    let live = Live::start().await;
    live.log.append(at(0, &sign_in(user()))).await.unwrap();
    let wrong = live.replica(master(2)).await.unwrap_err().to_string();
    assert!(wrong.contains("DOCKHOST_MASTER_KEY"), "{wrong}");
    jetstream::new(live.client.clone()).delete_stream("KV_KEYS").await.unwrap();
    let lost = live.replica(master(1)).await.unwrap_err().to_string();
    assert!(lost.contains("KEYS"), "{lost}");
}

#[tokio::test]
async fn log_created_again_or_restored_has_another_incarnation() {
    let live = Live::start().await;
    let js = jetstream::new(live.client.clone());
    js.delete_stream(EVENTS).await.unwrap();
    let recreated = wait_until("a new log", DEADLINE, async || live.replica(master(1)).await).await;
    assert_ne!(recreated.incarnation(), live.log.incarnation());
    // After a restore from a backup, the operator sets the metadata key.
    let mut config = js.get_stream(EVENTS).await.unwrap().cached_info().config.clone();
    config.metadata.insert("dockhost-incarnation".to_owned(), "restored.1".to_owned());
    js.update_stream(config).await.unwrap();
    let restored = live.replica(master(1)).await.unwrap();
    assert_ne!(restored.incarnation(), recreated.incarnation());
    assert!(!restored.incarnation().to_string().contains('.'));
}
