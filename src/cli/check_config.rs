//! `dockhost check-config`: whether `dockhost serve` would accept these settings, and could use its broker and its
//! database.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use dockhost_environment::{InvalidConfiguration, unknown_variables};
use dockhost_projections::store::{MongoStore, StoreError};
use serde::Serialize;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::EXIT_INVALID_CONFIGURATION;
use super::format::Format;
use super::serve::{Checked, Serve};
use crate::broker::connect::Broker;
use crate::broker::requirements;

/// How long each server may take: longer than three nodes of the broker of which two don't answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// Exit code if a server can't be used.
const EXIT_FAILED: u8 = 1;

/// The arguments of `check-config`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all is well; 1 the broker or the database can't be used; 2 a setting is wrong.")]
pub struct CheckConfig {
    /// Connect to nothing: check the settings only.
    #[arg(long)]
    offline: bool,
    /// How the report is printed.
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    serve: Serve,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    /// What is wrong with the settings: sentences that begin with the variable.
    problems: Vec<String>,
    /// Variables that have no effect.
    warnings: Vec<String>,
    broker: Server,
    database: Server,
}

/// A server that a replica connects to.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
enum Server {
    Ok { address: String },
    Failed { address: String, reason: String },
    NotTried { reason: &'static str },
}

const OFFLINE: Server = Server::NotTried { reason: "because of --offline" };
const WRONG_SETTING: Server = Server::NotTried { reason: "because a setting is wrong" };

impl CheckConfig {
    /// Checks everything, and prints what was found. `problems` are those of its arguments.
    pub async fn run(self, problems: Vec<String>, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let Self { offline, output, serve } = self;
        let (problems, servers) = match serve.check(problems) {
            Err(InvalidConfiguration(problems)) => (problems, Some((WRONG_SETTING, WRONG_SETTING))),
            Ok(_) if offline => (Vec::new(), Some((OFFLINE, OFFLINE))),
            Ok(checked) => (Vec::new(), stop.run_until_cancelled(connect(&checked)).await),
        };
        match servers {
            Some((broker, database)) => {
                Report { problems, warnings: unknown_variables(), broker, database }.print(output)
            }
            None => Ok(ExitCode::FAILURE),
        }
    }

    /// Reports that `.env` can't be read. What else could be reported would follow from that.
    pub fn refuse(&self, problem: String) -> anyhow::Result<ExitCode> {
        let (broker, database) = (WRONG_SETTING, WRONG_SETTING);
        Report { problems: vec![problem], warnings: Vec::new(), broker, database }.print(self.output)
    }
}

impl Report {
    fn print(&self, output: Format) -> anyhow::Result<ExitCode> {
        match output {
            Format::Text => println!("{self}"),
            Format::Json => println!("{}", serde_json::to_string_pretty(self)?),
        }
        Ok(ExitCode::from(self.exit_code()))
    }

