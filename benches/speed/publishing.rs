//! The raw limit of an append: acknowledged publishes to a stream with the same settings on the same broker. A message is
//! as large as an event and has the same expectation.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use bytes::Bytes;
use dockhost::broker::streams::EVENTS;
use hdrhistogram::Histogram;
use tokio::time::Instant;

const STREAM: &str = "BENCH";
/// Bytes in the body of a typical event.
const BODY_SIZE: usize = 300;

/// Creates the stream with the settings of EVENTS.
pub async fn prepare(js: &Context) {
    let mut config = js.get_stream(EVENTS).await.unwrap().cached_info().config.clone();
    config.name = STREAM.to_owned();
    config.subjects = vec!["bench.>".to_owned()];
    // Unlike the log, the stream may be deleted.
    config.deny_delete = false;
    config.deny_purge = false;
    js.create_stream(config).await.unwrap();
}

async fn publisher(js: Context, subject: String, span: Duration, pause: Duration) -> Histogram<u64> {
    let mut micros = Histogram::<u64>::new(3).unwrap();
    let end = Instant::now() + span;
    let body = Bytes::from(vec![b'x'; BODY_SIZE]);
    let mut last = js
        .get_stream(STREAM)
        .await
        .unwrap()
        .get_last_raw_message_by_subject(&subject)
        .await
        .map_or(0, |message| message.sequence);
    while Instant::now() < end {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", last.to_string().as_str());
        for (name, value) in HEADERS {
            headers.insert(name, value);
        }
        let started = Instant::now();
        let stored = js.publish_with_headers(subject.clone(), headers, body.clone()).await.unwrap().await.unwrap();
        last = stored.sequence;
        micros.record(u64::try_from(started.elapsed().as_micros()).unwrap().max(1)).unwrap();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    micros
}

/// As many bytes of headers as the envelope of an event.
const HEADERS: [(&str, &str); 8] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "0193b3a0-0000-7000-8000-000000000001"),
    ("ce-type", "dockhost.instance.stop-requested.v1"),
    ("ce-source", "dockhost/0.1.0"),
    ("ce-time", "2026-01-01T00:00:00.000Z"),
    ("ce-subject", "dockhost.event.tenancy.0193b3a0-0000-7000-8000-000000000001"),
    ("dockhost-actor", "user:0193b3a0-0000-7000-8000-000000000001"),
    ("dockhost-cause", "request:0193b3a0-0000-7000-8000-000000000001"),
];

/// Runs publishers for `span`, each sending one message after the other with a pause in between. Returns acknowledged
/// publishes per second, and the time of each in microseconds.
pub async fn raw(js: &Context, publishers: usize, span: Duration, pause: Duration) -> (f64, Histogram<u64>) {
    let tasks: Vec<_> = (0..publishers)
        .map(|number| tokio::spawn(publisher(js.clone(), format!("bench.{number}"), span, pause)))
        .collect();
    let mut all = Histogram::<u64>::new(3).unwrap();
    for task in tasks {
        all.add(task.await.unwrap()).unwrap();
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = all.len() as f64 / span.as_secs_f64();
    (rate, all)
}
