//! `dockhost import`: an export into an empty system; or only its check. In: the directory. Out: the same log, or a
//! refusal before anything is stored.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::connection::{self, ConnectionArgs};
use super::progress::{self, ProgressReporter};
use crate::app::config::StreamArgs;
use crate::backup::import::{ImportOptions, KeySource, Phase, check_master_key, import};
use crate::backup::manifest::Manifest;
use crate::backup::{check, keys};

/// What `import` is told.
#[derive(Debug, Args)]
pub struct Import {
    /// The directory of a finished export.
    directory: PathBuf,
    /// Only check the files against their hashes and the chain; needs no server and no secret.
    #[arg(long)]
    check: bool,
    /// The keys are in the bucket KEYS already, or are kept elsewhere.
    #[arg(long)]
    without_keys: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    streams: StreamArgs,
}

impl Import {
    /// Imports or checks; interrupted, it may be run again.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let only_check = self.check;
        match stop.run_until_cancelled(self.import(&stop)).await {
            Some(outcome) => outcome.map(|()| ExitCode::SUCCESS),
            None if only_check => Ok(ExitCode::FAILURE),
            None => {
                eprintln!("dockhost: interrupted; run it again to go on");
                Ok(ExitCode::FAILURE)
            }
        }
    }

    async fn import(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let manifest = check::finished(&self.directory)?;
        if self.check {
            self.verify(&manifest, stop).await?;
            println!("{}: {} events, as they were exported", self.directory.display(), manifest.last);
            println!("  chain {}", manifest.chain);
            return Ok(());
        }
        let (secrets, urls) = self.connection.resolve()?;
        let nats = secrets.nats;
        let keys = match &manifest.keys {
            _ if self.without_keys => KeySource::Bucket(secrets.master_key),
            None => bail!(
                "this export holds no keys; if the bucket KEYS of the broker holds them already, say --without-keys"
            ),
            Some(file) => {
                let keys = keys::read(&self.directory, file)?;
                check_master_key(&keys, &secrets.master_key)?;
                KeySource::Export(keys)
            }
        };
        self.verify(&manifest, stop).await?;
        let broker = connection::connect(&nats, &urls, "dockhost-import").await?;
        let order =
            ImportOptions { directory: self.directory.clone(), keys, streams: self.streams.options(), manifest };
        let last = order.manifest.last;
        let mut shown: Option<(Phase, ProgressReporter)> = None;
        let mut report = |part, done, total| {
            if shown.as_ref().is_none_or(|(before, _)| *before != part) {
                let what = match part {
                    Phase::Compare => "compare",
                    Phase::Keys => "keys",
                    Phase::Events => "import",
                };
                shown = Some((
                    part,
                    if done == 0 {
                        ProgressReporter::new(what, total)
                    } else {
                        ProgressReporter::resumed(what, done, total)
                    },
                ));
            }
            if let Some((_, bar)) = &mut shown {
                bar.set_position(done);
            }
        };
        let new = import(broker.jetstream(), order, &mut report).await?;
        if let Some((_, bar)) = shown {
            bar.finish();
        }
        println!("the log holds {last} events, {new} of them stored now");
        println!("  the read models are made from it: start a server on an empty database, or run `dockhost rebuild`");
        Ok(())
    }

    /// Reads all of it, on a thread that may block.
    async fn verify(&self, manifest: &Manifest, stop: &CancellationToken) -> anyhow::Result<()> {
        let (directory, manifest, with_keys) = (self.directory.clone(), manifest.clone(), !self.without_keys);
        let stop = stop.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let mut report = progress::reporter("check");
            let total = manifest.last;
            check::all(&directory, &manifest, with_keys, |done| {
                report(done, total);
                // Or the program would end only once all of it was read.
                !stop.is_cancelled()
            })
        });
        Ok(checked.await.context("the checking task ended")??)
    }
}
