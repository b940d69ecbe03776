//! The time from the request to a running instance with the simulated runtime, split into hops. An observer on the same
//! machine sees every hop on the broker, so all times are from one clock.

use std::collections::BTreeMap;
use std::time::Duration;

use dockhost_harness::World;
use futures::StreamExt;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::Effort;
use crate::report::{Figure, Target, short};
use crate::setup::{id, median};

const ROW: &str = "create";
const ROUNDS: usize = 200;
/// What the observer sees of one create, in order.
const HOPS: [&str; 4] = ["the event is published", "the assignment", "the agent's report", "running is published"];

pub async fn run(effort: Effort) -> Vec<Figure> {
    let mut world = World::start(1).await;
    world.add_agent("create", 10).await;
    let user = world.user("maker").await;
    let mut observed = observe(&world).await;
    let rounds = ROUNDS / usize::try_from(effort.divisor).unwrap();
    let mut spans: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    let (mut running, mut answered) = (vec![], vec![]);
    // The first rounds warm up the caches.
    for round in 0..rounds + 5 {
        while observed.try_recv().is_ok() {}
        let requested = Instant::now();
        let answer = user.create().await;
        let took = requested.elapsed();
        assert_eq!(answer.status, 201, "{answer:?}");
        let moments = hops(&mut observed).await;
        let deleted = user.delete("/api/v2/user/instance", json!({ "instanceId": id(answer.data()) })).await;
        assert_eq!(deleted.status, 200, "{deleted:?}");
        if round < 5 {
            continue;
        }
        let mut before = requested;
        for (hop, moment) in moments.iter().enumerate() {
            spans.entry(hop).or_default().push(millis(moment.duration_since(before)));
            before = *moment;
        }
        spans.entry(HOPS.len()).or_default().push(millis(took.saturating_sub(before.duration_since(requested))));
        running.push(millis(moments[3].duration_since(requested)));
        answered.push(millis(took));
    }
    let mut figures = vec![
        Figure::new(ROW, "request to running, p50", format!("{} ms", short(median(running.clone()))))
            .judged(median(running), Target::AtMost(15.0)),
        Figure::new(ROW, "request to 201, read model included, p50", format!("{} ms", short(median(answered)))),
    ];
    for (hop, spans) in spans {
        let what = HOPS.get(hop).copied().unwrap_or("stored, in the read model, answered");
        figures.push(Figure::new(
            ROW,
            format!("hop {}: until {what}", hop + 1),
            format!("{} ms", short(median(spans))),
        ));
    }
    figures
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// Subject and time of each message on the broker. One subscription preserves the broker's order.
async fn observe(world: &World) -> mpsc::UnboundedReceiver<(String, Instant)> {
    let broker = world.nats.main().await;
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut messages = broker.client().subscribe("dockhost.>").await.unwrap();
    broker.client().flush().await.unwrap();
    tokio::spawn(async move {
        // Keeps the connection open.
        let _broker = broker;
        while let Some(message) = messages.next().await {
            if sender.send((message.subject.to_string(), Instant::now())).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The times of the hops of one create.
async fn hops(observed: &mut mpsc::UnboundedReceiver<(String, Instant)>) -> Vec<Instant> {
    let kinds = ["dockhost.event.tenancy.", "dockhost.assignment.", "dockhost.report.", "dockhost.event.tenancy."];
    let mut moments = Vec::new();
    while moments.len() < kinds.len() {
        let (subject, moment) = observed.recv().await.unwrap();
        if subject.starts_with(kinds[moments.len()]) {
            moments.push(moment);
        }
    }
    moments
}
