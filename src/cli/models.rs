//! `dockhost rebuild` and `dockhost verify`: the read models compared with the log, beside running replicas.

use std::process::ExitCode;

use clap::Args;
use clap::builder::PossibleValuesParser;
use dockhost_projections::comparison::{Comparison, Difference, DifferenceKind};
use dockhost_projections::rebuild::{Rebuilt, drop_replaced, rebuild_all};
use dockhost_projections::verify::verify_all;
use dockhost_projections::{MODELS, ModelResult, ProjectionError};
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, ClusterArgs};
use super::models_progress::ModelsProgress;
use crate::event_log::history::LogHistory;
use crate::event_log::{EventLog, Filter};

/// Which models, and where they are.
#[derive(Debug, Args)]
struct Selection {
    /// Only this model [default: all]
    #[arg(long = "projection", value_name = "NAME")]
    #[arg(value_parser = PossibleValuesParser::new(MODELS.iter().map(|model| model.name)))]
    model: Option<String>,
    /// Print the values that differ, which contain personal data [default: only where they are]
    #[arg(long)]
    show_values: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Differing documents that are printed; a difference in every document would flood the terminal.
const MAX_PRINTED_DIFFERENCES: usize = 100;

/// The arguments of `rebuild`.
#[derive(Debug, Args)]
pub struct Rebuild {
    /// Only compare, and print what a rebuild would change; fails if it would change anything
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    selection: Selection,
}

/// The arguments of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    selection: Selection,
}

impl Verify {
    /// Compares; fails if anything differs.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        self.selection.verify(false, stop).await
    }
}

impl Rebuild {
    /// Rebuilds. If it is interrupted, the live models are unchanged.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        if self.dry_run {
            return self.selection.verify(true, stop).await;
        }
        let Selection { model, show_values, cluster } = self.selection;
        match stop.run_until_cancelled(cluster.with(|opened| rebuild(model, opened, show_values))).await {
            Some(done) => done.map(|()| ExitCode::SUCCESS),
            None => Ok(ExitCode::FAILURE),
        }
    }
}

impl Selection {
    async fn verify(self, dry_run: bool, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let Self { model, show_values, cluster } = self;
        match stop.run_until_cancelled(cluster.with(|opened| verify(model, opened, (dry_run, show_values)))).await {
            Some(Ok(true)) => Ok(ExitCode::SUCCESS),
            Some(Ok(false)) | None => Ok(ExitCode::FAILURE),
            Some(Err(error)) => Err(error),
        }
    }
}

/// Compares the models and prints the results, also if one fails; returns whether all are equal.
async fn verify(only: Option<String>, cluster: Cluster, (dry_run, show_values): (bool, bool)) -> anyhow::Result<bool> {
    preload_keys(&cluster).await;
    let Cluster { log, store, .. } = cluster;
    let (history, progress) = (LogHistory(log.clone()), ModelsProgress::default());
    let results = verify_all(&store, &history, only.as_deref(), &|one| progress.update(one)).await;
    progress.finish();
    let (mut equal, mut failed) = (true, None);
    for ModelResult { model, result } in results? {
        let comparison = match result {
            Ok(comparison) => comparison,
            Err(error) => {
                failed = failed.or(Some(error));
                continue;
            }
        };
        print_comparison(&comparison, show_values);
        if dry_run {
            match comparison.differences.len() {
                0 => println!("  a rebuild would change nothing"),
                1 => println!("  a rebuild would change 1 document"),
                count => println!("  a rebuild would change {count} documents"),
            }
        }
        // A model is compared up to its position. If that is the start of a log with events of its kind, it is the wrong
        // database, or one that lost its data.
        let kind = MODELS.iter().find(|known| known.name == model).map_or("", |known| known.kind);
        let empty = comparison.position == 0 && log.end(Filter::Kind(kind)).await? > 0;
        if empty {
            println!("  EMPTY: the log has events for this model, and none was ever folded");
        }
        equal &= comparison.is_equal() && !empty;
    }
    failed.map_or(Ok(equal), |error| Err(error.into()))
}

