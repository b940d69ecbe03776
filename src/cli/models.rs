//! `dockhost rebuild` and `dockhost verify`: the read models against the log.
//!
//! In: the models to look at. Out: digests, every difference, and models made anew. Both work beside running replicas.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use dockhost_projections::ReadModel;
use dockhost_projections::backends::Backends;
use dockhost_projections::history::{Progress, Stage};
use dockhost_projections::instances::Instances;
use dockhost_projections::rebuild::{Rebuilt, rebuild, retire};
use dockhost_projections::sessions::Sessions;
use dockhost_projections::store::MongoStore;
use dockhost_projections::users::Users;
use dockhost_projections::verdict::Verdict;
use dockhost_projections::verify::verify;
use tokio_util::sync::CancellationToken;

use super::place::{Opened, Place};
use super::progress::Bar;
use crate::event_log::Filter;
use crate::event_log::past::Past;

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
    place: Place,
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

impl Chosen {
    async fn open(&self) -> anyhow::Result<(Past, MongoStore)> {
        let Opened { log, store, .. } = self.place.open().await?;
        Ok((Past(log), store))
    }

    fn wants(&self, model: Model) -> bool {
        self.model.is_none_or(|only| only == model)
    }
}

/// Shows how far each stage of each model is, one after the other.
#[derive(Default)]
struct Watch(Option<(&'static str, Stage, Bar)>);

impl Watch {
    fn see(&mut self, Progress { model, stage, done, total }: Progress) {
        let what = match stage {
            Stage::Fold => format!("{model}: log"),
            Stage::Compare => format!("{model}: documents"),
        };
        if let Some((_, _, bar)) = self.0.take_if(|(of, at, _)| (*of, *at) != (model, stage)) {
            bar.finish();
        }
        let begun = || if done == 0 { Bar::new(what, total) } else { Bar::resumed(what, done, total) };
        let (_, _, bar) = self.0.get_or_insert_with(|| (model, stage, begun()));
        bar.of(total);
        bar.at(done);
    }

    fn finish(self) {
        if let Some((_, _, bar)) = self.0 {
            bar.finish();
        }
    }
}

fn tell(verdict: &Verdict) {
    let word = if verdict.is_equal() { "equal" } else { "DIFFERENT" };
    println!("{}: {word}, {} documents at position {}", verdict.model, verdict.documents, verdict.position);
    println!("  stored   {}", verdict.stored);
    println!("  from log {}", verdict.expected);
    if verdict.quarantined > 0 {
        println!("  {} held back: see `dockhost quarantine list`", aggregates(verdict.quarantined));
    }
    for difference in &verdict.differences {
        println!("  {difference}");
    }
}

fn aggregates(count: usize) -> String {
    if count == 1 { "1 aggregate".to_owned() } else { format!("{count} aggregates") }
}

async fn verify_one<M: ReadModel>(past: &Past, store: &MongoStore, what_if: bool) -> anyhow::Result<bool> {
    let mut watch = Watch::default();
    let verdict = verify::<M>(store, past, &mut |progress| watch.see(progress)).await?;
    watch.finish();
    tell(&verdict);
    if what_if {
        match verdict.differences.len() {
            0 => println!("  a rebuild would change nothing"),
            1 => println!("  a rebuild would change 1 document"),
            count => println!("  a rebuild would change {count} documents"),
        }
    }
    // A model is compared as far as it is. One that holds nothing of a log with events is no model of it: another
    // database, or one that was lost.
    let untouched = verdict.position == 0 && past.0.end(Filter::Kind(M::KIND)).await? > 0;
    if untouched {
        println!("  EMPTY: the log has events of this model, and none was ever folded into it");
    }
    Ok(verdict.is_equal() && !untouched)
}

/// Rebuilds one model; what it replaced stays until [`retire`].
async fn rebuild_one<M: ReadModel>(past: &Past, store: &MongoStore) -> anyhow::Result<Rebuilt> {
    let mut watch = Watch::default();
    let rebuilt = rebuild::<M>(store, past, &mut |progress| watch.see(progress)).await?;
    watch.finish();
    if let Some(before) = &rebuilt.before {
        tell(before);
    }
    println!(
        "{}: rebuilt, {} documents at position {}, in {}",
        M::NAME,
        rebuilt.documents,
        rebuilt.position,
        rebuilt.collection
    );
    if rebuilt.quarantined > 0 {
        println!("  {} held back: see `dockhost quarantine list`", aggregates(rebuilt.quarantined));
    }
    Ok(rebuilt)
}

impl Verify {
    /// Compares; fails if anything differs.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        finished(stop.run_until_cancelled(compare(&self.chosen, false)).await)
    }
}

fn finished(equal: Option<anyhow::Result<bool>>) -> anyhow::Result<ExitCode> {
    match equal {
        Some(Ok(true)) => Ok(ExitCode::SUCCESS),
        Some(Ok(false)) | None => Ok(ExitCode::FAILURE),
        Some(Err(error)) => Err(error),
    }
}

async fn compare(chosen: &Chosen, what_if: bool) -> anyhow::Result<bool> {
    let (past, store) = chosen.open().await?;
    let mut equal = true;
    if chosen.wants(Model::Users) {
        equal &= verify_one::<Users>(&past, &store, what_if).await?;
    }
    if chosen.wants(Model::Backends) {
        equal &= verify_one::<Backends>(&past, &store, what_if).await?;
    }
    if chosen.wants(Model::Instances) {
        equal &= verify_one::<Instances>(&past, &store, what_if).await?;
    }
    if chosen.wants(Model::Sessions) {
        equal &= verify_one::<Sessions>(&past, &store, what_if).await?;
    }
    Ok(equal)
}

impl Rebuild {
    /// Rebuilds. Interrupted, it leaves the live models as they are.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        if self.dry_run {
            return finished(stop.run_until_cancelled(compare(&self.chosen, true)).await);
        }
        match stop.run_until_cancelled(remake(&self.chosen)).await {
            Some(done) => done.map(|()| ExitCode::SUCCESS),
            None => Ok(ExitCode::FAILURE),
        }
    }
}

async fn remake(chosen: &Chosen) -> anyhow::Result<()> {
    let (past, store) = chosen.open().await?;
    let (mut users, mut backends, mut instances, mut sessions) = (None, None, None, None);
    if chosen.wants(Model::Users) {
        users = Some(rebuild_one::<Users>(&past, &store).await?);
    }
    if chosen.wants(Model::Backends) {
        backends = Some(rebuild_one::<Backends>(&past, &store).await?);
    }
    if chosen.wants(Model::Instances) {
        instances = Some(rebuild_one::<Instances>(&past, &store).await?);
    }
    if chosen.wants(Model::Sessions) {
        sessions = Some(rebuild_one::<Sessions>(&past, &store).await?);
    }
    eprintln!("dropping what was replaced, once no reader can still ask it …");
    tokio::try_join!(
        drop_old::<Users>(&store, users.as_ref()),
        drop_old::<Backends>(&store, backends.as_ref()),
        drop_old::<Instances>(&store, instances.as_ref()),
        drop_old::<Sessions>(&store, sessions.as_ref()),
    )?;
    Ok(())
}

async fn drop_old<M: ReadModel>(store: &MongoStore, rebuilt: Option<&Rebuilt>) -> anyhow::Result<()> {
    match rebuilt {
        Some(rebuilt) => Ok(retire::<M>(store, rebuilt).await?),
        None => Ok(()),
    }
}
