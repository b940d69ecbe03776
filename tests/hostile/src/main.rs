//! `dockhost-hostile`: attacks at full scale, and a table of what an honest user noticed.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use dockhost_hostile::flood::{Flood, Kind};
use dockhost_hostile::run::{self, Attack, Outcome, Phases};
use dockhost_hostile::sockets::{Behaviour, Sockets};
use dockhost_hostile::system::{self, Hostile};

/// The 99th percentile during an attack may be so many times the quiet one, or that beside as many `PING`s.
const MAX_SLOWDOWN: f64 = 3.0;

/// Attacks the servers as hostile agents and clients, and measures what an honest user notices.
#[derive(Parser)]
struct Cli {
    /// Seconds of each of the three phases of an attack.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Replicas of the server.
    #[arg(long, default_value_t = 2)]
    replicas: usize,
    /// Only the attacks whose names contain one of these texts; the first one is always made.
    only: Vec<String>,
}

/// An attack, and with how many keys.
type Row = (usize, Attack);

const fn messages(keys: usize, kind: Kind, per_second: u64, connections: u64) -> Row {
    (keys, Attack::Messages(Flood { kind, per_second, connections }))
}

const fn sockets(behaviour: Behaviour, connections: u32, addresses: u8) -> Row {
    (0, Attack::Connections(Sockets { behaviour, connections, addresses }))
}

/// The attacks at full scale. The first one is what the others are compared with.
const ATTACKS: [Row; 16] = [
    messages(1, Kind::Pings, 50_000, 1),
    messages(1, Kind::Denied, 50_000, 1),
    messages(1, Kind::Reports, 50_000, 1),
    messages(1, Kind::Hellos, 30_000, 1),
    messages(1, Kind::Confirms, 30_000, 1),
    messages(1, Kind::Heartbeats, 30_000, 1),
    messages(1, Kind::LargeHellos, 16_000, 8),
    messages(1, Kind::ValidHeartbeats, 30_000, 1),
    messages(1, Kind::ValidReports, 30_000, 1),
    messages(5, Kind::Reports, 50_000, 1),
    messages(5, Kind::Confirms, 30_000, 1),
    messages(5, Kind::ValidHeartbeats, 30_000, 1),
    messages(1, Kind::WrongKeys, 1, 64),
    sockets(Behaviour::Silent, 2000, 4),
    sockets(Behaviour::SlowHead, 2000, 4),
    sockets(Behaviour::Unread, 1000, 4),
];

fn main() -> ExitCode {
    let cli = Cli::parse();
    dockhost::app::open_files::raise_limit(8192);
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(attack(&cli)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

async fn attack(Cli { seconds, replicas, only }: &Cli) -> ExitCode {
    let (mut world, with_instances) = system::start_with_instances(*replicas).await;
    let user = world.user("ada").await;
    let phases = Phases { length: Duration::from_secs(*seconds), least_creates: 1 };
    println!("times in ms, processor time in % of one processor; the phases are before / during / after the attack");
    println!("{}", HEADINGS.join(" | "));
    let (mut bad, mut baseline) = (Vec::new(), None);
    for (n, (keys, attack)) in ATTACKS.into_iter().enumerate() {
        let name = format!("{}{}", attack.name(), if keys > 1 { format!(", {keys} keys") } else { String::new() });
        if n > 0 && !only.is_empty() && !only.iter().any(|part| name.to_lowercase().contains(&part.to_lowercase())) {
            continue;
        }
        let mut hostile: Vec<Hostile> = Vec::new();
        if matches!(attack, Attack::Messages(Flood { kind: Kind::ValidReports, .. })) {
            hostile.push(with_instances.clone());
        } else {
            // Keys of its own, because a key that floods is refused for a while.
            for key in 0..keys {
                hostile.push(system::register(&mut world, &format!("hostile-{n}-{key}")).await);
            }
        }
        let outcome = run::run(&world, &hostile, &user, attack, phases).await;
        println!("{}", row(&name, &outcome).join(" | "));
        bad.extend(outcome.damage().into_iter().map(|damage| format!("{name}: {damage}")));
        let [quiet, during] = [&outcome.quiet, &outcome.during].map(|phase| phase.creates.millis(0.99));
        let comparable = quiet.max(*baseline.get_or_insert(during));
        if during > comparable * MAX_SLOWDOWN {
            bad.push(format!("{name}: the p99 is {during:.0} ms, over {MAX_SLOWDOWN} x {comparable:.0} ms"));
        }
    }
    bad.iter().for_each(|line| println!("{line}"));
    if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

const HEADINGS: [&str; 11] = [
    "attack",
    "sent",
    "cut/refused",
    "creates",
    "p50",
    "p99",
    "processor time of attack, broker, servers: quiet → during",
    "lease changes",
    "machines lost",
    "slow consumers",
    "memory of broker, servers (MB)",
];

fn row(name: &str, outcome: &Outcome) -> Vec<String> {
    let phases = [&outcome.quiet, &outcome.during, &outcome.after];
    let quantile = |share: f64| join(&phases.map(|phase| format!("{:.0}", phase.creates.millis(share))));
    let creates = phases.map(|phase| match phase.creates.failed.len() {
        0 => phase.creates.took.len().to_string(),
        failed => format!("{}+{failed} failed", phase.creates.took.len()),
    });
    let (before, during) = (&outcome.observed_before, &outcome.observed_during);
    let megabytes = |before: u64, during: u64| format!("{}→{}", before >> 20, during >> 20);
    let share = |time: fn(&run::Phase) -> Duration| {
        let [quiet, during] =
            [&outcome.quiet, &outcome.during].map(|phase| 100.0 * time(phase).div_duration_f64(phase.length));
        format!("{quiet:.0}→{during:.0}")
    };
    vec![
        name.to_owned(),
        outcome.sent.to_string(),
        format!("{}/{}", outcome.cut, outcome.refused),
        join(&creates),
        quantile(0.5),
        quantile(0.99),
        [
            share(|phase| phase.processor.attack),
            share(|phase| phase.processor.broker),
            share(|phase| phase.processor.servers),
        ]
        .join(", "),
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

fn join(values: &[String; 3]) -> String {
    values.join(" / ")
}
