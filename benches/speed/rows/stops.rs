//! A stop with `Prefer: respond-async`, which waits only for the append, compared with one acknowledged publish on the same
//! broker: the latency for one client, and the rate of 64 clients.
//!
//! Each client alternately stops and resumes its own instance, so every request stores an event. The dispatcher, the
//! timers, the projector and the agent work as usual meanwhile. The single client and the single publisher pause between
//! requests, so that the work that follows from one command does not slow down the next.

use std::sync::Arc;
use std::time::Duration;

use dockhost_harness::{Nats, World};

use super::appends::{self, CLIENTS};
use crate::Effort;
use crate::load::{Load, paced};
use crate::report::{Figure, Target, short};
use crate::setup::{Owner, clients, owners, toggle};

const ROW: &str = "stops";

pub async fn run(effort: Effort) -> Vec<Figure> {
    let mut figures = on(World::start(1).await, effort, "").await;
    let unsynced = World::upon(Nats::start_unsynced().await, 1, &[]).await;
    // Has no target: without fsync, a power failure can lose acknowledged events.
    let unjudged = on(unsynced, effort, ", without fsync").await;
    figures.extend(unjudged.into_iter().map(|figure| Figure { judged: None, ..figure }));
    figures
}

async fn on(mut world: World, effort: Effort, how: &str) -> Vec<Figure> {
    world.add_agent("stops", 200).await;
    let owners = Arc::new(owners(&world, "owner", CLIENTS).await);
    let broker = world.nats.main().await;
    let js = broker.jetstream();
    let measure = async |count, pause| commands(&world, &owners, count, pause, effort).await;
    let (alone, many) = appends::compare(js, effort, measure).await;
    vec![
        Figure::new(ROW, format!("one client, p50{how}"), format!("{} ms", short(alone.commands)))
            .with_raw_limit(format!("{} ms", short(alone.raw)))
            .judged(alone.ratio, Target::AtMost(2.5)),
        Figure::new(ROW, format!("{CLIENTS} clients{how}"), format!("{}/s", short(many.commands)))
            .with_raw_limit(format!("{}/s", short(many.raw)))
            .judged(many.ratio, Target::AtLeast(0.5)),
    ]
}

/// Alternately stops and resumes each instance.
async fn commands(world: &World, owners: &Arc<Vec<Owner>>, count: usize, pause: Duration, effort: Effort) -> Load {
    let owners = Arc::clone(owners);
    let load =
        paced(clients(world, 0, count), effort.span, pause, move |client, round| toggle(&owners[client], round)).await;
    assert_eq!(load.refused, 0, "some commands were refused");
    load
}
