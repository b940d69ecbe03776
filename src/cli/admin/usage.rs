//! `dockhost admin usage`.

use std::io::{self, Write};

use clap::{Args, ValueEnum};

use crate::cli::api::client::{ApiArgs, Client, ServerArgs};
use crate::cli::api::output::Output;

/// The arguments of `admin usage`.
#[derive(Debug, Args)]
pub struct Usage {
    /// The beginning of the period, an RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    from: String,
    /// The end of the period [default: now].
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// A table of users, JSON as the API has it, or a line of comma-separated values for each instance on each backend.
    #[arg(short, long, value_enum, default_value_t = UsageOutput::Table)]
    output: UsageOutput,
    #[command(flatten)]
    server: ServerArgs,
}

/// How usage is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum UsageOutput {
    /// The users, for people.
    Table,
    /// As the API has it.
    Json,
    /// A line for each instance on each of its backends.
    Csv,
}

impl Usage {
    /// Shows the usage.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let output = if self.output == UsageOutput::Json { Output::Json } else { Output::Table };
        let client = Client::new(&ApiArgs { server: self.server, output })?;
        let query = [("from", Some(self.from)), ("to", self.to)];
        if self.output == UsageOutput::Csv {
            let text = client.get_text("admin/usage", &query, "text/csv").await?;
            return Ok(io::stdout().lock().write_all(&text)?);
        }
        let usage = client.get("admin/usage", &query).await?;
        if self.output == UsageOutput::Json {
            return client.print_one(&usage);
        }
        let users = usage["users"].as_array().map(Vec::as_slice).unwrap_or_default();
        client.print_list(users, &[("USER", "/username"), ("SECONDS", "/runningSeconds"), ("ID", "/id")])
    }
}
