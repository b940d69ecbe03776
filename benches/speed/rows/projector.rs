//! The live projectors and a rebuild over logs of 100,000 and 1,000,000 events: events per second, memory, and how both
//! scale. The raw limit is reading the same events from the broker without decoding them.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{DeliverPolicy, FromConsumer, Info, pull};
use dockhost::broker::consumer::pull::{Puller, ephemeral_consumer};
use dockhost::broker::streams::EVENTS;
use dockhost::dev::process::Program;
use dockhost_domain::subject::ALL_EVENTS;
use dockhost_harness::seed::{Plan, Seed};
use dockhost_harness::{Nats, World, program, wait_until};
use dockhost_projections::store::MongoStore;
use dockhost_projections::{MODELS, read_checkpoints};
use futures::TryStreamExt;
use tokio::time::Instant;

use crate::report::{Figure, Target, short};
use crate::{Effort, usage};

const ROW: &str = "projector";
const SIZES: [u64; 2] = [100_000, 1_000_000];
/// Roles of the leader with a durable consumer on the log.
const DURABLE_ROLES: usize = 4;
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The results for one log size. Rates are in events per second, memory in MB.
struct Run {
    events: u64,
    projected: f64,
    rebuilt: Duration,
    memory: f64,
}

pub async fn run(effort: Effort) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut runs = Vec::new();
    for size in SIZES {
        let (run, raw) = measure(size / effort.divisor).await;
        let events = run.events;
        figures.push(
            Figure::new(ROW, format!("{events} events, live"), format!("{}/s", short(run.projected)))
                .with_raw_limit(format!("read, not decoded: {}/s", short(raw)))
                .judged(run.projected, Target::AtLeast(10_000.0)),
        );
        let seconds = run.rebuilt.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let text = format!("{} s, {}/s, {} MB", short(seconds), short(events as f64 / seconds), short(run.memory));
        let figure = Figure::new(ROW, format!("{events} events, rebuild of all models, seconds"), text);
        figures.push(if size == SIZES[1] { figure.judged(seconds, Target::AtMost(20.0)) } else { figure });
        runs.push(run);
    }
    if let [small, large] = &runs[..] {
        let text = format!(
            "rate × {} live, × {} rebuilding; memory × {}",
            short(large.projected / small.projected),
            short(rebuild_rate(large) / rebuild_rate(small)),
            short(large.memory / small.memory)
        );
        figures.push(Figure::new(ROW, "ten times the events", text));
    }
    figures
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn rebuild_rate(run: &Run) -> f64 {
    run.events as f64 / run.rebuilt.as_secs_f64()
}

async fn measure(size: u64) -> (Run, f64) {
    let mut nats = Nats::start_unsynced().await;
    let mut seed = Seed::open(&nats, Duration::from_secs(30 * 24 * 3600), Duration::from_millis(1)).await;
    seed.machines(50, 100_000).await;
    seed.people_until(size, Plan::default()).await;
    let end = seed.end();
    drop(seed);
    nats.reopen().await;
    let broker = nats.main().await;
    let raw = read(broker.jetstream()).await;
    let mut world = World::upon(nats, 0, &[]).await;
    // There is no read model of claims.
    let claims: usize = world.events_on("dockhost.event.claim.>").await.values().sum();
    let events = end - claims as u64;

    skip_log_for_other_roles(&mut world, broker.jetstream(), end).await;

    let store = MongoStore::connect(&world.mongo.uri, &world.mongo.database).await.unwrap();
    let projected = tokio::spawn(async move { projection_time(&store, end).await });
    world.add_replica().await;
    let live = projected.await.unwrap();
    let (rebuilt, memory) = rebuild(&world).await;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let projected = events as f64 / live.as_secs_f64();
    (Run { events, projected, rebuilt, memory }, raw)
}

