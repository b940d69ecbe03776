//! `dockhost rebuild` and `dockhost verify`: the read models against the log.
//!
//! In: the models to look at. Out: digests, every difference, and models made anew. Both work beside running replicas.
//! All models are looked at side by side, each in a task of its own, over one reading of the log; what is told of them
//! is told at the end, in order.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use dockhost_projections::backends::Backends;
use dockhost_projections::comparison::Comparison;
use dockhost_projections::instances::Instances;
use dockhost_projections::rebuild::{Rebuilt, drop_replaced, rebuild};
use dockhost_projections::sessions::Sessions;
use dockhost_projections::store::MongoStore;
use dockhost_projections::users::Users;
use dockhost_projections::verify::verify;
use dockhost_projections::{History, ReadModel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::cluster::{Cluster, ClusterArgs};
use super::models_progress::ModelsProgress;
use crate::event_log::history::LogHistory;
use crate::event_log::shared_scan::shared_scans;
use crate::event_log::{EventLog, Filter};

/// A read model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Model {
    Users,
    Backends,
    Instances,
    Sessions,
}

/// Which models, and where they are.
#[derive(Debug, Args)]
struct Chosen {
    /// Only this model; all of them if not given.
    #[arg(long = "projection", value_name = "NAME", value_enum)]
    model: Option<Model>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What `rebuild` is told.
#[derive(Debug, Args)]
pub struct Rebuild {
    /// Compare only, and say what would change; fails if anything would.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    chosen: Chosen,
}

/// What `verify` is told.
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    chosen: Chosen,
}

/// Where the work on one model is done, and who is told of it.
#[derive(Clone)]
struct At {
    log: Arc<dyn EventLog>,
    store: MongoStore,
    watch: ModelsProgress,
}

impl At {
    async fn ready(Cluster { log, store, .. }: Cluster) -> Self {
        if let Err(error) = log.keyring().preload().await {
            tracing::warn!(%error, "the keys could not be gathered; each is asked for by itself");
        }
        Self { log, store, watch: ModelsProgress::default() }
    }
}

fn tell(comparison: &Comparison) {
    let word = if comparison.is_equal() { "equal" } else { "DIFFERENT" };
    println!("{}: {word}, {} documents at position {}", comparison.model, comparison.documents, comparison.position);
    println!("  stored   {}", comparison.stored);
    println!("  from log {}", comparison.expected);
    if comparison.quarantined > 0 {
        println!("  {} held back: see `dockhost quarantine list`", aggregates(comparison.quarantined));
    }
    for difference in &comparison.differences {
        println!("  {difference}");
    }
}

fn aggregates(count: usize) -> String {
    if count == 1 { "1 aggregate".to_owned() } else { format!("{count} aggregates") }
}

/// Compares one model; returns what was found, and whether it holds nothing although the log holds something of it.
async fn verify_one<M: ReadModel>(at: At, history: impl History) -> anyhow::Result<(Comparison, bool)> {
    let comparison = verify::<M>(&at.store, &history, &mut |progress| at.watch.see(progress)).await?;
    // Others may wait for what this one would have read.
    drop(history);
    // A model is compared as far as it is. One that holds nothing of a log with events is no model of it: another
    // database, or one that was lost.
    let untouched = comparison.position == 0 && at.log.end(Filter::Kind(M::KIND)).await? > 0;
    Ok((comparison, untouched))
}

fn tell_verified((comparison, untouched): &(Comparison, bool), what_if: bool) -> bool {
    tell(comparison);
    if what_if {
        match comparison.differences.len() {
            0 => println!("  a rebuild would change nothing"),
            1 => println!("  a rebuild would change 1 document"),
            count => println!("  a rebuild would change {count} documents"),
        }
    }
    if *untouched {
        println!("  EMPTY: the log has events of this model, and none was ever folded into it");
    }
    comparison.is_equal() && !untouched
}

/// Rebuilds one model; what it replaced stays until [`drop_replaced`].
async fn rebuild_one<M: ReadModel>(at: At, history: impl History) -> anyhow::Result<Rebuilt> {
    Ok(rebuild::<M>(&at.store, &history, &mut |progress| at.watch.see(progress)).await?)
}

fn tell_rebuilt(model: &str, rebuilt: &Rebuilt) {
    if let Some(before) = &rebuilt.before {
        tell(before);
    }
    let Rebuilt { documents, position, collection, quarantined, .. } = rebuilt;
    println!("{model}: rebuilt, {documents} documents at position {position}, in {collection}");
    if *quarantined > 0 {
        println!("  {} held back: see `dockhost quarantine list`", aggregates(*quarantined));
    }
}

