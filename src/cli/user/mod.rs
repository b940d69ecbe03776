//! What people do from the command line: from an account to a shell in three commands. One file per command. All are clients
//! of the API.

mod change;
mod config_ssh;
mod create;
mod history;
mod host_keys;
mod key_file;
mod keys;
mod list;
mod login;
mod logout;
mod settings;
mod sign_up;
mod ssh;
mod webhooks;

use std::process::ExitCode;

use clap::Subcommand;

use super::api::action::Action;
use super::api::{EXIT_CODES, reported, success};
use super::{block_on, password};

pub use logout::Logout;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sign in at a server, for the commands below and for `admin`. Asks for the password.
    #[command(after_help = EXIT_CODES)]
    Login(login::Login),
    /// End the session of `login`.
    #[command(after_help = EXIT_CODES)]
    Logout(Logout),
    /// Make an account at a server, and sign in. Asks for the password.
    #[command(after_help = EXIT_CODES)]
    Signup(sign_up::SignUp),
    /// Create an instance.
    #[command(after_help = EXIT_CODES)]
    Create(create::Create),
    /// List your instances.
    #[command(visible_alias = "list", after_help = EXIT_CODES)]
    Ls(list::List),
    /// Log in to an instance, or run a command there.
    #[command(after_help = ssh::EXIT_CODES)]
    Ssh(ssh::Ssh),
    /// Stop instances; their files are kept.
    #[command(after_help = EXIT_CODES)]
    Stop(change::Change),
    /// Start stopped instances again.
    #[command(after_help = EXIT_CODES)]
    Resume(change::Change),
    /// Change the name of an instance, or when it is stopped; it is not restarted.
    #[command(after_help = EXIT_CODES)]
    Change(settings::ChangeSettings),
    /// Delete instances with their files.
    #[command(visible_alias = "delete", after_help = EXIT_CODES)]
    Rm(change::Delete),
    /// Show what happened to an instance.
    #[command(after_help = EXIT_CODES)]
    History(history::History),
    /// Your SSH keys.
    #[command(subcommand, after_help = EXIT_CODES)]
    Keys(keys::Keys),
    /// URLs to which what happens is sent.
    #[command(subcommand, after_help = EXIT_CODES)]
    Webhooks(webhooks::Webhooks),
    /// Write your instances into `~/.ssh/config`, so that `ssh NAME.dockhost`, scp and editors find them.
    #[command(after_help = EXIT_CODES)]
    ConfigSsh(config_ssh::ConfigSsh),
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// What the command says, unless it is the API's: that is printed, and has its own exit code.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        reported(match self {
            Self::Login(login) => block_on(|_| success(login.run())),
            Self::Logout(logout) => block_on(|_| success(logout.run())),
            Self::Signup(sign_up) => {
                let password = password::read_new()?;
                block_on(|_| success(sign_up.run(password)))
            }
            Self::Create(create) => block_on(|_| success(create.run())),
            Self::Ls(list) => block_on(|_| success(list.run())),
            Self::Ssh(ssh) => block_on(|_| ssh.run()),
            Self::Stop(change) => block_on(|_| success(change.run(Action::Stop))),
            Self::Resume(change) => block_on(|_| success(change.run(Action::Resume))),
            Self::Change(change) => block_on(|_| success(change.run())),
            Self::Rm(delete) => block_on(|stop| async move { success(delete.run(&stop)).await }),
            Self::History(history) => block_on(|_| success(history.run())),
            Self::Keys(keys) => block_on(|_| success(keys.run())),
            Self::Webhooks(webhooks) => block_on(|_| success(webhooks.run())),
            Self::ConfigSsh(config) => block_on(|_| success(config.run())),
        })
    }
}
