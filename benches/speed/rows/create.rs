//! From the request to a running instance, with the simulated runtime: how long, and where the time goes. Every hop is
//! heard on the broker by a bystander on the same machine, so all moments are of one clock.

use std::collections::BTreeMap;
use std::time::Duration;

use dockhost_harness::World;
use futures::StreamExt;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::Effort;
use crate::place::{id, median};
use crate::report::{Figure, Target, short};

const ROW: &str = "create";
const ROUNDS: usize = 200;
/// What a bystander hears of one creation, in order.
const HOPS: [&str; 4] = ["the event is published", "the assignment", "the agent's report", "running is published"];

pub async fn run(effort: Effort) -> Vec<Figure> {
    let mut world = World::start(1).await;
    world.add_agent("create", 10).await;
    let maker = world.user("maker").await;
    let mut heard = bystander(&world).await;
    let rounds = ROUNDS / usize::try_from(effort.divisor).unwrap();
    let mut spans: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    let (mut running, mut answered) = (vec![], vec![]);
    // The first ones find everything cold.
    for round in 0..rounds + 5 {
        while heard.try_recv().is_ok() {}
        let asked = Instant::now();
        let answer = maker.create().await;
        let took = asked.elapsed();
        assert_eq!(answer.status, 201, "{answer:?}");
        let moments = hops(&mut heard).await;
        let deleted = maker.delete("/api/v2/user/instance", json!({ "instanceId": id(answer.data()) })).await;
        assert_eq!(deleted.status, 200, "{deleted:?}");
        if round < 5 {
            continue;
        }
        let mut before = asked;
        for (hop, moment) in moments.iter().enumerate() {
            spans.entry(hop).or_default().push(millis(moment.duration_since(before)));
            before = *moment;
        }
        spans.entry(HOPS.len()).or_default().push(millis(took.saturating_sub(before.duration_since(asked))));
        running.push(millis(moments[3].duration_since(asked)));
        answered.push(millis(took));
    }
    let mut figures = vec![
        Figure::told(ROW, "request to running, p50", format!("{} ms", short(median(running.clone()))))
            .judged(median(running), Target::AtMost(15.0)),
        Figure::told(ROW, "request to 201, read model included, p50", format!("{} ms", short(median(answered)))),
    ];
    for (hop, spans) in spans {
        let what = HOPS.get(hop).copied().unwrap_or("stored, in the read model, answered");
        figures.push(Figure::told(
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

/// Hears what passes on the broker: the subject, and when. One subscription, so that it hears in the broker's order.
async fn bystander(world: &World) -> mpsc::UnboundedReceiver<(String, Instant)> {
    let broker = world.nats.main().await;
    let (heard, hears) = mpsc::unbounded_channel();
    let mut messages = broker.client().subscribe("dockhost.>").await.unwrap();
    broker.client().flush().await.unwrap();
    tokio::spawn(async move {
        // Lives as long as it hears.
        let _broker = broker;
        while let Some(message) = messages.next().await {
            if heard.send((message.subject.to_string(), Instant::now())).is_err() {
                return;
            }
        }
    });
    hears
}

/// The moments of one creation's hops.
async fn hops(heard: &mut mpsc::UnboundedReceiver<(String, Instant)>) -> Vec<Instant> {
    let kinds = ["dockhost.event.tenancy.", "dockhost.assignment.", "dockhost.report.", "dockhost.event.tenancy."];
    let mut moments = Vec::new();
    while moments.len() < kinds.len() {
        let (subject, moment) = heard.recv().await.unwrap();
        if subject.starts_with(kinds[moments.len()]) {
            moments.push(moment);
        }
    }
    moments
}
