//! The command line: each role of the program is a subcommand.

mod admin;
mod api;
mod check_config;
mod cluster;
mod completions;
mod confirmation;
mod conformance;
mod connection;
mod dev;
mod dev_banner;
#[cfg(test)]
mod documented;
mod env_file;
mod erase_user;
mod export;
mod format;
mod import;
mod log;
mod manual;
mod models;
mod models_progress;
mod openapi;
mod password;
mod progress;
mod quarantine;
mod rotate_master_key;
mod secrets;
mod serve;
mod user;

use std::future::Future;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use dockhost_environment::{InvalidConfiguration, Parsed, VERSION, unknown_variables};
use dockhost_telemetry::lines::Format;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code for invalid arguments (clap's own) and invalid variables.
const EXIT_INVALID_CONFIGURATION: u8 = 2;

/// DockHost: on-demand Linux machines, as containers with SSH on your own Docker hosts.
#[derive(Debug, Parser)]
#[command(name = "dockhost", version = VERSION, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    User(user::Command),
    /// Run one replica of the main server.
    Serve(Box<serve::Serve>),
    /// Check the settings of `dockhost serve`, and whether its broker and its database can be used. Changes nothing.
    CheckConfig(Box<check_config::CheckConfig>),
    /// Run broker, database, server and agents on this machine.
    Dev(Box<dev::Dev>),
    /// Rebuild the read models from the log. Queries use the old ones until the new ones are complete.
    Rebuild(models::Rebuild),
    /// Compare the read models with a fold of the log.
    Verify(models::Verify),
    /// List or release quarantined aggregates: those with an event that can't be folded.
    Quarantine(quarantine::Quarantine),
    /// Copy the log and its keys into a directory, or what is new since the last export there.
    Export(export::Export),
    /// Restore an export into an empty broker while no server runs, or check an export.
    Import(Box<import::Import>),
    /// Show how full the log is and what makes it grow.
    Log(log::Log),
    /// Print the events of the log, as an administrator over the API: who did what, and when.
    Events(admin::events::Events),
    /// Administer a server over its API: users, backends, instances. `admin create` makes the first administrator.
    Admin(admin::Admin),
    /// Erase a person: delete their instances, sessions and names, and destroy the key of their data in the log.
    EraseUser(erase_user::EraseUser),
    /// Wrap the keys of all personal data by another master key, beside running servers.
    RotateMasterKey(rotate_master_key::RotateMasterKey),
    /// Check a backend in any language: on a broker of its own, it is put through what docs/EVENTS.md asks of one.
    Conformance(Box<conformance::Conformance>),
    /// Print the OpenAPI 3.1 document of the HTTP API.
    Openapi,
    /// Print completions for a shell: `source <(dockhost completions bash)`.
    Completions(completions::Completions),
    /// Write the manual pages of all commands into a directory.
    Man(manual::Manual),
    /// Generate new secrets as lines for an `.env` file.
    Secrets(secrets::Secrets),
}

