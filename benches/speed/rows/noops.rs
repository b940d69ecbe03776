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

use super::appends::{self, CLIENTS};
use crate::Effort;
use crate::load::{Load, paced, request};
use crate::report::{Figure, short};
use crate::setup::{Owner, clients, owners};

const ROW: &str = "noops";

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
    let measure = async |count, pause| commands(&world, &owners, count, pause, effort).await;
    let (alone, many) = appends::compare(js, effort, measure).await;
    let (slower, share) = (short(alone.ratio), short(many.ratio));
    vec![
        Figure::new(ROW, format!("{nodes}: one client, p50"), format!("{} ms, × {slower}", short(alone.commands)))
            .with_raw_limit(format!("{} ms", short(alone.raw))),
        Figure::new(ROW, format!("{nodes}: {CLIENTS} clients"), format!("{}/s, × {share}", short(many.commands)))
            .with_raw_limit(format!("{}/s", short(many.raw))),
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
