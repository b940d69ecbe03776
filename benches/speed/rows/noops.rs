//! A command that finds nothing to do, compared with one acknowledged publish on the same broker: the latency for one
//! client, and the rate of 64 clients.
//!
//! On three nodes such a verdict waits for a barrier, which all who ask at the same time share. On one node it needs
//! none: that shows what the barrier costs.

use std::sync::Arc;
use std::time::Duration;

use dockhost_harness::topology::{Members, Nodes};
use dockhost_harness::{Topology, World};
use hyper::Method;
use serde_json::json;

use crate::load::{Load, paced, request};
use crate::report::{Figure, short};
use crate::setup::{Owner, clients, median, owners};
use crate::{Effort, publishing};

const ROW: &str = "noops";
const CLIENTS: usize = 64;
/// As in the row `stops`.
const PAUSE_BETWEEN_COMMANDS: Duration = Duration::from_millis(40);

pub async fn run(effort: Effort) -> Vec<Figure> {
    let mut figures = on(Topology::ONE, effort, "one node").await;
    let three = Topology { broker: Nodes::Three, database: Members::Shared, proxied: false };
    figures.extend(on(three, effort, "three nodes").await);
    figures
}

async fn on(topology: Topology, effort: Effort, nodes: &str) -> Vec<Figure> {
    let mut world = World::on(topology, 1, &[]).await;
    world.add_agent("noops", 200).await;
    let owners = Arc::new(owners(&world, "owner", CLIENTS).await);
    let broker = world.nats.main().await;
    let js = broker.jetstream();
    publishing::prepare(js).await;

    let (mut alone, mut raw_alone, mut slower) = (vec![], vec![], vec![]);
    let (mut many, mut raw_many, mut share) = (vec![], vec![], vec![]);
    for _ in 0..effort.repetitions {
        let (_, micros) = publishing::raw(js, 1, effort.span, PAUSE_BETWEEN_COMMANDS).await;
        let raw = Duration::from_micros(micros.value_at_quantile(0.5)).as_secs_f64() * 1e3;
        let one = commands(&world, &owners, 1, PAUSE_BETWEEN_COMMANDS, effort).await;
        slower.push(one.millis(0.5) / raw);
        alone.push(one.millis(0.5));
        raw_alone.push(raw);

        let (rate, _) = publishing::raw(js, CLIENTS, effort.span, Duration::ZERO).await;
        let all = commands(&world, &owners, CLIENTS, Duration::ZERO, effort).await;
        share.push(all.rate / rate);
        many.push(all.rate);
        raw_many.push(rate);
    }
    let ratio = |values| short(median(values));
    let (slower, share) = (ratio(slower), ratio(share));
    vec![
        Figure::new(ROW, format!("{nodes}: one client, p50"), format!("{} ms, × {slower}", short(median(alone))))
            .with_raw_limit(format!("{} ms", short(median(raw_alone)))),
        Figure::new(ROW, format!("{nodes}: {CLIENTS} clients"), format!("{}/s, × {share}", short(median(many))))
            .with_raw_limit(format!("{}/s", short(median(raw_many)))),
    ]
}

/// Resumes instances that run.
async fn commands(world: &World, owners: &Arc<Vec<Owner>>, count: usize, pause: Duration, effort: Effort) -> Load {
    let owners = Arc::clone(owners);
    let load = paced(clients(world, 0, count), effort.span, pause, move |client, _| {
        let (caller, instance) = &owners[client];
        let body = json!({ "instanceId": instance }).to_string();
        request(Method::PUT, "/api/v2/user/instance/resume", caller.token(), Some(body))
    })
    .await;
    assert_eq!(load.refused, 0, "some commands were refused");
    load
}
