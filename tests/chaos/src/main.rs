//! `dockhost-chaos run` runs and checks a plan; `dockhost-chaos check` checks a saved report.

#![expect(clippy::unwrap_used, reason = "test code fails by panicking")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use dockhost_chaos::checker;
use dockhost_chaos::checker::availability::Table;
use dockhost_chaos::report::{Kind, Plan, Report, Topology};
use dockhost_chaos::{run, traffic};

/// Checks that DockHost keeps its invariants under faults of its processes, links, disks and clocks.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a system, send requests, inject faults, and check the final state.
    Run(Run),
    /// Check a saved report.
    Check {
        /// The report file.
        report: PathBuf,
    },
}

#[derive(Args)]
struct Run {
    /// Determines the requests and the order of the faults; derived from the clock if absent.
    #[arg(long)]
    seed: Option<u64>,
    /// How often each kind of fault is injected.
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// No fault is injected after this many minutes.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// One nats-server and one mongod, or three of each.
    #[arg(long, value_enum, default_value = "r1")]
    topology: Topology,
    /// Replicas of the server.
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Simulated machines.
    #[arg(long, default_value_t = 3)]
    agents: usize,
    /// Concurrent clients.
    #[arg(long, default_value_t = 8)]
    clients: usize,
    /// Maximum number of a user's instances.
    #[arg(long, default_value_t = 4)]
    quota: u32,
    /// The system must be well this many seconds after each fault.
    #[arg(long, default_value_t = 60)]
    heals_within: u64,
    /// Only these kinds of faults.
    #[arg(long, value_enum, value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// The share of faults that come with another one at the same time.
    #[arg(long, default_value_t = 0.3)]
    pairs: f64,
    /// The longest that a fault is held, in milliseconds.
    #[arg(long, default_value_t = 20_000)]
    max_hold_ms: u64,
}

impl Run {
    fn plan(self) -> Plan {
        let by_clock = || u64::try_from(dockhost::common::clock::now().millis()).unwrap_or(0) % 1_000_000;
        Plan {
            seed: self.seed.unwrap_or_else(by_clock),
            rounds: self.rounds,
            minutes: self.minutes,
            topology: self.topology,
            replicas: self.replicas,
            agents: self.agents,
            clients: self.clients,
            quota: self.quota,
            heals_within: self.heals_within,
            kinds: self.kinds,
            pairs: self.pairs,
            max_hold_ms: self.max_hold_ms,
        }
    }
}

/// Prints the violations; fails if there are any.
fn check_and_print(report: &Report) -> ExitCode {
    let violations = checker::check(report);
    let events = report.observation.log.len();
    println!(
        "seed {}, {} faults, {events} events, {}",
        report.plan.seed,
        report.faults.len(),
        traffic::summary(&report.history)
    );
    if !report.faults.is_empty() {
        println!("{}", Table::of(report));
    }
    for (kind, reason) in &report.left_out {
        println!("left out: {} ({reason})", kind.name());
    }
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => println!("all invariants hold"),
        count => println!("{count} violations"),
    }
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check { report: file } => match Report::load(&file) {
            Ok(report) => check_and_print(&report),
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                ExitCode::from(2)
            }
        },
        Command::Run(options) => {
            let plan = options.plan();
            println!("seed {} (repeat with --seed {})", plan.seed, plan.seed);
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            let report = runtime.block_on(run::run(plan, |line| println!("{line}")));
            let path = Report::default_path(&report.plan);
            report.save(&path).unwrap();
            println!("report: {}", path.display());
            check_and_print(&report)
        }
    }
}
