//! A stop with `Prefer: respond-async`, which waits for nothing but the append, against one raw acknowledged publish on
//! the same server: how long one takes alone, and how many 64 clients get through. Each client stops and resumes its own
//! running instance in turn, so every request is a command that stores an event; the dispatcher, the timers, the
//! projector and the agent do their work meanwhile, as they would.

use std::sync::Arc;

use dockhost_harness::{Nats, World};
use hyper::Method;
use serde_json::json;

use crate::load::{Load, closed_loop, request};
use crate::place::{Person, clients, median, owners};
use crate::report::{Figure, Target, short};
use crate::{Effort, publishing};

const ROW: &str = "stops";
const CLIENTS: usize = 64;

pub async fn run(effort: Effort) -> Vec<Figure> {
    let mut figures = on(World::start(1).await, effort, "").await;
    let unsynced = World::on(Nats::start_unsynced().await, 1, &[]).await;
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
        let (_, micros) = publishing::raw(js, 1, effort.turn).await;
        let raw = micros_to_millis(micros.value_at_quantile(0.5));
        let one = toggle(&world, &owners, 1, effort).await;
        slower.push(one.millis(0.5) / raw);
        alone.push(one.millis(0.5));
        raw_alone.push(raw);

        let (rate, _) = publishing::raw(js, CLIENTS, effort.turn).await;
        let all = toggle(&world, &owners, CLIENTS, effort).await;
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
    std::time::Duration::from_micros(micros).as_secs_f64() * 1e3
}

/// Stops and resumes in turn.
async fn toggle(world: &World, owners: &Arc<Vec<(Person, String)>>, count: usize, effort: Effort) -> Load {
    let owners = Arc::clone(owners);
    let load = closed_loop(clients(world, 0, count), effort.turn, move |client, round| {
        let (person, instance) = &owners[client];
        let verb = if round % 2 == 0 { "stop" } else { "resume" };
        let body = json!({ "instanceId": instance }).to_string();
        let mut request =
            request(Method::PUT, &format!("/api/v2/user/instance/{verb}"), Some(&person.token), Some(body));
        request.headers_mut().insert("prefer", "respond-async".parse().unwrap());
        request
    })
    .await;
    assert_eq!(load.refused, 0, "some commands were refused");
    load
}
