//! `dockhost-hostile`: floods at full scale, and a table of what an honest user noticed.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use dockhost_hostile::flood::{Flood, Kind};
use dockhost_hostile::honest::Creates;
use dockhost_hostile::run::{self, Outcome, Phases};
use dockhost_hostile::system;

/// The 99th percentile during a flood may be so many times the quiet one.
const MAX_SLOWDOWN: u32 = 3;

/// Floods the servers as one hostile agent, and measures what an honest user notices.
#[derive(Parser)]
struct Cli {
    /// Seconds of each of the three phases of a flood.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Replicas of the server.
    #[arg(long, default_value_t = 2)]
    replicas: usize,
}

/// The floods at full scale.
const FLOODS: [Flood; 5] = [
    Flood { kind: Kind::Reports, per_second: 50_000, connections: 1 },
    Flood { kind: Kind::Hellos, per_second: 30_000, connections: 1 },
    Flood { kind: Kind::Confirms, per_second: 30_000, connections: 1 },
    Flood { kind: Kind::Heartbeats, per_second: 30_000, connections: 1 },
    Flood { kind: Kind::LargeHellos, per_second: 16_000, connections: 8 },
];

fn main() -> ExitCode {
    let Cli { seconds, replicas } = Cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(attack(Duration::from_secs(seconds), replicas)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

async fn attack(length: Duration, replicas: usize) -> ExitCode {
    let (mut world, _) = system::start(replicas).await;
    let user = world.user("ada").await;
    println!("times in ms; the phases are before / during / after the flood");
    println!("{}", HEADINGS.join(" | "));
    let mut bad = Vec::new();
    for (n, flood) in FLOODS.into_iter().enumerate() {
        // Each with a key of its own, because a key that floods is refused for a while.
        let hostile = system::register(&mut world, &format!("hostile-{n}")).await;
        let outcome = run::run(&world, &hostile, &user, flood, Phases { length, least_creates: 1 }).await;
        println!("{}", row(&outcome).join(" | "));
        bad.extend(outcome.damage().into_iter().map(|damage| format!("{:?}: {damage}", flood.kind)));
        if outcome.during.quantile(0.99) > outcome.quiet.quantile(0.99).map(|quiet| quiet * MAX_SLOWDOWN) {
            bad.push(format!("{:?}: the p99 during the flood is over {MAX_SLOWDOWN} x the quiet p99", flood.kind));
        }
    }
    bad.iter().for_each(|line| println!("{line}"));
    if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

const HEADINGS: [&str; 10] = [
    "flood",
    "sent",
    "cut/refused",
    "creates",
    "p50",
    "p99",
    "lease changes",
    "machines lost",
    "slow consumers",
    "memory of broker, servers (MB)",
];

fn row(outcome: &Outcome) -> Vec<String> {
    let phases = [&outcome.quiet, &outcome.during, &outcome.after];
    let quantile = |share: f64| join(phases.map(|creates| creates.quantile(share).map_or(0, |took| took.as_millis())));
    let count = |creates: &Creates| format!("{}+{} failed", creates.took.len(), creates.failed.len());
    let (before, during) = (&outcome.observed_before, &outcome.observed_during);
    let megabytes = |before: u64, during: u64| format!("{}→{}", before >> 20, during >> 20);
    vec![
        format!("{:?} {}/s", outcome.flood.kind, outcome.flood.per_second),
        outcome.sent.to_string(),
        format!("{}/{}", outcome.cut, outcome.refused),
        join(phases.map(count)),
        quantile(0.5),
        quantile(0.99),
        (during.lease_changes - before.lease_changes).to_string(),
        (during.machines_lost - before.machines_lost).to_string(),
        (during.slow_consumers - before.slow_consumers).to_string(),
        format!(
            "{}, {}",
            megabytes(before.broker_memory, during.broker_memory),
            megabytes(before.server_memory, during.server_memory)
        ),
    ]
}

fn join<T: std::fmt::Display>(values: [T; 3]) -> String {
    values.map(|value| value.to_string()).join(" / ")
}