    fn exit_code(&self) -> u8 {
        let has_failed = |server: &Server| matches!(server, Server::Failed { .. });
        if !self.problems.is_empty() {
            EXIT_INVALID_CONFIGURATION
        } else if has_failed(&self.broker) || has_failed(&self.database) {
            EXIT_FAILED
        } else {
            0
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            0 => writeln!(f, "settings: ok")?,
            1 => writeln!(f, "settings: 1 problem")?,
            count => writeln!(f, "settings: {count} problems")?,
        }
        for problem in &self.problems {
            writeln!(f, "  - {problem}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "  - warning: {warning}")?;
        }
        writeln!(f, "broker: {}", self.broker)?;
        write!(f, "database: {}", self.database)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok { address } => write!(f, "ok ({address})"),
            Self::Failed { address, reason } => write!(f, "failed ({address}): {reason}"),
            Self::NotTried { reason } => write!(f, "not tried, {reason}"),
        }
    }
}

/// Connects to the broker and to the database, and says what came of it.
async fn connect(Checked { server, urls, secrets, .. }: &Checked) -> (Server, Server) {
    let (hosts, database) = (urls.broker_hosts(), server.storage.database.name(urls));
    let address = format!("{}/{database}", urls.database_hosts());
    let broker = async {
        let connected = Broker::connect(&urls.nats_url, &secrets.nats, "dockhost-check-config", Duration::ZERO);
        let broker = within_deadline(connected).await?;
        within_deadline(requirements::check(&broker, server.storage.allow_old_broker)).await
    };
    let (broker, database) = tokio::join!(broker, use_database(&urls.mongodb_uri, &database));
    (outcome(hosts, broker), outcome(address, database))
}

async fn use_database(uri: &str, name: &str) -> anyhow::Result<()> {
    let store = within_deadline(MongoStore::connect(uri, name)).await?;
    let answered = within_deadline(list(&store)).await;
    store.close().await;
    answered
}

/// Lists the collections, which needs a user who may read the database; a ping does not.
async fn list(store: &MongoStore) -> Result<(), StoreError> {
    store.ping().await?;
    store.collection_names().await.map(|_| ())
}

async fn within_deadline<T, E: Into<anyhow::Error>>(work: impl Future<Output = Result<T, E>>) -> anyhow::Result<T> {
    match timeout(DEADLINE, work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => bail!("no answer within {} s", DEADLINE.as_secs()),
    }
}

fn outcome(address: String, done: anyhow::Result<()>) -> Server {
    match done {
        Ok(()) => Server::Ok { address },
        Err(error) => Server::Failed { address, reason: format!("{error:#}") },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ok(address: &str) -> Server {
        outcome(address.to_owned(), Ok(()))
    }

    fn report(problems: &[&str], broker: Server, database: Server) -> Report {
        let problems = problems.iter().map(|problem| (*problem).to_owned()).collect();
        Report { problems, warnings: vec![], broker, database }
    }

    #[test]
    fn report_of_usable_servers_is_well() {
        let report = report(&[], ok("nats-1:4222"), ok("mongo-1:27017/dockhost"));
        assert_eq!(report.exit_code(), 0);
        let expected = "settings: ok\nbroker: ok (nats-1:4222)\ndatabase: ok (mongo-1:27017/dockhost)";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn report_of_a_server_that_fails_has_the_whole_reason() {
        let error = anyhow::anyhow!("connection refused").context("the database is unavailable");
        let failed = outcome("mongo-1:27017/dockhost".to_owned(), Err(error));
        for (broker, database) in [(ok("nats-1:4222"), failed.clone()), (failed, OFFLINE)] {
            let report = report(&[], broker, database);
            assert_eq!(report.exit_code(), 1);
            let reason = "failed (mongo-1:27017/dockhost): the database is unavailable: connection refused";
            assert!(report.to_string().contains(reason), "{report}");
        }
    }

    #[test]
    fn report_of_wrong_settings_lists_them_before_anything_else() {
        let mut report = report(&["PORT=\"http\": it is wrong"], WRONG_SETTING, WRONG_SETTING);
        report.warnings.push("unknown variable DOCKHOST_FOO has no effect".to_owned());
        assert_eq!(report.exit_code(), 2);
        let expected = [
            "settings: 1 problem",
            "  - PORT=\"http\": it is wrong",
            "  - warning: unknown variable DOCKHOST_FOO has no effect",
            "broker: not tried, because a setting is wrong",
            "database: not tried, because a setting is wrong",
        ];
        assert_eq!(report.to_string(), expected.join("\n"));
        report.problems.clear();
        assert_eq!(report.exit_code(), 0, "a warning is no failure");
    }

    #[test]
    fn report_as_json_has_a_status_for_each_server() {
        let failed = outcome("mongo-1:27017/dockhost".to_owned(), Err(anyhow::anyhow!("connection refused")));
        let report = serde_json::to_value(report(&[], ok("nats-1:4222"), failed)).unwrap();
        let expected = json!({
            "problems": [], "warnings": [],
            "broker": { "status": "ok", "address": "nats-1:4222" },
            "database": { "status": "failed", "address": "mongo-1:27017/dockhost", "reason": "connection refused" },
        });
        assert_eq!(report, expected);
        assert_eq!(serde_json::to_value(OFFLINE).unwrap()["status"], "not-tried");
    }
}
