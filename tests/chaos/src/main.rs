//! `dockhost-chaos run` runs and checks a plan; `dockhost-chaos check` checks a saved report.

#![expect(clippy::unwrap_used, reason = "test code fails by panicking")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use dockhost_chaos::checker;
use dockhost_chaos::report::{Plan, Report, Topology};
use dockhost_chaos::{run, traffic};

/// Checks that DockHost keeps its invariants while its processes are killed.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a system, send requests, kill processes, and check the final state.
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
    /// How often each kind of process is killed.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// No fault is injected after this many minutes.
    #[arg(long, default_value_t = 30)]
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
    /// The system must be healthy this many seconds after the last fault.
    #[arg(long, default_value_t = 60)]
    heals_within: u64,
}

impl Run {
    fn plan(&self) -> Plan {
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
