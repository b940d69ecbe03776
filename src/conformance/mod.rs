//! `dockhost conformance`: puts a backend, in whatever language, through what `docs/EVENTS.md` asks of one.
//!
//! The backend connects to a broker of its own, with the permissions and streams of production, on which this module plays
//! the servers: [`installation`] answers as they do, [`said`] keeps what the backend says, and each check assigns, repeats,
//! withholds or mixes up what a server or a broker could, and waits for what must follow. An installation in use is never
//! involved: only here can stale and repeated assignments be sent on purpose.

pub mod checks;
mod confirming;
mod installation;
mod instance;
mod said;
mod trial;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::common::error::Cause;
use crate::dev::process::Program;

use checks::{Check, Problem};
pub use installation::ApiKey;
use installation::Installation;
use trial::Trial;

/// What to check, and how.
#[derive(Debug)]
pub struct Options {
    /// The program nats-server.
    pub nats_server: PathBuf,
    /// Where the broker listens; port 0: any.
    pub listen: SocketAddr,
    /// The key of the backend; `None` for a new one.
    pub api_key: Option<ApiKey>,
    /// The image of containers; the backend's default if absent.
    pub image: Option<String>,
    /// The longest that anything may take.
    pub within: Duration,
    /// The backend and its arguments; `None` if somebody else starts it.
    pub program: Option<(PathBuf, Vec<OsString>)>,
    /// Where its output goes.
    pub log: PathBuf,
    /// The names of the checks to run; empty for all.
    pub only: Vec<String>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The backend did what it must.
    Passed,
    /// It did not.
    Failed,
    /// It can't be checked this way.
    Skipped,
}

/// The result of one check.
#[derive(Debug, Clone, Serialize)]
pub struct CheckResult {
    /// Its name.
    pub name: &'static str,
    /// What the backend must do.
    pub rule: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed or was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

/// Where the backend has to connect.
#[derive(Debug, Clone)]
pub struct Address {
    /// The broker.
    pub nats_url: String,
    /// The key.
    pub api_key: ApiKey,
}

/// Runs the checks, one after the other. `ready` is called once the broker waits for the backend, and `done` after each check.
///
/// # Errors
/// If the broker or the backend can't be started. That a check fails is no error.
pub async fn run(
    options: Options,
    ready: impl FnOnce(&Address),
    mut done: impl FnMut(&CheckResult),
) -> Result<Vec<CheckResult>, Cause> {
    let Options { nats_server, listen, api_key, image, within, program, log, only } = options;
    let installation = Installation::start(nats_server, listen, api_key).await?;
    let address = installation.address();
    ready(&address);
    let program = program.map(|(path, args)| Program {
        name: "backend",
        path,
        args,
        env: vec![("NATS_URL", address.nats_url.clone()), ("DOCKHOST_API_KEY", address.api_key.reveal().to_owned())],
        log,
    });
    let mut trial = Trial::new(installation, program, image, within)?;
    let mut results = Vec::new();
    let mut is_connected = true;
    for check in checks::all()
        .filter(|check| check.is_always_run() || only.is_empty() || only.iter().any(|name| name == check.name))
    {
        let began = Instant::now();
        let checked =
            if is_connected { run_one(&mut trial, check).await } else { Err(Problem::skipped("it is not connected")) };
        is_connected &= !(check.is_always_run() && checked.is_err());
        let (outcome, reason) = match checked {
            Ok(()) => (Outcome::Passed, None),
            Err(Problem::Failed(reason)) => (Outcome::Failed, Some(reason)),
            Err(Problem::Skipped(reason)) => (Outcome::Skipped, Some(reason)),
        };
        let seconds = began.elapsed().as_secs_f64();
        let result = CheckResult { name: check.name, rule: check.rule, outcome, reason, seconds };
        done(&result);
        results.push(result);
    }
    trial.end().await;
    Ok(results)
}

async fn run_one(trial: &mut Trial, check: &Check) -> Result<(), Problem> {
    trial.prepare().await?;
    let checked = (check.run)(trial).await;
    trial.clean_up().await;
    checked
}
