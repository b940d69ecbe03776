//! A stop with `Prefer: respond-async`, which waits only for the append, compared with one acknowledged publish on the same
//! broker: the latency for one client, and the rate of 64 clients.
//!
//! Each client alternately stops and resumes its own instance, so every request stores an event. The dispatcher, the
//! timers, the projector and the agent work as usual meanwhile. The single client and the single publisher pause between
//! requests, so that the work that follows from one command does not slow down the next.

use std::sync::Arc;
use std::time::Duration;

use dockhost_harness::{Nats, World};

use crate::load::{Load, paced};
use crate::report::{Figure, Target, short};
use crate::setup::{Owner, clients, median, owners, toggle};
use crate::{Effort, publishing};

const ROW: &str = "stops";
const CLIENTS: usize = 64;
const PAUSE_BETWEEN_COMMANDS: Duration = Duration::from_millis(40);

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
    publishing::prepare(js).await;

    let (mut alone, mut raw_alone, mut slower) = (vec![], vec![], vec![]);
    let (mut many, mut raw_many, mut share) = (vec![], vec![], vec![]);
    for _ in 0..effort.repetitions {
        let (_, micros) = publishing::raw(js, 1, effort.span, PAUSE_BETWEEN_COMMANDS).await;
        let raw = micros_to_millis(micros.value_at_quantile(0.5));
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
    vec![
        Figure::new(ROW, format!("one client, p50{how}"), format!("{} ms", short(median(alone))))
            .with_raw_limit(format!("{} ms", short(median(raw_alone))))
            .judged(median(slower), Target::AtMost(2.5)),
        Figure::new(ROW, format!("{CLIENTS} clients{how}"), format!("{}/s", short(median(many))))
            .with_raw_limit(format!("{}/s", short(median(raw_many))))
            .judged(median(share), Target::AtLeast(0.5)),
    ]
}

fn micros_to_millis(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64() * 1e3
}

/// Alternately stops and resumes each instance.
async fn commands(world: &World, owners: &Arc<Vec<Owner>>, count: usize, pause: Duration, effort: Effort) -> Load {
    let owners = Arc::clone(owners);
    let load =
        paced(clients(world, 0, count), effort.span, pause, move |client, round| toggle(&owners[client], round)).await;
    assert_eq!(load.refused, 0, "some commands were refused");
    load
}
