//! The binary `dockhost-agent`: sets up logging and signals, runs [`dockhost_agent::app`] and sets the exit code.

use std::process::ExitCode;

use dockhost_agent::app;
use dockhost_agent::config::Config;
use dockhost_agent::connect::ConnectError;
use dockhost_agent::{removal, telemetry};
use dockhost_environment::{InvalidConfiguration, Parsed, unknown_variables};
use dockhost_telemetry::lines::Format;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code for invalid arguments (clap's own) and invalid variables.
const EXIT_INVALID_CONFIGURATION: u8 = 2;
/// Exit code when the broker refused the key and `--exit-on-refused` is set.
const EXIT_KEY_REFUSED: u8 = 3;

fn main() -> ExitCode {
    let Parsed { args: config, mut problems, .. } = dockhost_environment::parse();
    let log_format = Format::read().unwrap_or_else(|problem| {
        problems.push(problem);
        Format::default()
    });
    if !problems.is_empty() {
        eprintln!("dockhost-agent: {}", InvalidConfiguration(problems));
        return ExitCode::from(EXIT_INVALID_CONFIGURATION);
    }
    // Until the end, which exports the last spans.
    let _telemetry = telemetry::start(log_format);
    for warning in unknown_variables() {
        tracing::warn!("{warning}");
    }
    // An error means that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "could not start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(config));
    // A look-up of a name on a blocking thread can't be cancelled, and would delay the end.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            let refused = matches!(error.downcast_ref(), Some(ConnectError::Refused));
            if refused { ExitCode::from(EXIT_KEY_REFUSED) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let on_signal = stop.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            }
        };
        next().await;
        tracing::info!("stopping; the containers are left as they are");
        on_signal.cancel();
        let second = next().await;
        tracing::warn!("stopped at once by a second signal");
        // As a shell reports a process that a signal ended.
        std::process::exit(128 + second.as_raw_value());
    });
    if config.list_containers || config.remove_containers {
        return removal::run(&config, config.remove_containers).await;
    }
    app::run(config, stop).await
}
