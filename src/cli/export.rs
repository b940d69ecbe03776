//! `dockhost export`: copies the log and its keys into a directory, or what is new since the last export there.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::connection::{self, ConnectionArgs};
use super::progress;
use crate::backup::export::{ExportOptions, export};
use crate::broker::streams::{self, EVENTS, KEYS_BUCKET};
use crate::sealing::{BucketKeyStore, Keyring, LogAge};

/// The arguments of `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// A new or empty directory, or an earlier export of this log, which gets the new events.
    directory: PathBuf,
    /// Leave out the wrapped keys. Without them the personal values in the events can't be decrypted.
    #[arg(long)]
    without_keys: bool,
    /// Maximum number of events per file.
    #[arg(long, value_name = "EVENTS", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    segment: u64,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Export {
    /// Exports. An interrupted export continues when it is run again.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        match stop.run_until_cancelled(self.export()).await {
            Some(outcome) => outcome.map(|()| ExitCode::SUCCESS),
            None => {
                eprintln!("dockhost: interrupted; run the command again to continue");
                Ok(ExitCode::FAILURE)
            }
        }
    }

    async fn export(self) -> anyhow::Result<()> {
        let (secrets, urls) = self.connection.resolve()?;
        let broker = connection::connect(&secrets.nats, &urls, "dockhost-export").await?;
        let js = broker.jetstream();
        streams::find(js, EVENTS).await?;
        if !self.without_keys {
            // Fails now, and not at the restore, if the master key doesn't unwrap the keys.
            let bucket = js.get_key_value(KEYS_BUCKET).await.context("opening the bucket KEYS")?;
            Keyring::open(Arc::new(BucketKeyStore::new(bucket)), secrets.master_key, LogAge::InUse).await?;
        }
        let options = ExportOptions {
            directory: self.directory.clone(),
            per_segment: self.segment,
            with_keys: !self.without_keys,
        };
        let (manifest, new) = export(js, options, Box::new(progress::callback("export"))).await?;
        println!("{}: {} events, {new} of them new", self.directory.display(), manifest.last);
        match &manifest.keys {
            Some(keys) => println!("  {} wrapped keys in {}", keys.keys, keys.name),
            None => println!("  no keys"),
        }
        println!("  chain {}", manifest.chain);
        Ok(())
    }
}