/// Rebuilds the models and prints the results, also if one fails; then drops what was replaced.
async fn rebuild(only: Option<String>, cluster: Cluster, show_values: bool) -> anyhow::Result<()> {
    preload_keys(&cluster).await;
    let Cluster { log, store, .. } = cluster;
    let (history, progress) = (LogHistory(log), ModelsProgress::default());
    let results = rebuild_all(&store, &history, only.as_deref(), &|one| progress.update(one)).await;
    progress.finish();
    let results = results?;
    for rebuilt in results.iter().filter_map(|one| one.result.as_ref().ok()) {
        print_rebuilt(rebuilt, show_values);
    }
    let rebuilt: Vec<Rebuilt> = results.into_iter().map(|one| one.result).collect::<Result<_, ProjectionError>>()?;
    eprintln!("waiting until no reader uses the replaced collections, then dropping them …");
    Ok(drop_replaced(&store, &rebuilt).await?)
}

/// Reads all keys of personal data at once. If that fails, each is read when it is needed.
async fn preload_keys(cluster: &Cluster) {
    if let Err(error) = cluster.log.keyring().preload().await {
        tracing::warn!(%error, "could not preload the keys; reading each when needed");
    }
}

fn print_comparison(comparison: &Comparison, show_values: bool) {
    let result = if comparison.is_equal() { "equal" } else { "DIFFERENT" };
    println!("{}: {result}, {} documents at position {}", comparison.model, comparison.documents, comparison.position);
    println!("  stored   {}", comparison.stored);
    println!("  from log {}", comparison.expected);
    print_quarantined(comparison.quarantined);
    for difference in comparison.differences.iter().take(MAX_PRINTED_DIFFERENCES) {
        println!("  {}", describe(difference, show_values));
    }
    match comparison.differences.len() {
        count if count > MAX_PRINTED_DIFFERENCES => {
            println!("  … {count} documents differ; the first {MAX_PRINTED_DIFFERENCES} are listed");
        }
        0 => {}
        count => println!("  documents that differ: {count}"),
    }
}

/// A difference; without the values it names only the members that differ.
fn describe(difference: &Difference, show_values: bool) -> String {
    match &difference.kind {
        DifferenceKind::Content(members) if !show_values => {
            let paths: Vec<_> = members.iter().map(|member| member.path.as_str()).collect();
            format!("{} differs in {}", difference.id, paths.join(", "))
        }
        _ => difference.to_string(),
    }
}

fn print_rebuilt(rebuilt: &Rebuilt, show_values: bool) {
    match &rebuilt.before {
        Some(before) => print_comparison(before, show_values),
        None => println!(
            "{}: not compared with the documents before: they have another fold version, or are of another log",
            rebuilt.model
        ),
    }
    let Rebuilt { model, documents, position, collection, quarantined, .. } = rebuilt;
    println!("{model}: rebuilt, {documents} documents at position {position}, in {collection}");
    print_quarantined(*quarantined);
}

fn print_quarantined(aggregates: usize) {
    match aggregates {
        0 => {}
        1 => println!("  1 aggregate quarantined: see `dockhost quarantine list`"),
        count => println!("  {count} aggregates quarantined: see `dockhost quarantine list`"),
    }
}

#[cfg(test)]
mod tests {
    use dockhost_projections::digest::mismatches;
    use serde_json::json;

    use super::*;

    #[test]
    fn describe_without_values_names_the_members_only() {
        let members = mismatches(&json!({ "email": "a@b.c", "seq": 1 }), &json!({ "email": "x@y.z", "seq": 2 }));
        let difference = Difference { id: "one".to_owned(), kind: DifferenceKind::Content(members) };
        assert_eq!(describe(&difference, false), "one differs in email, seq");
        assert!(describe(&difference, true).contains("x@y.z"));
    }
}