/// Moves the durable consumers of the leader's other roles to the log's end, as if they had processed it long ago. A first
/// replica creates the consumers; the database that it filled meanwhile is dropped.
async fn skip_log_for_other_roles(world: &mut World, js: &Context, end: u64) {
    let events = js.get_stream(EVENTS).await.unwrap();
    let replica = world.add_replica().await;
    let durable = async || {
        let all: Vec<Info> = events.consumers().try_collect().await.unwrap();
        all.into_iter().filter(|info| info.config.durable_name.is_some()).collect::<Vec<_>>()
    };
    wait_until("all roles read the log", Duration::from_secs(30), async || match durable().await.len() {
        DURABLE_ROLES => Ok(()),
        other => Err(format!("{other} of {DURABLE_ROLES} do")),
    })
    .await;
    world.kill_replica(replica).await;
    for Info { name, config, .. } in durable().await {
        let after_end = DeliverPolicy::ByStartSequence { start_sequence: end + 1 };
        let config =
            pull::Config { deliver_policy: after_end, ..pull::Config::try_from_consumer_config(config).unwrap() };
        events.delete_consumer(&name).await.unwrap();
        events.create_consumer(config).await.unwrap();
    }
    let stored = mongodb::Client::with_uri_str(&world.mongo.uri).await.unwrap();
    stored.database(&world.mongo.database).drop().await.unwrap();
}

/// The time from the first change of a checkpoint until all models have reached their last event.
async fn projection_time(store: &MongoStore, end: u64) -> Duration {
    let mut started = None;
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    let mut last_change = (0, Instant::now());
    loop {
        ticks.tick().await;
        let checkpoints = read_checkpoints(store).await.unwrap();
        let at: Vec<u64> = checkpoints.into_iter().map(|(_, at)| at.map_or(0, |at| at.sequence)).collect();
        let sum: u64 = at.iter().sum();
        if sum > 0 && started.is_none() {
            // The first change happened at most one poll ago.
            started = Some(Instant::now() - POLL_INTERVAL);
        }
        if sum != last_change.0 {
            last_change = (sum, Instant::now());
        }
        // A model's last event may be well before the log's end, so no change for a while means that all are done.
        if let Some(started) = started
            && (last_change.1.elapsed() > Duration::from_secs(5) || at.iter().all(|position| *position >= end))
        {
            return last_change.1 - started;
        }
    }
}

/// The duration of `dockhost rebuild` until it has switched the last model, and its peak memory. After that it only waits
/// and drops the old collections.
async fn rebuild(world: &World) -> (Duration, f64) {
    let log = world.data.path().join("rebuild.log");
    let path = program("dockhost");
    let args = vec!["rebuild".into()];
    let started = Instant::now();
    let mut process =
        Program { name: "rebuild", path, args, env: world.server_env(), log: log.clone() }.start().unwrap();
    let pid = process.pid().unwrap();
    let (mut memory, mut ticks) = (0.0_f64, tokio::time::interval(POLL_INTERVAL));
    let took = loop {
        ticks.tick().await;
        memory = memory.max(usage::most_memory(pid));
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        if text.lines().filter(|line| line.contains(": rebuilt, ")).count() == MODELS.len() {
            break started.elapsed();
        }
        assert!(process.pid().is_some_and(|pid| usage::memory(pid) > 0.0), "rebuild ended early:\n{text}");
    };
    let status = process.wait().await.unwrap();
    assert!(status.success(), "rebuild: {status}");
    (took, memory)
}

/// Events per second when reading all of them from the broker without decoding.
async fn read(js: &Context) -> f64 {
    let config = ephemeral_consumer(0, ALL_EVENTS, Duration::from_secs(5));
    let started = Instant::now();
    let mut puller = Puller::open(js, EVENTS, config, 5000).await.unwrap();
    let (mut count, mut last) = (0.0, started);
    loop {
        match puller.next().await.unwrap() {
            Some(_) => (count, last) = (count + 1.0, Instant::now()),
            // A heartbeat: there are no more messages. The wait for it does not count.
            None => return count / (last - started).as_secs_f64(),
        }
    }
}
