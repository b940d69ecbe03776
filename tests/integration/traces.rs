//! One request is one trace: from the server through the log to the agent and back, in the logs and at a collector.

use std::collections::BTreeSet;

use dockhost_domain::trace::TraceParent;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::collector::{Collector, Span};
use crate::harness::wait::DEADLINE;
use crate::harness::{World, log, wait_until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// That of the client, which is no part of the test.
const PARENT: &str = "00f067aa0ba902b7";
const SERVER: &str = "dockhost";
const AGENT: &str = "dockhost-agent";

/// The texts of the lines of a JSON log that were written in a span of the trace, with the ids of requests there.
fn lines_of_trace(log: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let parsed = log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")));
    let lines: Vec<Value> = parsed.collect();
    let spans = |line: &Value| line["spans"].as_array().cloned().unwrap_or_default();
    let of_trace = lines.iter().filter(|line| spans(line).iter().any(|span| span["trace"] == TRACE));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let requests = of_trace.clone().flat_map(spans).filter_map(|span| text(&span["id"])).collect();
    (of_trace.filter_map(|line| text(&line["fields"]["message"])).collect(), requests)
}

fn has_all(found: &BTreeSet<String>, wanted: &[&str]) -> Result<(), String> {
    let missing: Vec<_> = wanted.iter().filter(|one| !found.contains(**one)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} is missing from {found:?}")) }
}

/// Checks that the spans of the trace are one tree, with everything that a create causes below the request.
fn check_tree(spans: &[Span]) -> Result<(), String> {
    let spans: Vec<_> = spans.iter().filter(|span| span.trace == TRACE).collect();
    let parent = |span: &Span| spans.iter().find(|other| other.id == span.parent).copied();
    let has_parent = |span: &Span| (span.parent == PARENT && span.name == "request") || parent(span).is_some();
    if let Some(orphan) = spans.iter().find(|span| !has_parent(span)) {
        return Err(format!("the parent of {orphan:?} is missing from {spans:#?}"));
    }
    let edge = |(program, name): (&str, &str), above: &str| {
        let named = spans.iter().filter(|span| span.service == program && span.name == name);
        named.filter_map(|span| parent(span)).any(|parent| parent.name == above)
    };
    for (span, above) in [
        ((SERVER, "command"), "request"),
        ((SERVER, "append"), "command"),
        ((SERVER, "job"), "request"),
        ((SERVER, "assignment"), "job"),
        ((AGENT, "receive"), "assignment"),
        ((AGENT, "act"), "receive"),
        ((AGENT, "send"), "act"),
        ((SERVER, "report"), "send"),
        ((SERVER, "command"), "report"),
        ((SERVER, "fold"), "report"),
    ] {
        if !edge(span, above) {
            return Err(format!("no {span:?} is below a {above}: {spans:#?}"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn trace_of_a_create_leads_through_the_log_to_the_agent_and_back() {
    let collector = Collector::start().await;
    let settings = [
        // The filter of the tests themselves.
        ("RUST_LOG", ""),
        ("DEBUG", "dockhost:container,dockhost:access"),
        ("DOCKHOST_LOG", "json"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
    ];
    let mut world = World::with(1, &settings).await;
    let agent = world.add_agent_with("alpha", 5, &settings).await;
    let ada = world.user("ada").await;
    let sent = format!("00-{TRACE}-{PARENT}-01");
    let headers = [("traceparent", sent.as_str()), ("x-request-id", "create-1")];
    let created = ada.json(Method::POST, "/api/v2/user/instance", &headers, json!({})).await;
    assert_eq!(created.status, 201, "{created:?}");

    let events = log::stored(&world.nats).await;
    let events: Vec<_> = events.iter().filter(|event| event.subject.starts_with("dockhost.event.tenancy.")).collect();
    assert!(events.len() >= 2, "{events:?}");
    for event in &events {
        let trace: TraceParent = event.trace_parent.as_ref().unwrap_or_else(|| panic!("{event:?}")).parse().unwrap();
        assert_eq!(trace.trace_id.to_string(), TRACE, "{event:?}");
        assert_ne!(trace.span_id.to_string(), PARENT, "{event:?}");
    }

    wait_until("the logs tell of the trace", DEADLINE, async || {
        let server = std::fs::read_to_string(&world.replicas[0].log).unwrap();
        let ((server, requests), (agent, _)) = (lines_of_trace(&server), lines_of_trace(&world.agent_log(agent)));
        has_all(&requests, &["create-1"])?;
        has_all(&server, &["answered", "stored", "assigned"])?;
        has_all(&agent, &["received an assignment", "reporting"])
    })
    .await;
    wait_until("the collector has the whole trace", DEADLINE, async || check_tree(&collector.spans())).await;
}
