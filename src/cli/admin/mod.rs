//! `dockhost admin`: what administrators and the operator do from the command line. One file per subcommand.
//!
//! `create` works on the log, beside the servers. All others are clients of the API: what they can do, the API can.
//! `api` has what the clients of the API share.

mod backends;
mod create;
mod enrolment_tokens;
pub mod events;
mod groups;
mod instances;
mod invitations;
mod login;
mod placement;
mod quarantine;
mod sessions;
mod settings;
mod usage;
mod users;
mod webhooks;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::api::{EXIT_CODES, reported, success};
use super::user::Logout;
use super::{block_on, password};

/// The arguments of `admin`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Admin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create an administrator, or make an existing user one. Runs beside the servers, with their environment.
    Create(Box<create::Create>),
    /// Sign in at a server, for the commands below.
    Login(login::Login),
    /// End the session of `login`.
    Logout(Logout),
    /// Users.
    #[command(subcommand)]
    Users(users::Users),
    /// Backends.
    #[command(subcommand)]
    Backends(backends::Backends),
    /// Tokens with which backends are registered.
    #[command(subcommand)]
    EnrolmentTokens(enrolment_tokens::EnrolmentTokens),
    /// Groups of users, such as a class.
    #[command(subcommand)]
    Groups(groups::Groups),
    /// Invitations, with which people sign up.
    #[command(subcommand)]
    Invitations(invitations::Invitations),
    /// Instances.
    #[command(subcommand)]
    Instances(instances::Instances),
    /// Where instances are placed.
    #[command(subcommand)]
    Placement(placement::Placement),
    /// Aggregates with an event that can't be read.
    #[command(subcommand)]
    Quarantine(quarantine::Quarantine),
    /// Sessions and API tokens.
    #[command(subcommand)]
    Sessions(sessions::Sessions),
    /// Show the settings of the server that answers; of secrets only whether they are set.
    Settings(settings::Settings),
    /// Show how long instances ran in a period.
    Usage(usage::Usage),
    /// URLs to which the events of everybody are sent.
    #[command(subcommand)]
    Webhooks(webhooks::Webhooks),
}

impl Admin {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// What the subcommand says, unless it is the API's: that is printed, and has its own exit code.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let done = match self.command {
            Command::Create(create) => return create.run(),
            Command::Login(login) => {
                let password = password::read()?;
                block_on(|_| success(login.run(password)))
            }
            Command::Logout(logout) => block_on(|_| success(logout.run())),
            Command::Users(users) => block_on(|stop| async move { success(users.run(&stop)).await }),
            Command::Backends(backends) => block_on(|stop| async move { success(backends.run(&stop)).await }),
            Command::EnrolmentTokens(tokens) => block_on(|_| success(tokens.run())),
            Command::Groups(groups) => block_on(|stop| async move { success(groups.run(&stop)).await }),
            Command::Invitations(invitations) => block_on(|_| success(invitations.run())),
            Command::Instances(instances) => block_on(|stop| async move { success(instances.run(&stop)).await }),
            Command::Placement(placement) => block_on(|_| success(placement.run())),
            Command::Quarantine(quarantine) => block_on(|_| success(quarantine.run())),
            Command::Sessions(sessions) => block_on(|_| success(sessions.run())),
            Command::Settings(settings) => block_on(|_| success(settings.run())),
            Command::Usage(usage) => block_on(|_| success(usage.run())),
            Command::Webhooks(webhooks) => block_on(|_| success(webhooks.run())),
        };
        reported(done)
    }
}

#[cfg(test)]
mod tests;
