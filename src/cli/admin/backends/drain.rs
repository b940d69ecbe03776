//! `dockhost admin backends drain` and `retire`.

use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::one::OneBackend;

/// The arguments of `admin backends drain` and `retire`.
#[derive(Debug, Args)]
pub struct Drain {
    #[command(flatten)]
    backend: OneBackend,
    /// The drain ends after this time, in seconds, with what has not stopped [default: an hour].
    #[arg(long, value_name = "SECONDS")]
    within: Option<u32>,
}

impl Drain {
    /// Begins the drain.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::admin::client::Failure).
    pub async fn run(self, retire: bool) -> anyhow::Result<()> {
        let mut body = json!({ "retire": retire });
        if let Some(within) = self.within {
            body["withinSeconds"] = within.into();
        }
        self.backend.send(Method::POST, "/drain", |request| request.json(&body)).await
    }
}
