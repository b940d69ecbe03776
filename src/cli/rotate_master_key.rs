//! `dockhost rotate-master-key`: wraps every stored key by the new master key, beside running servers.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::connection::{self, ConnectionArgs};
use super::progress;
use crate::broker::streams::KEYS_BUCKET;
use crate::sealing::{BucketKeyStore, rotate};

/// The arguments of `rotate-master-key`.
#[derive(Debug, Args)]
#[command(
    after_help = "Set DOCKHOST_MASTER_KEY to the new key and DOCKHOST_MASTER_KEY_PREVIOUS to the one before. Every running \
                  server must accept both: docs/OPERATIONS.md, \"Rotate secrets\", has the steps."
)]
pub struct RotateMasterKey {
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl RotateMasterKey {
    /// Wraps the keys. An interrupted rotation continues when it is run again.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        match stop.run_until_cancelled(self.rotate()).await {
            Some(outcome) => outcome,
            None => {
                eprintln!("dockhost: interrupted; run the command again to continue");
                Ok(ExitCode::FAILURE)
            }
        }
    }

    async fn rotate(self) -> anyhow::Result<ExitCode> {
        let (secrets, urls) = self.connection.resolve()?;
        if !secrets.master_key.has_other() {
            bail!("DOCKHOST_MASTER_KEY_PREVIOUS is not set; it must be the master key before");
        }
        let broker = connection::connect(&secrets.nats, &urls, "dockhost-rotate-master-key").await?;
        let bucket = broker.jetstream().get_key_value(KEYS_BUCKET).await.context("opening the bucket KEYS")?;
        let show = progress::callback("rotate-master-key");
        let rotation = rotate(&BucketKeyStore::new(bucket), &secrets.master_key, show).await?;
        println!("{} keys wrapped by the new master key, {} were already", rotation.rewrapped, rotation.unchanged);
        for name in &rotation.unreadable {
            eprintln!("dockhost: neither master key unwraps the key {name}");
        }
        if !rotation.unreadable.is_empty() {
            return Ok(ExitCode::FAILURE);
        }
        println!("DOCKHOST_MASTER_KEY_PREVIOUS is no longer needed; remove it and restart the servers one by one");
        Ok(ExitCode::SUCCESS)
    }
}
