//! Three replicas compared with one: reads and writes per second, and the share of processor time of each component.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dockhost_harness::World;
use hyper::Method;

use crate::load::{Load, closed_loop, request};
use crate::report::{Figure, short};
use crate::setup::{Owner, address, median, owners, toggle};
use crate::{Effort, usage};

const ROW: &str = "replicas";
const CLIENTS: usize = 64;

pub async fn run(effort: Effort) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut rates: Vec<(f64, f64)> = Vec::new();
    for replicas in [1, 3] {
        let mut world = World::start(replicas).await;
        world.add_agent("replicas", 200).await;
        let owners = Arc::new(owners(&world, "owner", CLIENTS).await);
        let addresses: Vec<SocketAddr> =
            world.replicas.iter().map(|replica| address(&replica.url)).cycle().take(CLIENTS).collect();
        let (mut reads, mut writes, mut shares) = (vec![], vec![], String::new());
        for _ in 0..effort.repetitions {
            reads.push(read(&addresses, &owners, effort).await.rate);
            let before = processors(&world);
            writes.push(write(&addresses, &owners, effort).await.rate);
            shares = share(&before, &processors(&world));
        }
        let (reads, writes) = (median(reads), median(writes));
        rates.push((reads, writes));
        let what = format!("{replicas} of them, {CLIENTS} clients");
        figures.push(Figure::new(ROW, format!("{what}, reads"), format!("{}/s", short(reads))));
        figures.push(Figure::new(
            ROW,
            format!("{what}, writes"),
            format!("{}/s; processor time: {shares}", short(writes)),
        ));
    }
    if let [one, three] = rates[..] {
        let text = format!("reads × {}, writes × {}", short(three.0 / one.0), short(three.1 / one.1));
        figures.push(Figure::new(ROW, "three against one", text));
    }
    figures
}

async fn read(addresses: &[SocketAddr], owners: &Arc<Vec<Owner>>, effort: Effort) -> Load {
    let owners = Arc::clone(owners);
    let load = closed_loop(addresses.to_vec(), effort.span, move |client, _| {
        request(Method::GET, "/api/v2/user/instance", owners[client].0.token(), None)
    })
    .await;
    assert_eq!(load.refused, 0, "some reads were refused");
    load
}

async fn write(addresses: &[SocketAddr], owners: &Arc<Vec<Owner>>, effort: Effort) -> Load {
    let owners = Arc::clone(owners);
    let load = closed_loop(addresses.to_vec(), effort.span, move |client, round| toggle(&owners[client], round)).await;
    assert_eq!(load.refused, 0, "some commands were refused");
    load
}

/// The processor time that each component has used so far.
fn processors(world: &World) -> Vec<(&'static str, Duration)> {
    let servers =
        world.replicas.iter().filter_map(|replica| replica.process.as_ref()?.pid()).map(usage::processor).sum();
    let agents: Duration =
        world.agents.iter().filter_map(|agent| agent.process.as_ref()?.pid()).map(usage::processor).sum();
    let broker = world.nats.pids().into_iter().map(usage::processor).sum();
    let bench = usage::processor(std::process::id());
    vec![("servers", servers), ("broker", broker), ("agent", agents), ("load", bench)]
}

fn share(before: &[(&'static str, Duration)], after: &[(&'static str, Duration)]) -> String {
    let used: Vec<(&str, f64)> = before
        .iter()
        .zip(after)
        .map(|((name, before), (_, after))| (*name, after.saturating_sub(*before).as_secs_f64()))
        .collect();
    let all: f64 = used.iter().map(|(_, used)| used).sum();
    let parts: Vec<String> = used.iter().map(|(name, used)| format!("{name} {:.0} %", 100.0 * used / all)).collect();
    parts.join(", ")
}
