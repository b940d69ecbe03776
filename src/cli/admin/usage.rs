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
    /// A table, JSON as the API has it, or a line of comma-separated values for each instance on each backend.
    #[arg(short, long, value_enum, default_value_t = UsageOutput::Table)]
    output: UsageOutput,
    /// What the table has a line for.
    #[arg(long, value_enum, default_value_t = By::User)]
    by: By,
    #[command(flatten)]
    server: ServerArgs,
}

/// Whose usage a table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Each user.
    User,
    /// Each group, by who is in it now.
    Group,
    /// Each backend.
    Backend,
}

/// How usage is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum UsageOutput {
    /// For people.
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
        let (list, title, name) = match self.by {
            By::User => ("users", "USER", "/username"),
            By::Group => ("groups", "GROUP", "/name"),
            By::Backend => ("backends", "BACKEND", "/name"),
        };
        let rows = usage[list].as_array().map(Vec::as_slice).unwrap_or_default();
        client.print_list(rows, &[(title, name), ("SECONDS", "/runningSeconds"), ("ID", "/id")])
    }
}
