//! The command line: one program, its roles as subcommands.
//!
//! In: arguments and environment. Out: an exit code, and one clear message if something is wrong.

mod cluster;
mod connection;
mod dev;
mod erase_user;
mod export;
mod import;
mod models;
mod models_progress;
mod openapi;
mod progress;
mod quarantine;
mod secrets;
mod serve;

use std::future::Future;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dockhost_environment::{InvalidConfiguration, Parsed, unknown_variables, variable};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::secrets::Secrets;

/// The exit code for mistakes in the arguments, as clap has it, and in the environment.
const EXIT_INVALID_CONFIGURATION: u8 = 2;

/// DockHost: on-demand Linux machines, as containers with SSH on your own Docker hosts.
#[derive(Debug, Parser)]
#[command(name = "dockhost", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one replica of the main server, with the broker and the database that the environment names.
    Serve(Box<serve::Serve>),
    /// Run everything on this machine: broker, database, server and agents.
    Dev(Box<dev::Dev>),
    /// Make the read models anew from the log, beside the live ones; the API stays readable.
    Rebuild(models::Rebuild),
    /// Compare the read models with what the log says that they should be.
    Verify(models::Verify),
    /// Show or try again what is held back: aggregates with an event that can't be read.
    Quarantine(quarantine::Quarantine),
    /// Copy the log and its keys into a directory, or what is new since the last time; the API goes on.
    Export(export::Export),
    /// Put an export into an empty broker, or only check it; no server may run.
    Import(Box<import::Import>),
    /// Erase a person for good: their names, sessions and instances, and the key of what the log holds of them.
    EraseUser(erase_user::EraseUser),
    /// Print the HTTP API's document (OpenAPI 3.1).
    Openapi,
    /// Print fresh secrets, as lines for an `.env` file.
    Secrets,
}

/// Runs the command line.
pub fn main() -> ExitCode {
    // Before any thread: it sets variables. A file that isn't there is fine.
    if let Err(error) = dotenvy::dotenv()
        && !error.not_found()
    {
        eprintln!("dockhost: .env can't be read: {error}");
        return ExitCode::FAILURE;
    }
    let Parsed { args: Cli { command }, mut problems } = dockhost_environment::parse();
    if !problems.is_empty() {
        if let Command::Serve(_) = command
            && let Err(InvalidConfiguration(invalid_secrets)) = Secrets::read(variable)
        {
            problems.extend(invalid_secrets);
        }
        eprintln!("dockhost: {}", InvalidConfiguration(problems));
        return ExitCode::from(EXIT_INVALID_CONFIGURATION);
    }
    crate::app::telemetry::start();
    for warning in unknown_variables() {
        tracing::warn!("{warning}");
    }
    crate::common::install_crypto();
    let outcome = match command {
        Command::Serve(serve) => block_on(|stop| serve.run(stop)),
        Command::Dev(dev) => block_on(|stop| dev.run(stop)),
        Command::Rebuild(rebuild) => block_on(|stop| rebuild.run(stop)),
        Command::Verify(verify) => block_on(|stop| verify.run(stop)),
        Command::Quarantine(quarantine) => block_on(|stop| quarantine.run(stop)),
        Command::Export(export) => block_on(|stop| export.run(stop)),
        Command::Import(import) => block_on(|stop| import.run(stop)),
        Command::EraseUser(erase) => block_on(|stop| erase.run(stop)),
        Command::Openapi => openapi::print(),
        Command::Secrets => secrets::print(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("dockhost: {error:#}");
            match error.downcast_ref() {
                Some(InvalidConfiguration(_)) => ExitCode::from(EXIT_INVALID_CONFIGURATION),
                None => ExitCode::FAILURE,
            }
        }
    }
}

/// Runs a command until it ends; Ctrl-C and SIGTERM ask it to.
fn block_on<F>(command: impl FnOnce(CancellationToken) -> F) -> anyhow::Result<ExitCode>
where
    F: Future<Output = anyhow::Result<ExitCode>>,
{
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let told = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            told.cancel();
        });
        command(stop).await
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
