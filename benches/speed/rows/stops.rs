//! A stop with `Prefer: respond-async`, which waits for nothing but the append, against one raw acknowledged publish on
//! the same server: how long one takes alone, and how many 64 clients get through. Each client stops and resumes its own
//! running instance in turn, so every request is a command that stores an event; the dispatcher, the timers, the
//! projector and the agent do their work meanwhile, as they would. The one client rests between its commands, as does
//! the one publisher: what is timed is a command, not the work that the last one left behind.

use std::sync::Arc;
use std::time::Duration;

use dockhost_harness::{Nats, World};

use crate::load::{Load, paced};
use crate::place::{Owner, clients, median, owners, toggle};
use crate::report::{Figure, Target, short};
use crate::{Effort, publishing};

const ROW: &str = "stops";
const CLIENTS: usize = 64;
const REST: Duration = Duration::from_millis(40);

pub async fn run(effort: Effort) -> Vec<Figure> {
    let mut figures = on(World::start(1).await, effort, "").await;
    let unsynced = World::upon(Nats::start_unsynced().await, 1, &[]).await;
    // Told only: an acknowledged event that a power cut can lose is none.
    let told = on(unsynced, effort, ", without fsync").await;
    figures.extend(told.into_iter().map(|figure| Figure { judged: None, ..figure }));
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
    for _ in 0..effort.turns {
        let (_, micros) = publishing::raw(js, 1, effort.turn, REST).await;
        let raw = micros_to_millis(micros.value_at_quantile(0.5));
        let one = commands(&world, &owners, 1, REST, effort).await;
        slower.push(one.millis(0.5) / raw);
        alone.push(one.millis(0.5));
        raw_alone.push(raw);

        let (rate, _) = publishing::raw(js, CLIENTS, effort.turn, Duration::ZERO).await;
        let all = commands(&world, &owners, CLIENTS, Duration::ZERO, effort).await;
        share.push(all.rate / rate);
        many.push(all.rate);
        raw_many.push(rate);
    }
    vec![
        Figure::told(ROW, format!("one client, p50{how}"), format!("{} ms", short(median(alone))))
            .beside(format!("{} ms", short(median(raw_alone))))
            .judged(median(slower), Target::AtMost(2.5)),
        Figure::told(ROW, format!("{CLIENTS} clients{how}"), format!("{}/s", short(median(many))))
            .beside(format!("{}/s", short(median(raw_many))))
            .judged(median(share), Target::AtLeast(0.5)),
    ]
}

fn micros_to_millis(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64() * 1e3
}

/// Stops and resumes in turn.
async fn commands(world: &World, owners: &Arc<Vec<Owner>>, count: usize, rest: Duration, effort: Effort) -> Load {
    let owners = Arc::clone(owners);
    let load =
        paced(clients(world, 0, count), effort.turn, rest, move |client, round| toggle(&owners[client], round)).await;
    assert_eq!(load.refused, 0, "some commands were refused");
    load
}
