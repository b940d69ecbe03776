//! `make bench`: the speed of DockHost as ratios to the raw limits of the same machine, measured in the same run.
//!
//! In: names of rows (none: all of them). Out: a table on the terminal; a full run also updates `docs/PERFORMANCE.md`.
//! Absolute figures of a shared machine mean little. So a row and its raw limit (a bare handler, a bare publish, a bare
//! hash) are measured in alternation, and the judged value is the median of the ratios.

#![expect(clippy::unwrap_used, reason = "an error ends the benchmark")]

// The same allocator as the server's, so that the raw limits are comparable.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod bare;
mod load;
mod publishing;
mod report;
mod rows;
mod setup;
mod swarm;
mod usage;

use std::process::ExitCode;

use rows::ROWS;

/// How long and how often a row is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Duration of one measurement.
    pub span: std::time::Duration,
    /// Measurements per row; the median counts.
    pub repetitions: usize,
    /// Divides the number of events in the large logs and of instances in the large database.
    pub divisor: u64,
}

impl Effort {
    const FULL: Self = Self { span: std::time::Duration::from_secs(4), repetitions: 3, divisor: 1 };
    /// Only checks that the benchmark itself works.
    const QUICK: Self = Self { span: std::time::Duration::from_millis(500), repetitions: 1, divisor: 20 };
}

const HELP: &str = "make bench                       all rows; updates docs/PERFORMANCE.md\n\
                    make bench BENCH='reads stops'   only these rows; writes nothing\n\
                    make bench BENCH='--quick'       all rows, briefly; writes nothing";

fn main() -> ExitCode {
    dockhost::common::install_crypto();
    // `cargo bench` adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if arguments.first().is_some_and(|first| first == bare::ARGUMENT) {
        runtime.block_on(bare::serve());
        return ExitCode::SUCCESS;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let selected: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with("--")).collect();
    let exists = |name: &&str| ROWS.iter().any(|row| row.name == *name);
    if let Some(unknown) = selected.iter().find(|name| !exists(name)) {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        eprintln!("there is no row {unknown:?}; the rows are {}\n\n{HELP}", names.join(", "));
        return ExitCode::FAILURE;
    }
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    let mut figures = Vec::new();
    for row in ROWS.iter().filter(|row| selected.is_empty() || selected.contains(&row.name)) {
        eprintln!("{}: {} …", row.name, row.what);
        let measured = runtime.block_on((row.run)(effort));
        report::print(&measured);
        figures.extend(measured);
    }
    println!();
    report::print(&figures);
    if selected.is_empty() && !quick {
        report::write(&figures).unwrap();
    }
    ExitCode::SUCCESS
}
