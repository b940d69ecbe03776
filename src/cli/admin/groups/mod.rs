//! `dockhost admin groups`.

mod change;
mod create;
mod delete;
mod list;
mod member;

use clap::Subcommand;
use tokio_util::sync::CancellationToken;

/// The subcommands of `admin groups`.
#[derive(Debug, Subcommand)]
pub enum Groups {
    /// Create a group.
    Create(create::Create),
    /// List the groups; `admin users list --group` lists the members of one.
    List(list::List),
    /// Rename a group, or change its quota, its end or how long its members' instances may run.
    Change(change::Change),
    /// Delete a group in which nobody is.
    Delete(delete::Delete),
    /// Put a user into a group.
    Add(member::Add),
    /// Take a user out of their group.
    Remove(member::Remove),
}

impl Groups {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run().await,
            Self::List(list) => list.run().await,
            Self::Change(change) => change.run(stop).await,
            Self::Delete(delete) => delete.run(stop).await,
            Self::Add(add) => add.run(stop).await,
            Self::Remove(remove) => remove.run(stop).await,
        }
    }
}
