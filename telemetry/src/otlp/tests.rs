//! With a collector that keeps what it receives.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use dockhost_domain::trace as domain;
use tracing::field::Empty;
use tracing::instrument::WithSubscriber;
use tracing::{debug_span, info_span};
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::trace::{current, in_span};

const DEADLINE: Duration = Duration::from_secs(20);

/// Answers each request with 200; sends their paths and bodies.
fn collector() -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            while let Some(request) = read_request(&stream) {
                (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
                if sender.send(request).is_err() {
                    return;
                }
            }
        }
    });
    (url, requests)
}

/// The path and the body of the next request; `None` at the end of the connection.
fn read_request(mut stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            let body = &read[end + 4..];
            if body.len() >= length? {
                return Some((head.split(' ').nth(1)?.to_owned(), body.to_owned()));
            }
        }
        match stream.read(&mut buffer).ok()? {
            0 => return None,
            count => read.extend(&buffer[..count]),
        }
    }
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

fn parent(is_sampled: bool) -> TraceParent {
    let trace_id = domain::TraceId::new(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736).unwrap();
    TraceParent { trace_id, span_id: domain::SpanId::new(0x00f0_67aa_0ba9_02b7).unwrap(), is_sampled }
}

/// Handles a request and a part of it; returns the place of the request in its trace.
async fn handle(parent: Option<TraceParent>) -> TraceParent {
    in_span(info_span!("request", id = "r-1", trace = Empty), parent, async {
        tracing::info!(secret = "canary", "a line");
        debug_span!("append", outcome = "stored").in_scope(|| {});
        tracing::trace_span!("too-fine").in_scope(|| {});
        current().unwrap()
    })
    .await
}

fn subscriber(exporter: &Exporter) -> impl tracing::Subscriber + Send + Sync + use<> {
    tracing_subscriber::registry().with(exporter.layer())
}

fn exporter(url: &str) -> Exporter {
    Exporter::new(url, "dockhost-test".to_owned(), sampling::sampler(None, None).unwrap()).unwrap()
}

#[test]
fn collector_with_a_password_in_its_url_is_refused_and_the_password_is_not_logged() {
    for url in ["http://ada:canary@127.0.0.1:1", "http://canary@127.0.0.1/below", "canary:@127.0.0.1"] {
        let sampler = sampling::sampler(None, None).unwrap();
        let problem = Exporter::new(url, "dockhost-test".to_owned(), sampler).map(drop).unwrap_err();
        assert!(problem.contains("OTEL_EXPORTER_OTLP_HEADERS") && !problem.contains("canary"), "{problem}");
    }
    assert!(!has_credentials("http://127.0.0.1:4318/tenants/@ada"));
}

#[tokio::test]
async fn spans_of_a_sampled_trace_reach_the_collector_with_the_ids_that_are_sent_along() {
    let (url, requests) = collector();
    let exporter = exporter(&url);
    let own = handle(Some(parent(true))).with_subscriber(subscriber(&exporter)).await;
    assert_eq!((own.trace_id, own.is_sampled), (parent(true).trace_id, true));
    assert_ne!(own.span_id, parent(true).span_id);
    // Sends what is queued.
    tokio::task::spawn_blocking(move || drop(exporter)).await.unwrap();
    let (path, body) = requests.recv_timeout(DEADLINE).unwrap();
    assert_eq!(path, "/v1/traces");
    let (trace, span) = (own.trace_id.get().to_be_bytes(), own.span_id.get().to_be_bytes());
    let (sender, span_of_sender) = (b"dockhost-test".as_slice(), parent(true).span_id.get().to_be_bytes());
    for part in [&trace[..], &span, &span_of_sender, sender, b"request", b"append", b"stored", b"r-1"] {
        assert!(contains(&body, part), "{} is missing", String::from_utf8_lossy(part));
    }
    for part in [b"canary".as_slice(), b"a line", b"too-fine"] {
        assert!(!contains(&body, part), "{} was exported", String::from_utf8_lossy(part));
    }
}

#[tokio::test]
async fn spans_of_a_trace_that_the_sender_does_not_record_stay_here_and_are_passed_on_so() {
    let (url, requests) = collector();
    let exporter = exporter(&url);
    let own = handle(Some(parent(false))).with_subscriber(subscriber(&exporter)).await;
    assert_eq!((own.trace_id, own.is_sampled), (parent(true).trace_id, false));
    let new = handle(None).with_subscriber(subscriber(&exporter)).await;
    assert!(new.is_sampled && new.trace_id != own.trace_id, "{new:?}");
    tokio::task::spawn_blocking(move || drop(exporter)).await.unwrap();
    let (_, body) = requests.recv_timeout(DEADLINE).unwrap();
    assert!(contains(&body, &new.trace_id.get().to_be_bytes()));
    assert!(!contains(&body, &own.trace_id.get().to_be_bytes()));
}

#[tokio::test]
async fn collector_out_of_reach_delays_no_span_and_the_end_only_shortly() {
    // Nothing listens there.
    let exporter = exporter("http://127.0.0.1:1");
    let began = Instant::now();
    let many = async {
        for _ in 0..5_000 {
            handle(None).await;
        }
    };
    many.with_subscriber(subscriber(&exporter)).await;
    tokio::task::spawn_blocking(move || drop(exporter)).await.unwrap();
    assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
}
