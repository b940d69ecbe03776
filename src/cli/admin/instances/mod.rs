//! `dockhost admin instances`.

mod change;
mod history;
mod list;
mod settings;

use clap::Subcommand;
use tokio_util::sync::CancellationToken;

use crate::cli::api::action::Action;

/// The subcommands of `admin instances`.
#[derive(Debug, Subcommand)]
pub enum Instances {
    /// Show what happened to an instance: each event, who caused it, and what it changed.
    History(history::History),
    /// List the instances of all users.
    List(list::List),
    /// Stop an instance of anyone; its files are kept.
    Stop(change::Change),
    /// Resume an instance of anyone.
    Resume(change::Change),
    /// Change the name of an instance of anyone, or when it is stopped; it is not restarted.
    Change(settings::ChangeSettings),
    /// Delete an instance of anyone, with its files.
    Delete(change::Change),
}

impl Instances {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        match self {
            Self::History(history) => history.run().await,
            Self::List(list) => list.run().await,
            Self::Stop(change) => change.run(Action::Stop, stop).await,
            Self::Resume(change) => change.run(Action::Resume, stop).await,
            Self::Change(change) => change.run(stop).await,
            Self::Delete(change) => change.run(Action::Delete, stop).await,
        }
    }
}
