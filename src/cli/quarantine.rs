//! `dockhost quarantine list` and `retry`: aggregates with an event that can't be folded, beside running replicas.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::registry::ModelVisitor;
use dockhost_projections::release::{Release, quarantined, release};
use dockhost_projections::store::MongoStore;
use dockhost_projections::{ReadModel, Unreadable, read_checkpoints, visit_all};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
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
    let mut lines: BTreeMap<(String, u64), Line> = BTreeMap::new();
    for (model, checkpoint) in read_checkpoints(store).await? {
        for event in checkpoint.iter().flat_map(|checkpoint| checkpoint.quarantine.entries()) {
            let line = || Line { event: event.clone(), models: Vec::new(), since: None };
            lines.entry((event.subject.clone(), event.sequence)).or_insert_with(line).models.push(model.name);
        }
    }
    Ok(lines.into_values().collect())
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
        let (mut released, mut quarantined) = (0, 0);
        for retried in visit_all(&mut RetryModel { retry: self, store: &store, history: &history }) {
            let counts = retried.await?;
            released += counts.0;
            quarantined += counts.1;
        }
        if let (Some(subject), 0) = (&self.subject, released + quarantined) {
            anyhow::bail!("{subject} is not quarantined; `dockhost quarantine list` lists what is");
        }
        println!("{released} released, {quarantined} still quarantined");
        Ok(if quarantined == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Returns how many aggregates were released and how many are still quarantined.
    async fn retry_model<M: ReadModel>(
        &self,
        store: &MongoStore,
        history: &LogHistory,
    ) -> anyhow::Result<(usize, usize)> {
        let (mut released, mut still) = (0, 0);
        for Unreadable { subject, .. } in quarantined::<M>(store).await? {
            if self.subject.as_ref().is_some_and(|only| *only != subject) {
                continue;
            }
            match release::<M>(store, history, &subject).await? {
                Release::Released | Release::NotQuarantined => {
                    println!("{}: {subject} is released", M::NAME);
                    released += 1;
                }
                Release::StillUnreadable(Unreadable { sequence, why, .. }) => {
                    println!("{}: {subject} is still quarantined, for event {sequence}: {why}", M::NAME);
                    still += 1;
                }
            }
        }
        Ok((released, still))
    }
}

struct RetryModel<'a> {
    retry: &'a Retry,
    store: &'a MongoStore,
    history: &'a LogHistory,
}

impl<'a> ModelVisitor for RetryModel<'a> {
    type Output = BoxFuture<'a, anyhow::Result<(usize, usize)>>;

    fn visit<M: ReadModel>(&mut self) -> Self::Output {
        let Self { retry, store, history } = *self;
        retry.retry_model::<M>(store, history).boxed()
    }
}
