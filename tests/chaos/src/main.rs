//! `dockhost-chaos run` and `dockhost-chaos check`: a run with its report, and a report that was kept, checked again.

#![expect(clippy::unwrap_used, reason = "a test, and what it stands on, fails by panicking")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use dockhost_chaos::checker;
use dockhost_chaos::report::{Plan, Report, Topology};
use dockhost_chaos::{run, traffic};

/// Whether DockHost keeps what it promises while its parts are killed.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything, let clients ask, kill parts, and check what is there in the end.
    Run(Run),
    /// Check a report that was kept.
    Check {
        /// The report's file.
        report: PathBuf,
    },
}

#[derive(Args)]
struct Run {
    /// What clients do and which faults come in which order follows from it; chosen by the clock if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// How often each kind of part is killed.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// After so many minutes no further fault is begun.
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
    /// Clients that ask at the same time.
    #[arg(long, default_value_t = 8)]
    clients: usize,
    /// Instances that a user may have.
    #[arg(long, default_value_t = 4)]
    quota: u32,
    /// Seconds after the last fault within which all must be well.
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

/// Prints what is broken; fails if anything is.
fn judge(report: &Report) -> ExitCode {
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
        0 => println!("all that is promised holds"),
        broken => println!("{broken} promises are broken"),
    }
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check { report: file } => match Report::load(&file) {
            Ok(report) => judge(&report),
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                ExitCode::from(2)
            }
        },
        Command::Run(wanted) => {
            let plan = wanted.plan();
            println!("seed {} (the same again: --seed {})", plan.seed, plan.seed);
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            let report = runtime.block_on(run::run(plan, |line| println!("{line}")));
            let place = Report::place(&report.plan);
            report.save(&place).unwrap();
            println!("the report is {}", place.display());
            judge(&report)
        }
    }
}
