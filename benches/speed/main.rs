//! `make bench`: how fast DockHost is, as ratios against the raw limit of the same machine in the same run.
//!
//! In: names of rows (none: all of them). Out: a table on the terminal, and in `docs/PERFORMANCE.md` the latest table and
//! one line of history. Absolute figures of a shared machine mean little, so whatever has a raw limit (a bare handler, a
//! bare publish, a bare hash) is measured beside it, in turns, and the median of the turns' ratios is what counts.

#![expect(clippy::unwrap_used, reason = "a bench that can't go on has nothing to say")]

// The raw limits get the same memory as what is held against them.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod bare;
mod load;
mod place;
mod publishing;
mod report;
mod rows;
mod swarm;
mod usage;

use std::process::ExitCode;

use rows::ROWS;

/// How long things are measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// One turn of one measurement.
    pub turn: std::time::Duration,
    /// Turns, of which the median counts.
    pub turns: usize,
    /// Events of the large logs, and instances of the large database, are divided by this.
    pub divisor: u64,
}

impl Effort {
    const FULL: Self = Self { turn: std::time::Duration::from_secs(4), turns: 3, divisor: 1 };
    /// To see that the bench itself works.
    const QUICK: Self = Self { turn: std::time::Duration::from_millis(500), turns: 1, divisor: 20 };
}

const HELP: &str = "make bench                       all rows, and docs/PERFORMANCE.md is brought up to date\n\
                    make bench BENCH='reads stops'   these rows only; nothing is written\n\
                    make bench BENCH='--quick'       all rows, briefly; nothing is written";

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
    let wanted: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with("--")).collect();
    let known = |name: &&str| ROWS.iter().any(|row| row.name == *name);
    if let Some(other) = wanted.iter().find(|name| !known(name)) {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        eprintln!("there is no row {other:?}; there are {}\n\n{HELP}", names.join(", "));
        return ExitCode::FAILURE;
    }
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    let mut figures = Vec::new();
    for row in ROWS.iter().filter(|row| wanted.is_empty() || wanted.contains(&row.name)) {
        eprintln!("{}: {} …", row.name, row.what);
        let measured = runtime.block_on((row.run)(effort));
        report::print(&measured);
        figures.extend(measured);
    }
    println!();
    report::print(&figures);
    if wanted.is_empty() && !quick {
        report::keep(&figures).unwrap();
    }
    ExitCode::SUCCESS
}
