//! `dockhost export`: the log and its keys into a directory. In: the directory. Out: a finished export, or what is new
//! since the last one.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::connection::{self, ConnectionArgs};
use super::progress;
use crate::backup::export::{ExportOptions, export};
use crate::broker::streams::KEYS_BUCKET;
use crate::sealing::{BucketKeyStore, Keyring, LogAge};

/// What `export` is told.
#[derive(Debug, Args)]
pub struct Export {
    /// A new or empty directory, or one that holds an export of this log: it gets what is new.
    directory: PathBuf,
    /// Leave the wrapped keys out. Without them, kept elsewhere, nothing personal in the events can be read.
    #[arg(long)]
    without_keys: bool,
    /// Events per file at most.
    #[arg(long, value_name = "EVENTS", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    segment: u64,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Export {
    /// Exports; interrupted, it may be run again.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        match stop.run_until_cancelled(self.export()).await {
            Some(outcome) => outcome.map(|()| ExitCode::SUCCESS),
            None => {
                eprintln!("dockhost: interrupted; run it again to go on");
                Ok(ExitCode::FAILURE)
            }
        }
    }

    async fn export(self) -> anyhow::Result<()> {
        let (secrets, urls) = self.connection.resolve()?;
        let broker = connection::connect(&secrets.nats, &urls, "dockhost-export").await?;
        let js = broker.jetstream();
        if !self.without_keys {
            // A copy of keys that the operator's master key does not open would be found out too late.
            let bucket = js.get_key_value(KEYS_BUCKET).await.context("opening the bucket KEYS")?;
            Keyring::open(Arc::new(BucketKeyStore::new(bucket)), secrets.master_key, LogAge::InUse).await?;
        }
        let order = ExportOptions {
            directory: self.directory.clone(),
            per_segment: self.segment,
            with_keys: !self.without_keys,
        };
        let (manifest, new) = export(js, order, Box::new(progress::reporter("export"))).await?;
        println!("{}: {} events, {new} of them new", self.directory.display(), manifest.last);
        match &manifest.keys {
            Some(keys) => println!("  {} wrapped keys in {}", keys.keys, keys.name),
            None => println!("  no keys"),
        }
        println!("  chain {}", manifest.chain);
        Ok(())
    }
}
