//! `dockhost conformance`: checks a backend in any language.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::format::Format;
use crate::conformance::{self, Address, ApiKey, CheckResult, Options, Outcome, checks};
use crate::dev::fetch::{self, NATS_SERVER};

/// The arguments of `conformance`.
#[derive(Debug, Args)]
pub struct Conformance {
    /// The key that the backend is configured with [default: a new one, which the backend gets as DOCKHOST_API_KEY].
    #[arg(long, env = "DOCKHOST_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
    /// Where the broker of the checks listens; port 0 is any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The image of containers [default: the backend's].
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Seconds that anything may take: a connection, a container, a report.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    within: u64,
    /// Only these checks, besides `connects`.
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    only: Vec<String>,
    /// The file for the output of the backend.
    #[arg(long, value_name = "FILE", default_value = "conformance-backend.log")]
    log: PathBuf,
    /// The directory into which nats-server is downloaded, unless it is on PATH.
    #[arg(long, env = "DOCKHOST_DATA", value_name = "DIR", default_value = ".dockhost")]
    data: PathBuf,
    /// How results are printed.
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Format,
    /// The backend and its arguments. It gets NATS_URL and DOCKHOST_API_KEY, and is killed and started again on the way. Without
    /// it, start the backend yourself; then these checks are left out.
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

impl Conformance {
    /// Runs the checks until `stop`; the exit code is 1 if one failed.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        stop.run_until_cancelled(self.check()).await.unwrap_or(Ok(ExitCode::FAILURE))
    }

    async fn check(self) -> anyhow::Result<ExitCode> {
        if let Some(unknown) = self.only.iter().find(|name| checks::all().all(|check| check.name != name.as_str())) {
            let names: Vec<_> = checks::all().map(|check| check.name).collect();
            bail!("there is no check {unknown}; there are {}", names.join(", "));
        }
        // The key is not in the error: it may be a mistyped one.
        let api_key = self.api_key.map(|key| key.parse::<ApiKey>()).transpose().context("DOCKHOST_API_KEY")?;
        std::fs::create_dir_all(&self.data).with_context(|| format!("creating {}", self.data.display()))?;
        let nats_server = fetch::find(&NATS_SERVER, &self.data).await?;
        let mut words = self.program.into_iter();
        let program = words.next().map(|path| (PathBuf::from(path), words.collect()));
        let (starts_it, output) = (program.is_some(), self.output);
        let options = Options {
            nats_server,
            listen: self.listen,
            api_key,
            image: self.image,
            within: Duration::from_secs(self.within),
            program,
            log: self.log,
            only: self.only,
        };
        let ready = |address: &Address| {
            if !starts_it {
                eprintln!("start the backend with");
                eprintln!("  NATS_URL={}", address.nats_url);
                eprintln!("  DOCKHOST_API_KEY={}", address.api_key.reveal());
            }
        };
        let done = |result: &CheckResult| {
            if output == Format::Text {
                print_line(result);
            }
        };
        let results = conformance::run(options, ready, done).await.map_err(|error| anyhow!(error))?;
        Ok(print_end(&results, output))
    }
}

fn print_line(result: &CheckResult) {
    let CheckResult { name, rule, outcome, reason, .. } = result;
    let outcome = match outcome {
        Outcome::Passed => "passed ",
        Outcome::Failed => "FAILED ",
        Outcome::Skipped => "skipped",
    };
    println!("{outcome}  {name}: {rule}");
    if let Some(reason) = reason {
        println!("         {reason}");
    }
}

fn print_end(results: &[CheckResult], output: Format) -> ExitCode {
    let count = |outcome| results.iter().filter(|result| result.outcome == outcome).count();
    let [passed, failed, skipped] = [Outcome::Passed, Outcome::Failed, Outcome::Skipped].map(count);
    match output {
        Format::Text => println!("{passed} passed, {failed} failed, {skipped} skipped"),
        Format::Json => {
            println!("{:#}", json!({ "passed": passed, "failed": failed, "skipped": skipped, "checks": results }));
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
