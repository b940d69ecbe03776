//! An idle fleet of 1,000 connected machines with 10,000 running instances: processor time and memory of the server, the
//! broker and the database. Also the memory of an idle server without a fleet.

use std::time::Duration;

use dockhost::auth::api_key::{ApiKeyId, ApiKeys};
use dockhost::broker::streams::ASSIGNMENTS;
use dockhost::common::clock;
use dockhost::dev::process::Child;
use dockhost_domain::ids::BackendId;
use dockhost_harness::seed::{Plan, Seed};
use dockhost_harness::{Nats, World, wait_until};

use crate::report::{Figure, Target, short};
use crate::swarm::{Swarm, stored};
use crate::{Effort, usage};

const ROW: &str = "fleet";
const MACHINES: u64 = 1_000;
const PER_MACHINE: u64 = 10;
/// How long processor time is measured.
const OBSERVATION: Duration = Duration::from_secs(20);

pub async fn run(effort: Effort) -> Vec<Figure> {
    let mut figures = vec![idle(effort).await];
    let machines = MACHINES / effort.divisor;
    let instances = machines * PER_MACHINE;
    let mut nats = Nats::start_unsynced().await;
    let mut seed = Seed::open(&nats, Duration::from_secs(24 * 3600), Duration::from_millis(1)).await;
    let backends = seed.machines(usize::try_from(machines).unwrap(), 20).await;
    let plan = Plan { instances: 10, cycles: 0 };
    seed.people(usize::try_from(instances / 10).unwrap(), plan).await;
    drop(seed);
    nats.reopen().await;
    let world = World::upon(nats, 1, &[("DOCKHOST_LOST_AFTER_MS", "600000")]).await;
    let swarm = Swarm::connect(&world.nats.url(), keys(&world, backends)).await;
    let broker = world.nats.main().await;
    let js = broker.jetstream().clone();
    wait_until("all assignments are published", Duration::from_secs(300), async || {
        let published = stored(&js, ASSIGNMENTS).await;
        if published >= instances { Ok(()) } else { Err(format!("{published} of {instances}")) }
    })
    .await;
    let parts = parts(&world);
    wait_until_idle(&parts).await;
    let before: Vec<Duration> = parts.iter().map(|(_, pid)| usage::processor(*pid)).collect();
    let span = OBSERVATION.min(effort.span * 5);
    tokio::time::sleep(span).await;
    for ((name, pid), before) in parts.iter().zip(before) {
        let used = (usage::processor(*pid) - before).as_secs_f64() / span.as_secs_f64();
        let what = format!("{machines} machines, {instances} instances: {name}");
        let text = format!("{} % of one processor, {} MB", short(used * 100.0), short(usage::memory(*pid)));
        figures.push(Figure::new(ROW, what, text));
    }
    drop(swarm);
    figures
}

/// The memory of a server without work.
async fn idle(effort: Effort) -> Figure {
    let world = World::start(1).await;
    world.leader().await;
    tokio::time::sleep(effort.span).await;
    let memory = usage::memory(pid(&world));
    Figure::new(ROW, "memory of an idle server, MB", format!("{} MB", short(memory)))
        .judged(memory, Target::AtMost(60.0))
}

fn keys(world: &World, backends: Vec<BackendId>) -> Vec<(BackendId, String)> {
    let env = world.server_env();
    let (_, secret) = env.iter().find(|(name, _)| *name == "BACKEND_ACCESS_TOKEN_SECRET").unwrap();
    let keys = ApiKeys::new(&secret.clone().into());
    let key = |backend_id| keys.derive(ApiKeyId { backend_id, version: 1 }, clock::now()).unwrap();
    backends.into_iter().map(|id| (id, key(id))).collect()
}

fn pid(world: &World) -> u32 {
    world.replicas[0].process.as_ref().and_then(Child::pid).unwrap()
}

fn parts(world: &World) -> Vec<(&'static str, u32)> {
    let server = pid(world);
    let broker = world.nats.pids()[0];
    let mut parts = vec![("server", server), ("broker", broker)];
    parts.extend(database(&world.mongo.uri).map(|pid| ("database", pid)));
    parts
}

/// The mongod of this run, found by the port among its arguments.
fn database(uri: &str) -> Option<u32> {
    let port = uri.split("127.0.0.1:").nth(1)?.split(['/', '?']).next()?;
    let processes = std::fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid: &u32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let program = line.split('\0').next().unwrap_or_default();
        program.contains("mongod") && line.split('\0').any(|argument| argument == port)
    })
}

/// Waits until the server uses little processor time: its start causes a burst of work.
async fn wait_until_idle(parts: &[(&'static str, u32)]) {
    let server = parts[0].1;
    let mut before = usage::processor(server);
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = usage::processor(server);
        if now - before < Duration::from_millis(600) {
            return;
        }
        before = now;
    }
}
