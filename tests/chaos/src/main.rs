//! `dockhost-chaos run` runs and checks a plan; `dockhost-chaos check` checks a saved report.

#![expect(clippy::unwrap_used, reason = "test code fails by panicking")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use dockhost_chaos::availability::{self, Measured};
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
    /// Measure how long single faults are noticed, on three brokers and databases and then on one of each.
    Availability {
        /// How often each fault is injected.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Only these kinds of faults.
        #[arg(long, value_enum, value_delimiter = ',')]
        kinds: Vec<Kind>,
        /// Distinguishes the reports; derived from the clock if absent.
        #[arg(long)]
        seed: Option<u64>,
    },
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

fn seed_by_clock() -> u64 {
    u64::try_from(dockhost::common::clock::now().millis()).unwrap_or(0) % 1_000_000
}

/// The plans that measure the availability. A fault of the network, disks or clocks is not among them.
fn availability_plans(rounds: usize, kinds: &[Kind], seed: u64) -> Vec<Plan> {
    let plan = |topology| Plan {
        seed,
        rounds,
        minutes: 24 * 60,
        topology,
        replicas: 3,
        agents: 3,
        clients: 1,
        quota: 4,
        heals_within: 60,
        kinds: availability::kinds(topology)
            .into_iter()
            .filter(|kind| kinds.is_empty() || kinds.contains(kind))
            .collect(),
        pairs: 0.0,
        max_hold_ms: 0,
        measures_availability: true,
    };
    // An empty list of kinds would mean all of them.
    [Topology::R3, Topology::R1].map(plan).into_iter().filter(|plan| !plan.kinds.is_empty()).collect()
}

impl Run {
    fn plan(self) -> Plan {
        Plan {
            seed: self.seed.unwrap_or_else(seed_by_clock),
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
            measures_availability: false,
        }
    }
}

/// Runs a plan and saves its report.
fn run_and_save(plan: Plan) -> Report {
    println!("seed {} (repeat with --seed {})", plan.seed, plan.seed);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let report = runtime.block_on(run::run(plan, |line| println!("{line}")));
    let path = Report::default_path(&report.plan);
    report.save(&path).unwrap();
    println!("report: {}", path.display());
    report
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
    if report.plan.measures_availability {
        println!("{}", Measured::of(report));
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
        Command::Run(options) => check_and_print(&run_and_save(options.plan())),
        Command::Availability { rounds, kinds, seed } => {
            let plans = availability_plans(rounds, &kinds, seed.unwrap_or_else(seed_by_clock));
            let reports: Vec<Report> = plans.into_iter().map(run_and_save).collect();
            let codes: Vec<ExitCode> = reports.iter().map(check_and_print).collect();
            codes.into_iter().find(|code| *code != ExitCode::SUCCESS).unwrap_or(ExitCode::SUCCESS)
        }
    }
}