/// Runs the command line.
pub fn main() -> ExitCode {
    // Sets variables, so no other thread may run yet.
    let env_file = env_file::load();
    let Parsed { args: Cli { command }, mut problems, settings } = dockhost_environment::parse();
    let reads_variables = match &command {
        Command::Openapi | Command::Secrets(_) | Command::Completions(_) | Command::Man(_) | Command::User(_) => false,
        Command::Import(import) => !import.only_checks(),
        _ => true,
    };
    if let Err(problem) = env_file
        && reads_variables
    {
        if let Command::CheckConfig(check) = command {
            return exit_code(check.refuse(problem));
        }
        eprintln!("dockhost: {problem}");
        return ExitCode::from(EXIT_INVALID_CONFIGURATION);
    }
    let log_format = Format::read().unwrap_or_else(|problem| {
        problems.push(problem);
        Format::default()
    });
    // These two name them together with what else is wrong; `check-config` also reports the unknown variables.
    let is_check = matches!(command, Command::CheckConfig(_));
    if !problems.is_empty() && !is_check && !matches!(command, Command::Serve(_)) {
        eprintln!("dockhost: {}", InvalidConfiguration(problems));
        return ExitCode::from(EXIT_INVALID_CONFIGURATION);
    }
    // Until the end, which exports the last spans.
    let _telemetry = crate::app::telemetry::start(log_format);
    if !is_check {
        unknown_variables().iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    crate::common::install_crypto();
    let outcome = match command {
        Command::User(user) => user.run(),
        Command::Serve(serve) => block_on(|stop| serve.run(problems, settings, stop)),
        Command::CheckConfig(check) => block_on(|stop| check.run(problems, stop)),
        Command::Dev(dev) => block_on(|stop| dev.run(settings, stop)),
        Command::Rebuild(rebuild) => block_on(|stop| rebuild.run(stop)),
        Command::Verify(verify) => block_on(|stop| verify.run(stop)),
        Command::Quarantine(quarantine) => block_on(|stop| quarantine.run(stop)),
        Command::Export(export) => block_on(|stop| export.run(stop)),
        Command::Import(import) => block_on(|stop| import.run(stop)),
        Command::Log(log) => block_on(|stop| log.run(stop)),
        Command::Events(events) => events.run(),
        Command::Admin(admin) => admin.run(),
        Command::EraseUser(erase) => block_on(|stop| erase.run(stop)),
        Command::RotateMasterKey(rotate) => block_on(|stop| rotate.run(stop)),
        Command::Conformance(conformance) => block_on(|stop| conformance.run(stop)),
        Command::Openapi => openapi::print(),
        Command::Completions(completions) => completions.print(Cli::command()),
        Command::Man(manual) => manual.write(Cli::command()),
        Command::Secrets(secrets) => secrets.run(),
    };
    exit_code(outcome)
}

/// The exit code of a command, whose error is printed.
fn exit_code(outcome: anyhow::Result<ExitCode>) -> ExitCode {
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

/// Runs a command until it ends; Ctrl-C and SIGTERM cancel its token.
fn block_on<F>(command: impl FnOnce(CancellationToken) -> F) -> anyhow::Result<ExitCode>
where
    F: Future<Output = anyhow::Result<ExitCode>>,
{
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let signalled = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            signalled.cancel();
        });
        command(stop).await
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use dockhost_environment::settings::{self, Value};

    use super::*;

    #[test]
    fn cli_definition_is_valid() {
        Cli::command().debug_assert();
    }

    /// The variables of the server in `.env.example`: those before the ones of the broker.
    fn variables_of_the_server() -> BTreeSet<&'static str> {
        let (server, _) = include_str!("../../.env.example").split_once("# ---- Broker").unwrap();
        let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        let names = server.lines().filter_map(|line| line.strip_prefix('#')?.split_once('=')).map(|(name, _)| name);
        names.filter(|name| !name.is_empty()).filter(is_name).collect()
    }

    #[test]
    fn serve_has_every_setting_of_the_example_and_no_other() {
        let matches = Cli::command().get_matches_from(["dockhost", "serve"]);
        let settings = crate::app::settings::in_force(settings::in_force(&Cli::command(), &matches), |_| None);
        let names: BTreeSet<&str> = settings.iter().map(|setting| setting.name.as_str()).collect();
        assert_eq!(names, variables_of_the_server());
        assert_eq!(names.len(), settings.len(), "a setting is listed twice: {settings:?}");
        let unexplained: Vec<_> = settings.iter().filter(|setting| setting.about.is_empty()).collect();
        assert!(unexplained.is_empty(), "{unexplained:?}");
    }

    #[test]
    fn serve_shows_no_setting_that_is_called_a_secret() {
        let matches = Cli::command().get_matches_from(["dockhost", "serve"]);
        let settings = crate::app::settings::in_force(settings::in_force(&Cli::command(), &matches), |_| None);
        let secret = |name: &&str| {
            let words =
                ["SECRET", "PASSWORD", "TOKEN", "CREDS", "SEED", "CODES", "MASTER_KEY", "NATS_URL", "MONGODB_URI"];
            words.iter().any(|word| name.contains(word))
        };
        let is_shown = |value: &Value| matches!(value, Value::Plain(_) | Value::Absent);
        let shown = settings.iter().filter(|one| is_shown(&one.value)).map(|one| one.name.as_str());
        assert_eq!(shown.filter(secret).collect::<Vec<_>>(), Vec::<&str>::new());
        assert!(settings.iter().filter(|one| !is_shown(&one.value)).count() > 10, "{settings:?}");
    }
}
