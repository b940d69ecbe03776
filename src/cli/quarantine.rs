//! `dockhost quarantine list` and `retry`: aggregates with an event that can't be folded, beside running replicas.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::Unreadable;
use dockhost_projections::quarantined::{Quarantined, Retried, by_subject, quarantined_by_model, retry_in_all};
use dockhost_projections::store::MongoStore;
use futures::StreamExt;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, ClusterArgs};
use crate::event_log::history::LogHistory;
use crate::event_log::jetstream::JetStreamLog;
use crate::event_log::{Delivery, EventLog, Filter};

/// The arguments of `quarantine`.
#[derive(Debug, Args)]
pub struct Quarantine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the quarantined aggregates
    List(List),
    /// Fold the quarantined aggregates with this program; fails unless it can fold all of them
    Retry(Retry),
}

#[derive(Debug, Args)]
struct List {
    /// Print one JSON array
    #[arg(long)]
    json: bool,
    /// Read the whole log and list every event that this program can't read, also of claims
    #[arg(long)]
    scan: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Args)]
struct Retry {
    /// Only this aggregate, by its subject (`dockhost.event.tenancy.<id>`) [default: all]
    subject: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// One line of the list.
#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    event: Unreadable,
    /// The models that quarantine the aggregate; empty for an event that a scan found.
    models: Vec<&'static str>,
    /// When the event was stored.
    since: Option<Timestamp>,
}

impl Quarantine {
    /// Lists or retries.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let work = async {
            match self.command {
                Command::List(list) => list.run().await,
                Command::Retry(retry) => retry.run().await,
            }
        };
        stop.run_until_cancelled(work).await.unwrap_or(Ok(ExitCode::FAILURE))
    }
}

impl List {
    async fn run(self) -> anyhow::Result<ExitCode> {
        self.cluster.with(|cluster| self.list(cluster)).await
    }

    async fn list(&self, Cluster { log, store, .. }: Cluster) -> anyhow::Result<ExitCode> {
        let mut lines = if self.scan { scan(&log).await } else { quarantined_in_checkpoints(&store).await? };
        for line in &mut lines {
            line.since = log.stored_at(&line.event.subject, line.event.sequence).await?;
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&lines)?);
            return Ok(ExitCode::SUCCESS);
        }
        for Line { event: Unreadable { subject, sequence, why }, models, since } in &lines {
            let since = since.map_or_else(|| "at an unknown time".to_owned(), |since| since.to_string());
            let models =
                if models.is_empty() { String::new() } else { format!(", quarantined in {}", models.join(", ")) };
            println!("{subject}\n  event {sequence} of {since}{models}\n  {why}");
        }
        let listed = if self.scan { "events that this program can't read" } else { "aggregates quarantined" };
        println!("{} {listed}", lines.len());
        Ok(ExitCode::SUCCESS)
    }
}

/// The quarantines in the checkpoints of all models.
async fn quarantined_in_checkpoints(store: &MongoStore) -> anyhow::Result<Vec<Line>> {
    let found = quarantined_by_model(store).await?.into_iter().map(|(model, event)| (Some(model), event));
    let lines = by_subject(found).into_values();
    Ok(lines.map(|Quarantined { event, models }| Line { event, models, since: None }).collect())
}

/// Every stored event that this program can't read.
async fn scan(log: &JetStreamLog) -> Vec<Line> {
    let mut events = log.follow(0, Filter::All);
    let mut lines = Vec::new();
    while let Some(delivery) = events.next().await {
        match delivery {
            Delivery::Unreadable { sequence, subject, why } => {
                lines.push(Line { event: Unreadable::new(subject, sequence, &why), models: Vec::new(), since: None });
            }
            Delivery::CaughtUp => break,
            Delivery::Event(_) | Delivery::Barrier(_) | Delivery::Idle => {}
        }
    }
    lines
}

impl Retry {
    async fn run(self) -> anyhow::Result<ExitCode> {
        self.cluster.with(|cluster| self.retry(cluster)).await
    }

    async fn retry(&self, Cluster { log, store, .. }: Cluster) -> anyhow::Result<ExitCode> {
        let history = LogHistory(log);
        let found = quarantined_by_model(&store).await?.into_iter().map(|(_, event)| event.subject);
        let subjects: BTreeSet<String> = found.filter(|subject| self.is_asked(subject)).collect();
        let (mut released, mut quarantined) = (0, 0);
        for subject in &subjects {
            for Retried { model, still } in retry_in_all(&store, &history, subject).await? {
                if let Some(Unreadable { sequence, why, .. }) = still {
                    println!("{model}: {subject} is still quarantined, for event {sequence}: {why}");
                    quarantined += 1;
                } else {
                    println!("{model}: {subject} is released");
                    released += 1;
                }
            }
        }
        if let (Some(subject), true) = (&self.subject, subjects.is_empty()) {
            anyhow::bail!("{subject} is not quarantined; `dockhost quarantine list` lists what is");
        }
        println!("{released} released, {quarantined} still quarantined");
        Ok(if quarantined == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn is_asked(&self, subject: &str) -> bool {
        self.subject.as_deref().is_none_or(|only| only == subject)
    }
}