/// Does one thing with each chosen model: with all of them side by side, over one reading of the log.
macro_rules! with_each {
    ($chosen:expr, $at:expr, $act:ident) => {{
        let at: &At = $at;
        let (mut users, mut backends, mut instances, mut sessions) = (None, None, None, None);
        match $chosen {
            Some(only) => {
                let past = LogHistory(Arc::clone(&at.log));
                match only {
                    Model::Users => users = Some($act::<Users>(at.clone(), past).await),
                    Model::Backends => backends = Some($act::<Backends>(at.clone(), past).await),
                    Model::Instances => instances = Some($act::<Instances>(at.clone(), past).await),
                    Model::Sessions => sessions = Some($act::<Sessions>(at.clone(), past).await),
                }
            }
            None => {
                let [a, b, c, d] =
                    shared_scans(&at.log, [Users::KIND, Backends::KIND, Instances::KIND, Sessions::KIND]);
                let all = tokio::join!(
                    apart($act::<Users>(at.clone(), a)),
                    apart($act::<Backends>(at.clone(), b)),
                    apart($act::<Instances>(at.clone(), c)),
                    apart($act::<Sessions>(at.clone(), d)),
                );
                (users, backends, instances, sessions) = (Some(all.0), Some(all.1), Some(all.2), Some(all.3));
            }
        }
        at.watch.finish();
        (users.transpose(), backends.transpose(), instances.transpose(), sessions.transpose())
    }};
}

/// In a task of its own, which ends with whoever waits for it.
async fn apart<T: Send + 'static>(work: impl Future<Output = anyhow::Result<T>> + Send + 'static) -> anyhow::Result<T> {
    AbortOnDropHandle::new(tokio::spawn(work)).await?
}

impl Verify {
    /// Compares; fails if anything differs.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let Chosen { model, cluster } = self.chosen;
        finished(stop.run_until_cancelled(cluster.with(|opened| compare(model, opened, false))).await)
    }
}

fn finished(equal: Option<anyhow::Result<bool>>) -> anyhow::Result<ExitCode> {
    match equal {
        Some(Ok(true)) => Ok(ExitCode::SUCCESS),
        Some(Ok(false)) | None => Ok(ExitCode::FAILURE),
        Some(Err(error)) => Err(error),
    }
}

async fn compare(chosen: Option<Model>, opened: Cluster, what_if: bool) -> anyhow::Result<bool> {
    let at = At::ready(opened).await;
    let (users, backends, instances, sessions) = with_each!(chosen, &at, verify_one);
    let (mut equal, mut failed) = (true, None);
    for found in [users, backends, instances, sessions] {
        match found {
            Ok(found) => equal &= found.is_none_or(|found| tell_verified(&found, what_if)),
            // What is known of the others is told all the same.
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(equal), Err)
}

impl Rebuild {
    /// Rebuilds. Interrupted, it leaves the live models as they are.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let Chosen { model, cluster } = self.chosen;
        if self.dry_run {
            return finished(stop.run_until_cancelled(cluster.with(|opened| compare(model, opened, true))).await);
        }
        match stop.run_until_cancelled(cluster.with(|opened| remake(model, opened))).await {
            Some(done) => done.map(|()| ExitCode::SUCCESS),
            None => Ok(ExitCode::FAILURE),
        }
    }
}

async fn remake(chosen: Option<Model>, opened: Cluster) -> anyhow::Result<()> {
    let at = At::ready(opened).await;
    let (users, backends, instances, sessions) = with_each!(chosen, &at, rebuild_one);
    let done = [
        (Users::NAME, &users),
        (Backends::NAME, &backends),
        (Instances::NAME, &instances),
        (Sessions::NAME, &sessions),
    ];
    for (model, rebuilt) in done {
        if let Ok(Some(rebuilt)) = rebuilt {
            tell_rebuilt(model, rebuilt);
        }
    }
    let (users, backends, instances, sessions) = (users?, backends?, instances?, sessions?);
    eprintln!("dropping what was replaced, once no reader can still ask it …");
    tokio::try_join!(
        drop_old::<Users>(&at.store, users.as_ref()),
        drop_old::<Backends>(&at.store, backends.as_ref()),
        drop_old::<Instances>(&at.store, instances.as_ref()),
        drop_old::<Sessions>(&at.store, sessions.as_ref()),
    )?;
    Ok(())
}

async fn drop_old<M: ReadModel>(store: &MongoStore, rebuilt: Option<&Rebuilt>) -> anyhow::Result<()> {
    match rebuilt {
        Some(rebuilt) => Ok(drop_replaced::<M>(store, rebuilt).await?),
        None => Ok(()),
    }
}
