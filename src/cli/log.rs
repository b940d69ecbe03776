//! `dockhost log status`: how full the log is, how fast it grows, and what makes it grow.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use indicatif::{BinaryBytes, HumanCount};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::connection::{self, ConnectionArgs};
use super::progress;
use crate::event_log::growth::{Growth, Tally};
use crate::event_log::raw::RawLog;
use crate::event_log::size::LogSize;

/// Days that are listed.
const DAYS: usize = 14;
/// Days over which the rate is measured.
const RATE_DAYS: i64 = 7;
/// Events between two reports of the progress.
const EVENTS_PER_REPORT: u64 = 1000;

/// The arguments of `log`.
#[derive(Debug, Args)]
pub struct Log {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show how full the log is, how much it grew each day, and which kinds of events make it grow. Reads the log once.
    Status(Status),
}

#[derive(Debug, Args)]
struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Log {
    /// Shows the status.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let Command::Status(status) = self.command;
        stop.run_until_cancelled(status.run()).await.unwrap_or(Ok(ExitCode::FAILURE))
    }
}

impl Status {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let (secrets, urls) = self.connection.resolve()?;
        let broker = connection::connect(&secrets.nats, &urls, "dockhost-log").await?;
        let Some(log) = RawLog::open(broker.jetstream()).await? else {
            bail!("the broker has no stream EVENTS; a server creates it at its first start (`dockhost serve`)");
        };
        let (size, end) = (log.size().await?, log.end().await?);
        let growth = read(&log, end).await?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&as_json(size, end, &growth))?);
        } else {
            print(size, end, &growth);
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn read(log: &RawLog, end: u64) -> anyhow::Result<Growth> {
    let (mut growth, mut reader) = (Growth::default(), log.read(0, end));
    let mut report = progress::callback("read");
    while let Some(event) = reader.next().await? {
        growth.add(&event);
        if event.sequence % EVENTS_PER_REPORT == 0 || event.sequence == end {
            report(event.sequence, end);
        }
    }
    Ok(growth)
}

fn as_json(size: LogSize, end: u64, growth: &Growth) -> serde_json::Value {
    let rows = |name: &str, rows: Vec<(String, Tally)>| -> Vec<_> {
        let row = |(key, tally): (String, Tally)| json!({ name: key, "events": tally.events, "bytes": tally.bytes });
        rows.into_iter().map(row).collect()
    };
    let kinds = growth.kinds().into_iter().map(|(kind, tally)| (kind.to_owned(), tally)).collect();
    json!({
        "events": end,
        "bytes": size.bytes,
        "maxBytes": size.max_bytes,
        "percent": size.percent(),
        "reserveBegins": size.reserve_begins(),
        "dailyBytes": growth.daily_bytes(RATE_DAYS),
        "days": rows("day", growth.last_days(DAYS)),
        "kinds": rows("kind", kinds),
    })
}

fn print(size: LogSize, end: u64, growth: &Growth) {
    println!("the log holds {} events in {}", HumanCount(end), BinaryBytes(size.bytes));
    match (size.max_bytes, size.reserve_begins()) {
        (Some(max), Some(reserve)) => {
            println!("  {} % of {} (DOCKHOST_LOG_MAX_BYTES)", size.percent(), BinaryBytes(max));
            println!("  from {} on, only commands are accepted that end something", BinaryBytes(reserve));
            if let Some(daily) = growth.daily_bytes(RATE_DAYS).filter(|daily| *daily > 0) {
                let days = reserve.saturating_sub(size.bytes) / daily;
                println!("  at the rate of the last days ({} a day) that is in {days} days", BinaryBytes(daily));
            }
        }
        _ => println!("  without a limit"),
    }
    println!("\nby day, the last {DAYS} with events:");
    for (day, tally) in growth.last_days(DAYS) {
        println!("  {day}  {:>12} events  {:>12}", HumanCount(tally.events).to_string(), bytes(tally));
    }
    println!("\nby kind of event:");
    for (kind, tally) in growth.kinds() {
        println!("  {:>12} events  {:>12}  {kind}", HumanCount(tally.events).to_string(), bytes(tally));
    }
}

fn bytes(tally: Tally) -> String {
    BinaryBytes(tally.bytes).to_string()
}
