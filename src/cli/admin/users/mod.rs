//! `dockhost admin users`.

mod disable;
mod enable;
mod erase;
mod list;
mod one;
mod quota;
mod reset_password;
mod role;
mod show;
mod sign_out;

pub use one::OneUser;

use clap::Subcommand;
use tokio_util::sync::CancellationToken;

/// The subcommands of `admin users`.
#[derive(Debug, Subcommand)]
pub enum Users {
    /// List users.
    List(list::List),
    /// Show one user.
    Show(show::Show),
    /// Make a user an administrator, or take that away.
    Role(role::Role),
    /// Disable the account of a user: nobody can sign in, and the instances are stopped.
    Disable(disable::Disable),
    /// Enable a disabled account.
    Enable(enable::Enable),
    /// End all sessions of a user.
    SignOut(sign_out::SignOut),
    /// Print a token with which a user sets a new password, once, within 24 hours.
    ResetPassword(reset_password::ResetPassword),
    /// Erase a user for good, with all instances and everything that is personal.
    Erase(erase::Erase),
    /// Show or set what the instances of a user may be and use in all.
    Quota(quota::Quota),
}

impl Users {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
            Self::Role(role) => role.run(stop).await,
            Self::Disable(disable) => disable.run(stop).await,
            Self::Enable(enable) => enable.run(stop).await,
            Self::SignOut(sign_out) => sign_out.run(stop).await,
            Self::ResetPassword(reset) => reset.run(stop).await,
            Self::Erase(erase) => erase.run(stop).await,
            Self::Quota(quota) => quota.run(stop).await,
        }
    }
}
