//! `dockhost admin backends`.

mod approve;
mod capacity;
mod drain;
mod end_key;
mod labels;
mod list;
mod one;
mod remove;
mod rotate_key;
mod show;

use clap::Subcommand;
use reqwest::Method;
use tokio_util::sync::CancellationToken;

use one::OneBackend;

/// The subcommands of `admin backends`.
#[derive(Debug, Subcommand)]
pub enum Backends {
    /// List backends.
    List(list::List),
    /// Show one backend.
    Show(show::Show),
    /// Let a backend that awaits approval take instances.
    Approve(approve::Approve),
    /// Set how many containers a backend may have.
    Capacity(capacity::Capacity),
    /// Set the labels of a backend, in place of those that it has.
    Labels(labels::SetLabels),
    /// Keep new instances away from a backend; those that are on it go on.
    Cordon(OneBackend),
    /// Let a backend take new instances again.
    Uncordon(OneBackend),
    /// Cordon a backend and stop what runs on it.
    Drain(drain::Drain),
    /// Show how far the drain of a backend is.
    DrainStatus(OneBackend),
    /// Undo a drain or a retirement; what was stopped stays stopped.
    Undrain(OneBackend),
    /// Drain a backend, and remove it as soon as it has no instances.
    Retire(drain::Drain),
    /// Revoke a backend's API key and close its connections.
    Revoke(end_key::EndKey),
    /// Issue another API key, in place of the current one, and print it.
    Key(end_key::EndKey),
    /// Issue another API key and print it; the one before stays valid for a while, and the agent fetches the new one.
    RotateKey(rotate_key::RotateKey),
    /// Remove a backend for good; also rejects one that awaits approval.
    Remove(remove::Remove),
}

impl Backends {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
            Self::Approve(approve) => approve.run().await,
            Self::Capacity(capacity) => capacity.run().await,
            Self::Labels(labels) => labels.run().await,
            Self::Cordon(backend) => backend.post("/cordon").await,
            Self::Uncordon(backend) => backend.post("/uncordon").await,
            Self::Drain(drain) => drain.run(false, stop).await,
            Self::DrainStatus(backend) => backend.send(Method::GET, "/drain", |request| request).await,
            Self::Undrain(backend) => backend.post("/undrain").await,
            Self::Retire(drain) => drain.run(true, stop).await,
            Self::Revoke(key) => key.revoke(stop).await,
            Self::Key(key) => key.replace(stop).await,
            Self::RotateKey(rotate) => rotate.run().await,
            Self::Remove(remove) => remove.run(stop).await,
        }
    }
}
