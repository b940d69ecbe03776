//! `dockhost import`: restores an export into an empty broker, or only checks the export.

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

/// The arguments of `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// Directory of a complete export.
    directory: PathBuf,
    /// Only check the files against their hashes and the hash chain. Needs no broker and no secrets.
    #[arg(long)]
    check: bool,
    /// Don't import keys: the bucket KEYS has them already, or they are stored elsewhere.
    #[arg(long)]
    without_keys: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    streams: StreamArgs,
}

impl Import {
    /// Whether it only reads files.
    pub const fn only_checks(&self) -> bool {
        self.check
    }

    /// Imports or checks. An interrupted import continues when it is run again.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let only_check = self.check;
        match stop.run_until_cancelled(self.import(&stop)).await {
            Some(outcome) => outcome.map(|()| ExitCode::SUCCESS),
            None if only_check => Ok(ExitCode::FAILURE),
            None => {
                eprintln!("dockhost: interrupted; run the command again to continue");
                Ok(ExitCode::FAILURE)
            }
        }
    }

    async fn import(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let manifest = check::finished(&self.directory)?;
        if self.check {
            self.verify(&manifest, stop).await?;
            println!("{}: {} events, unchanged since the export", self.directory.display(), manifest.last);
            println!("  chain {}", manifest.chain);
            return Ok(());
        }
        let (secrets, urls) = self.connection.resolve()?;
        let nats = secrets.nats;
        let keys = match &manifest.keys {
            _ if self.without_keys => KeySource::Bucket(secrets.master_key),
            None => {
                bail!("this export has no keys; use --without-keys if the bucket KEYS of the broker has them already")
            }
            Some(file) => {
                let keys = keys::read(&self.directory, file)?;
                check_master_key(&keys, &secrets.master_key)?;
                KeySource::Export(keys)
            }
        };
        self.verify(&manifest, stop).await?;
        let broker = connection::connect(&nats, &urls, "dockhost-import").await?;
        let options =
            ImportOptions { directory: self.directory.clone(), keys, streams: self.streams.options(), manifest };
        let last = options.manifest.last;
        let mut reporter = ProgressReporter::default();
        let mut report = |phase, done, total| {
            let task = match phase {
                Phase::Compare => "compare",
                Phase::Keys => "keys",
                Phase::Events => "import",
            };
            reporter.report(task, done, total);
        };
        let new = import(broker.jetstream(), options, &mut report).await?;
        reporter.finish();
        println!("the log has {last} events; this run stored {new} of them");
        println!("  to build the read models, start a server with an empty database or run `dockhost rebuild`");
        Ok(())
    }

    /// Reads and checks all files, on a blocking thread.
    async fn verify(&self, manifest: &Manifest, stop: &CancellationToken) -> anyhow::Result<()> {
        let (directory, manifest, with_keys) = (self.directory.clone(), manifest.clone(), !self.without_keys);
        let stop = stop.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let mut report = progress::callback("check");
            let total = manifest.last;
            check::all(&directory, &manifest, with_keys, |done| {
                report(done, total);
                // A blocking thread can't be cancelled: without this, the program would end only after the last file.
                !stop.is_cancelled()
            })
        });
        Ok(checked.await.context("the check panicked")??)
    }
}
