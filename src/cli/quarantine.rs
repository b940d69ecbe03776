//! `dockhost quarantine list` and `retry`: aggregates that stopped at an event which can't be folded.
//!
//! In: the models' checkpoints, or with `--scan` the whole log as this program reads it. Out: what is held back and why;
//! and, on demand, released if this program can fold it. Both work beside running replicas.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::backends::Backends;
use dockhost_projections::instances::Instances;
use dockhost_projections::release::{Release, quarantined, release};
use dockhost_projections::sessions::Sessions;
use dockhost_projections::store::MongoStore;
use dockhost_projections::users::Users;
use dockhost_projections::{ReadModel, Unreadable};
use futures::StreamExt;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, ClusterArgs};
use crate::event_log::history::LogHistory;
use crate::event_log::jetstream::JetStreamLog;
use crate::event_log::{Delivery, EventLog, Filter};

/// What `quarantine` is told.
#[derive(Debug, Args)]
pub struct Quarantine {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what is held back: aggregates whose events can't all be folded.
    List(List),
    /// Try again, with this program, what is held back. Fails unless all of it is released.
    Retry(Retry),
}

#[derive(Debug, Args)]
struct List {
    /// As one JSON array.
    #[arg(long)]
    json: bool,
    /// Read the whole log with this program instead, and show each event that it can't read, claims included: what an
    /// older or newer version would hold back.
    #[arg(long)]
    scan: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Args)]
struct Retry {
    /// Only this aggregate, by its subject (`dockhost.event.tenancy.<id>`); all of them if not given.
    subject: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// One line of the list.
#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    what: Unreadable,
    /// The models that hold it back; none for what a scan found.
    models: Vec<&'static str>,
    /// When the event was stored.
    since: Option<Timestamp>,
}

impl Quarantine {
    /// Lists, or tries again.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let work = async {
            match self.what {
                What::List(list) => list.run().await,
                What::Retry(retry) => retry.run().await,
            }
        };
        stop.run_until_cancelled(work).await.unwrap_or(Ok(ExitCode::FAILURE))
    }
}

impl List {
    async fn run(self) -> anyhow::Result<ExitCode> {
        self.cluster.with(|opened| self.list(opened)).await
    }

    async fn list(&self, Cluster { log, store, .. }: Cluster) -> anyhow::Result<ExitCode> {
        let mut lines = if self.scan { scan(&log).await } else { listed(&store).await? };
        for line in &mut lines {
            line.since = log.stored_at(&line.what.subject, line.what.sequence).await?;
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&lines)?);
            return Ok(ExitCode::SUCCESS);
        }
        for Line { what: Unreadable { subject, sequence, why }, models, since } in &lines {
            let since = since.map_or_else(|| "at an unknown time".to_owned(), |since| since.to_string());
            let models =
                if models.is_empty() { String::new() } else { format!(", held back in {}", models.join(", ")) };
            println!("{subject}\n  event {sequence} of {since}{models}\n  {why}");
        }
        let of = if self.scan { "events that this program can't read" } else { "aggregates held back" };
        println!("{} {of}", lines.len());
        Ok(ExitCode::SUCCESS)
    }
}

/// What the checkpoints list.
async fn listed(store: &MongoStore) -> anyhow::Result<Vec<Line>> {
    let mut lines: BTreeMap<(String, u64), Line> = BTreeMap::new();
    let all = [
        (Users::NAME, quarantined::<Users>(store).await?),
        (Backends::NAME, quarantined::<Backends>(store).await?),
        (Instances::NAME, quarantined::<Instances>(store).await?),
        (Sessions::NAME, quarantined::<Sessions>(store).await?),
    ];
    for (model, held) in all {
        for what in held {
            let line = || Line { what: what.clone(), models: Vec::new(), since: None };
            lines.entry((what.subject.clone(), what.sequence)).or_insert_with(line).models.push(model);
        }
    }
    Ok(lines.into_values().collect())
}

/// Every event of the log, as it is now, that this program can't read.
async fn scan(log: &JetStreamLog) -> Vec<Line> {
    let mut events = log.follow(0, Filter::All);
    let mut lines = Vec::new();
    while let Some(delivery) = events.next().await {
        match delivery {
            Delivery::Unreadable { sequence, subject, why } => {
                lines.push(Line { what: Unreadable::new(subject, sequence, &why), models: Vec::new(), since: None });
            }
            Delivery::CaughtUp => break,
            Delivery::Event(_) | Delivery::Idle => {}
        }
    }
    lines
}

impl Retry {
    async fn run(self) -> anyhow::Result<ExitCode> {
        self.cluster.with(|opened| self.retry(opened)).await
    }

    async fn retry(&self, Cluster { log, store, .. }: Cluster) -> anyhow::Result<ExitCode> {
        let past = LogHistory(log);
        let mut tried = Tried::default();
        self.model::<Users>(&store, &past, &mut tried).await?;
        self.model::<Backends>(&store, &past, &mut tried).await?;
        self.model::<Instances>(&store, &past, &mut tried).await?;
        self.model::<Sessions>(&store, &past, &mut tried).await?;
        if let (Some(subject), 0) = (&self.subject, tried.released + tried.held) {
            anyhow::bail!("{subject} is not held back; `dockhost quarantine list` shows what is");
        }
        println!("{} released, {} still held back", tried.released, tried.held);
        Ok(if tried.held == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn model<M: ReadModel>(
        &self,
        store: &MongoStore,
        past: &LogHistory,
        tried: &mut Tried,
    ) -> anyhow::Result<()> {
        for Unreadable { subject, .. } in quarantined::<M>(store).await? {
            if self.subject.as_ref().is_some_and(|only| *only != subject) {
                continue;
            }
            match release::<M>(store, past, &subject).await? {
                Release::Released | Release::NotQuarantined => {
                    println!("{}: {subject} is released", M::NAME);
                    tried.released += 1;
                }
                Release::StillUnreadable(Unreadable { sequence, why, .. }) => {
                    println!("{}: {subject} stays held back by event {sequence}: {why}", M::NAME);
                    tried.held += 1;
                }
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Tried {
    released: usize,
    held: usize,
}
